"use strict";

const $ = (id) => document.getElementById(id);
const timeOf = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const whenOf = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" });

let days = [];
let day = null;
let start = null;
let booking = null;

async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(typeof detail === "string" ? detail : "That could not be booked. Check the name and the time.");
}

const dateOf = (text) => {
  const [year, month, number] = text.split("-").map(Number);
  return new Date(year, month - 1, number);
};

function option(label, isChosen, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("role", "radio");
  button.setAttribute("aria-checked", String(isChosen));
  button.setAttribute("aria-label", label);
  button.addEventListener("click", act);
  return button;
}

function showDays() {
  $("days").replaceChildren(...days.map((each) => {
    const date = dateOf(each.day);
    const words = each.open ? (each.free.length === 0 ? "full" : `${each.free.length} free`) : "closed";
    const label = `${date.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" })}: ${words}`;
    const button = option(label, each.day === day, () => {
      day = each.day;
      start = null;
      show();
    });
    button.disabled = each.free.length === 0;
    const name = document.createElement("small");
    name.textContent = date.toLocaleDateString(undefined, { weekday: "short" });
    const number = document.createElement("b");
    number.textContent = date.getDate();
    const free = document.createElement("small");
    free.textContent = words;
    button.append(name, number, free);
    return button;
  }));
}

function showTimes() {
  const free = days.find((each) => each.day === day)?.free ?? [];
  $("times").replaceChildren(...free.map((each) => {
    const button = option(whenOf.format(new Date(each)), each === start, () => {
      start = each;
      show();
      document.querySelector("#form [name=name]").focus();
    });
    button.textContent = timeOf.format(new Date(each));
    return button;
  }));
  $("zone").textContent = `Times on your clock (${Intl.DateTimeFormat().resolvedOptions().timeZone}).`;
}

function show() {
  showDays();
  showTimes();
  $("book").disabled = start === null;
  $("book").textContent = start === null ? "Pick a time first" : `Book ${timeOf.format(new Date(start))}`;
  $("ticket").hidden = booking === null;
  if (booking) {
    $("when").textContent = whenOf.format(new Date(booking.start));
    $("code").textContent = booking.code;
  }
}

async function load() {
  days = await call("GET", "days");
  if (!days.some((each) => each.day === day && each.free.length > 0)) {
    day = days.find((each) => each.free.length > 0)?.day ?? null;
    start = null;
  }
  show();
}

function tell(words) {
  $("problem").textContent = words;
  $("problem").hidden = words === "";
}

/** What is sent with a booking. */
const entered = (form) => ({ start, name: form.get("name") });

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    booking = await call("POST", "bookings", entered(new FormData(event.target)));
    start = null;
    event.target.reset();
    tell("");
  } catch (error) {
    tell(error.message);
  }
  await load();
  if (booking) $("ticket").scrollIntoView({ block: "nearest" });
});

$("cancel").addEventListener("click", async () => {
  try {
    await call("DELETE", `bookings/${booking.code}`);
    booking = null;
    tell("");
  } catch (error) {
    tell(error.message);
  }
  await load();
});

load().catch(() => tell("The calendar could not be loaded. Reload the page to try again."));
// Somebody else may have taken a time meanwhile.
addEventListener("focus", load);
