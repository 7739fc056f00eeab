"use strict";

const $ = (id) => document.getElementById(id);
const NAMES = { focus: "Focus", short: "Short break", long: "Long break" };
const ROUNDS = 4;

function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Private windows may keep nothing: it then lasts as long as the page.
  }
}

const minutes = { focus: 25, short: 5, long: 15, ...kept("minutes", {}) };
// Finished rounds by day, as 2026-01-31.
const history = kept("history", {});
const dayOf = (date) => `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;

let mode = "focus";
let round = 1;
let left = minutes.focus * 60_000;
// When the time is up, by the clock; none while it is paused.
let until = null;

const remaining = () => (until === null ? left : Math.max(0, until - Date.now()));

function show() {
  const seconds = Math.ceil(remaining() / 1000);
  const time = `${String(Math.floor(seconds / 60)).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
  $("time").textContent = time;
  $("run").style.strokeDashoffset = String(100 - (remaining() / (minutes[mode] * 60_000)) * 100);
  $("go").textContent = until === null ? "Start" : "Pause";
  $("round").textContent = mode === "focus" ? `Round ${round} of ${ROUNDS}` : "Look out of the window";
  document.title = until === null ? "Pomodoro" : `${time} ${NAMES[mode]}`;
}

function showToday() {
  const count = history[dayOf(new Date())] ?? 0;
  $("today").textContent = count === 0 ? "No round finished today" : `${count} ${count === 1 ? "round" : "rounds"} finished today`;
}

function choose(next) {
  mode = next;
  until = null;
  left = minutes[mode] * 60_000;
  document.body.dataset.mode = mode;
  for (const button of document.querySelectorAll(".modes button")) {
    button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }
  show();
}

function finish() {
  const ended = mode;
  if (ended === "focus") {
    const day = dayOf(new Date());
    history[day] = (history[day] ?? 0) + 1;
    keep("history", history);
    showToday();
    document.dispatchEvent(new CustomEvent("round"));
  }
  document.dispatchEvent(new CustomEvent("finished"));
  skip();
  $("said").textContent = `${NAMES[ended]} is over. Next: ${NAMES[mode]}.`;
}

function skip() {
  if (mode === "focus") {
    choose(round === ROUNDS ? "long" : "short");
  } else {
    round = mode === "long" ? 1 : Math.min(ROUNDS, round + 1);
    choose("focus");
  }
}

function toggle() {
  if (until === null) {
    until = Date.now() + left;
  } else {
    left = remaining();
    until = null;
  }
  show();
}

$("go").addEventListener("click", toggle);
$("reset").addEventListener("click", () => choose(mode));
$("skip").addEventListener("click", skip);
for (const button of document.querySelectorAll(".modes button")) {
  button.addEventListener("click", () => choose(button.dataset.mode));
}

const settings = $("settings");
for (const name of Object.keys(NAMES)) settings.elements[name].value = minutes[name];
settings.addEventListener("change", (event) => {
  const { name, valueAsNumber, validity } = event.target;
  if (!validity.valid || !(name in minutes)) {
    event.target.value = minutes[name];
    return;
  }
  minutes[name] = valueAsNumber;
  keep("minutes", minutes);
  if (name === mode && until === null) choose(mode);
});
settings.addEventListener("submit", (event) => event.preventDefault());

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { 1: "focus", 2: "short", 3: "long" };
  if (event.key === " " && !event.target.matches("button")) {
    event.preventDefault();
    toggle();
  } else if (event.key.toLowerCase() === "r") {
    choose(mode);
  } else if (keys[event.key]) {
    choose(keys[event.key]);
  }
});

setInterval(() => {
  if (until === null) return;
  if (remaining() === 0) finish();
  else show();
}, 200);
showToday();
choose("focus");
