"use strict";

const TITLE = {{ heading|literal }};
const KEY = "notes";

const form = document.getElementById("note-form");
const field = document.getElementById("note");
const list = document.getElementById("note-list");
const empty = document.getElementById("note-empty");
const today = document.getElementById("today");

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((note) => typeof note === "string") : [];
  } catch {
    return [];
  }
}

function keep(notes) {
  try {
    localStorage.setItem(KEY, JSON.stringify(notes));
  } catch {
    // Private windows may keep nothing: the notes then last as long as the page.
  }
}

let notes = load();

function show() {
  list.replaceChildren(
    ...notes.map((note) => {
      const item = document.createElement("li");
      item.textContent = note;
      return item;
    }),
  );
  empty.hidden = notes.length > 0;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const note = field.value.trim();
  if (note === "") return;
  notes = [...notes, note].slice(-50);
  keep(notes);
  show();
  field.value = "";
  field.focus();
});

today.textContent = new Intl.DateTimeFormat(undefined, { dateStyle: "full" }).format(new Date());
document.title = TITLE;
show();
