// The log: live lines, follow, search, copy.

import { copy } from "./controls.js";
import { all, find, make, on, settled } from "./page.js";

// The page keeps at most this many lines; a link opens the whole log.
const KEPT = 4000;

const following = () => find("[data-log-follow]")?.getAttribute("aria-pressed") === "true";
function toEnd(log) {
  if (following()) log.scrollTop = log.scrollHeight;
}

let waiting = [];
const flush = () => {
  const log = find("#log-lines");
  if (log) {
    const wanted = find("[data-log-search]")?.value.trim().toLowerCase() ?? "";
    const lines = waiting.map(({ deploy, line }) => {
      const row = document.createElement("div");
      row.textContent = line;
      if (deploy) row.className = "deploy";
      level(row);
      if (wanted) mark(row, wanted);
      return row;
    });
    log.append(...lines);
    for (let over = log.childElementCount - KEPT; over > 0; over--) find("div", log).remove();
    toEnd(log);
  }
  waiting = [];
};

// What a line says of itself, in the words that most programs use.
const LEVELS = [
  ["error", /\b(?:ERROR|CRITICAL|FATAL|Traceback \(most recent call last\))\b|^(?:\w+\.)*\w*(?:Error|Exception)\b|\berror:/],
  ["warn", /\b(?:WARN|WARNING|Warning|DeprecationWarning)\b/],
];
function level(row) {
  const found = LEVELS.find(([, pattern]) => pattern.test(row.textContent));
  if (found) row.classList.add(found[0]);
}

/** A line of a build or of an app. */
export function logLine(source, deploy, line) {
  const view = find("[data-log]");
  if (!view || (view.dataset.log === "build") !== (source === "build")) return;
  if (waiting.length === 0) requestAnimationFrame(flush);
  waiting.push({ deploy, line });
}

// The stream of an app's log starts with the last lines on each connection.
on("reset", "#log-lines", (log) => {
  waiting = [];
  // What is said of earlier lines stays.
  for (const row of all("div", log)) row.remove();
});
on("lines", "#log-lines", (_, event) => {
  const { lines } = JSON.parse(event.detail.data);
  if (waiting.length === 0) requestAnimationFrame(flush);
  waiting.push(...lines.map((line) => ({ deploy: false, line })));
});

function setFollowing(follow) {
  find("[data-log-follow]")?.setAttribute("aria-pressed", String(follow));
}
on("click", "[data-log-follow]", () => {
  setFollowing(!following());
  toEnd(find("#log-lines"));
});
// Scrolling up stops following, by wheel, keys, touch or scroll bar; scrolling to the end follows again.
let lastTop = 0;
document.addEventListener(
  "scroll",
  ({ target: log }) => {
    if (log.id !== "log-lines") return;
    const up = log.scrollTop < lastTop;
    lastTop = log.scrollTop;
    if (log.scrollHeight - log.scrollTop - log.clientHeight < 4) {
      if (!up && !following()) setFollowing(true);
    } else if (up) {
      setFollowing(false);
    }
  },
  { capture: true, passive: true },
);

/** Marks the words in a line; answers how often they are there. */
function mark(row, wanted) {
  const text = row.textContent;
  const folded = text.toLowerCase();
  const parts = [];
  let count = 0;
  let from = 0;
  // A letter that is longer in lower case would shift what is marked.
  if (wanted !== "" && folded.length === text.length) {
    for (let at = folded.indexOf(wanted); at !== -1; at = folded.indexOf(wanted, from)) {
      parts.push(text.slice(from, at), make("mark", {}, text.slice(at, at + wanted.length)));
      from = at + wanted.length;
      count += 1;
    }
  }
  if (count > 0) row.replaceChildren(...parts, text.slice(from));
  else if (row.firstElementChild) row.textContent = text;
  row.classList.toggle("miss", wanted !== "" && count === 0);
  return count;
}

function showCount(wanted, count) {
  const place = find("[data-log-count]");
  if (!place) return;
  place.textContent = wanted === "" ? "" : count === 0 ? "Not found in the lines shown" : `${count} in the lines shown`;
}
const search = settled((field) => {
  const wanted = field.value.trim().toLowerCase();
  const log = find("#log-lines");
  const count = all("div", log).reduce((sum, row) => sum + mark(row, wanted), 0);
  showCount(wanted, count);
  log.classList.toggle("searched", wanted !== "");
  find("mark", log)?.scrollIntoView({ block: "nearest" });
}, 120);
on("input", "[data-log-search]", search);
// Enter goes to the next mark, with Shift to the one before.
let at = -1;
on("input", "[data-log-search]", () => (at = -1));
on("keydown", "[data-log-search]", (_, event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  const marks = all("#log-lines mark");
  if (marks.length === 0) return;
  marks[at]?.classList.remove("at");
  at = (at + (event.shiftKey ? -1 : 1) + marks.length) % marks.length;
  marks[at].classList.add("at");
  marks[at].scrollIntoView({ block: "nearest" });
  setFollowing(false);
});

on("click", "[data-log-copy]", () => copy(all("#log-lines div").map((row) => row.textContent).join("\n")));

const begin = () => {
  const log = find("#log-lines");
  if (log && !("begun" in log.dataset)) {
    log.dataset.begun = "";
    all("div", log).forEach(level);
    toEnd(log);
  }
};
begin();
document.addEventListener("htmx:after:swap", begin);
