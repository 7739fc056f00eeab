"use strict";

// Readings by day, in kWh. Where you have entered none, a formula makes a sample: a wave over the week, another over
// the year, and a little noise that is the same at each visit.
const PRICE = 0.32;
const FEED_IN = 0.08;
const KEPT_DAYS = 400;

const dayOf = (date) => `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;

let own = {};
try {
  own = JSON.parse(localStorage.getItem("readings")) ?? {};
} catch {
  own = {};
}

function keepReading(day, reading) {
  own[day] = reading;
  const days = Object.keys(own).sort().slice(-KEPT_DAYS);
  own = Object.fromEntries(days.map((each) => [each, own[each]]));
  try {
    localStorage.setItem("readings", JSON.stringify(own));
  } catch {
    // Private windows may keep nothing: it then lasts as long as the page.
  }
}

function sample(date) {
  const number = Math.floor(date.getTime() / 86400000);
  const noise = (Math.abs(Math.sin(number * 12.9898) * 43758.5453) % 1) - 0.5;
  const season = Math.cos(((number % 365) / 365) * 2 * Math.PI);
  const weekend = date.getDay() % 6 === 0 ? 2.1 : 0;
  const sun = Math.max(0.4, 7 - season * 5.5 + noise * 5);
  return { used: Math.round((9.5 + season * 2.4 + weekend + noise * 3) * 10) / 10, made: Math.round(sun * 10) / 10 };
}

/** The reading of a day, with what it cost. */
function readingOf(date) {
  const day = dayOf(date);
  const { used, made } = own[day] ?? sample(date);
  const bought = Math.max(0, used - made * 0.45);
  const sold = Math.max(0, made - used * 0.45);
  return { day, date, used, made, cost: bought * PRICE - sold * FEED_IN, isOwn: day in own };
}

/** The readings of so many days, oldest first; `before` days earlier than today. */
function readings(days, before = 0) {
  const now = new Date();
  return Array.from({ length: days }, (_, nth) => readingOf(new Date(now.getFullYear(), now.getMonth(), now.getDate() - before - (days - 1 - nth), 12)));
}
