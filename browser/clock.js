// Times of lines and requests are the reader's own. The server writes UTC, for browsers without scripts.

import { all, on } from "./page.js";

const time = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const clock = new Intl.DateTimeFormat(undefined, time);
const calendar = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...time });
const exact = new Intl.DateTimeFormat(undefined, {
  day: "numeric", month: "long", year: "numeric", ...time, fractionalSecondDigits: 3, timeZoneName: "short",
});

/** Shows the times within an element in the reader's zone. */
export function localTimes(within) {
  const today = new Date().toDateString();
  for (const element of all("time[data-clock]", within)) {
    const at = new Date(element.dateTime);
    element.textContent = (at.toDateString() === today ? clock : calendar).format(at);
  }
}

// Written when it is needed: a log has hundreds of times.
const sayExactly = (element) => (element.title ||= exact.format(new Date(element.dateTime)));
on("mouseover", "time[data-clock]", sayExactly);
on("focusin", "#log-lines > div > a", (link) => all("time", link).forEach(sayExactly));
