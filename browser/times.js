// Updates times while a page is open: “3 min ago” ages, and running timers tick.

import { all, on } from "./page.js";

const since = new WeakMap();

function relative(seconds) {
  const ahead = seconds < 0;
  const n = Math.abs(seconds);
  if (!ahead && n < 10) return "just now";
  let words;
  if (n < 60) words = `${n} s`;
  else if (n < 3600) words = `${Math.floor(n / 60)} min`;
  else if (n < 86400) words = `${Math.floor(n / 3600)} h`;
  else if (n < 2592000) words = n < 172800 ? "1 day" : `${Math.floor(n / 86400)} days`;
  else return null;
  return ahead ? `in ${words}` : `${words} ago`;
}

function duration(millis) {
  if (millis < 9950) return `${(millis / 1000).toFixed(1)} s`;
  const seconds = Math.round(millis / 1000);
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function age() {
  for (const time of all("time[datetime]:not([data-clock])")) {
    const words = relative(Math.round((Date.now() - Date.parse(time.dateTime)) / 1000));
    if (words && time.textContent !== words) time.textContent = words;
    exact(time);
  }
  clocks();
}

// The exact time is the reader's own, with its zone. The server writes UTC, for browsers without scripts.
const clock = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "long", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});
function exact(time) {
  const at = new Date(time.dateTime);
  if (Number.isNaN(at.getTime())) return;
  const words = clock.format(at);
  if (time.title !== words) time.title = words;
}
on("mouseover", "time[datetime]:not([data-clock])", exact);
on("focusin", "a, button, summary", (element) => all("time[datetime]:not([data-clock])", element).forEach(exact));

// A time ahead on the reader's clock; the server writes it in UTC.
const hour = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });
function clocks() {
  for (const element of all("[data-ahead]")) {
    const at = new Date(element.dataset.ahead);
    const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
    const days = Math.round((midnight(at) - midnight(new Date())) / 86_400_000);
    const date = days === 0 ? "today" : days === 1 ? "tomorrow" : day.format(at);
    const words = `${date} ${hour.format(at)} your time (${element.dataset.ahead.slice(11, 16)} UTC)`;
    if (element.textContent !== words) element.textContent = words;
  }
}

function tick() {
  for (const element of all("[data-ticking]")) {
    // Counting starts at the server's number; a new number restarts it.
    let began = since.get(element);
    if (!began || began.said !== element.dataset.ticking) {
      began = { said: element.dataset.ticking, at: performance.now() - Number(element.dataset.ticking) };
      since.set(element, began);
    }
    element.textContent = duration(performance.now() - began.at);
  }
}

age();
document.addEventListener("htmx:after:swap", age);
setInterval(age, 15000);
setInterval(() => document.hidden || tick(), 100);
