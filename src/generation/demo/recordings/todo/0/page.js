"use strict";

const $ = (id) => document.getElementById(id);
let filter = "";

/** Calls the API; its answer, or an error with a sentence for people. */
async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const { detail } = await answer.json().catch(() => ({}));
  const words = Array.isArray(detail) ? detail.map(({ loc, msg }) => `${loc.at(-1)}: ${msg}`).join(". ") : detail;
  throw new Error(words ?? `The API answered ${answer.status}.`);
}

function iconButton(text, label, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = text;
  button.setAttribute("aria-label", label);
  button.addEventListener("click", act);
  return button;
}

const change = (id, values) => run(() => call("PATCH", `todos/${id}`, values));

/** A field in the place of the title; Enter keeps, Escape does not. */
function rename(item, todo) {
  const field = document.createElement("input");
  field.value = todo.title;
  field.maxLength = 200;
  field.setAttribute("aria-label", "Title");
  item.replaceChildren(field);
  field.focus();
  let isOver = false;
  const end = (keeps) => {
    if (isOver) return;
    isOver = true;
    const title = field.value.trim();
    if (keeps && title && title !== todo.title) change(todo.id, { title });
    else run(async () => {});
  };
  field.addEventListener("keydown", ({ key }) => {
    if (key === "Enter") end(true);
    if (key === "Escape") end(false);
  });
  field.addEventListener("blur", () => end(true));
}

function line(todo) {
  const item = document.createElement("li");
  item.className = todo.done ? "done" : "";
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = todo.done;
  box.addEventListener("change", () => change(todo.id, { done: box.checked }));
  const title = document.createElement("span");
  title.textContent = todo.title;
  label.append(box, title);
  item.append(label);
  item.append(iconButton("✎", `Rename ${todo.title}`, () => rename(item, todo)));
  item.append(iconButton("✕", `Delete ${todo.title}`, () => run(() => call("DELETE", `todos/${todo.id}`))));
  title.addEventListener("dblclick", () => rename(item, todo));
  return item;
}

async function show() {
  const all = await call("GET", "todos");
  const shown = all.filter(({ done }) => filter === "" || String(done) === filter);
  $("todos").replaceChildren(...shown.map(line));
  $("empty").hidden = shown.length > 0;
  const open = all.filter(({ done }) => !done).length;
  $("left").textContent = all.length === 0 ? "" : open === 0 ? "All done" : `${open} open`;
}

async function run(act) {
  try {
    await act();
    $("problem").hidden = true;
    await show();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

/** What the form says. */
const entered = () => ({ title: $("title").value });

$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async () => {
    await call("POST", "todos", entered());
    event.target.reset();
    $("title").focus();
  });
});

$("filters").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  filter = button.dataset.done;
  for (const other of $("filters").children) other.setAttribute("aria-pressed", String(other === button));
  run(async () => {});
});

run(async () => {});
