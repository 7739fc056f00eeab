// The log: live lines, follow, search, copy.

import { copy } from "./controls.js";
import { all, find, on, settled } from "./page.js";

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
      if (wanted) mark(row, wanted);
      return row;
    });
    log.append(...lines);
    for (let over = log.childElementCount - KEPT; over > 0; over--) find("div", log).remove();
    toEnd(log);
  }
  waiting = [];
};

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
  log.replaceChildren();
});
on("lines", "#log-lines", (_, event) => {
  const { lines } = JSON.parse(event.detail.data);
  if (waiting.length === 0) requestAnimationFrame(flush);
  waiting.push(...lines.map((line) => ({ deploy: false, line })));
});

on("click", "[data-log-follow]", (button) => {
  button.setAttribute("aria-pressed", String(!following()));
  toEnd(find("#log-lines"));
});
on("wheel", "#log-lines", (log, event) => {
  if (event.deltaY < 0) find("[data-log-follow]")?.setAttribute("aria-pressed", "false");
}, { passive: true });

function mark(row, wanted) {
  const hit = row.textContent.toLowerCase().includes(wanted);
  row.classList.toggle("miss", wanted !== "" && !hit);
  row.classList.toggle("hit", wanted !== "" && hit);
}
const search = settled((field) => {
  const wanted = field.value.trim().toLowerCase();
  const log = find("#log-lines");
  for (const row of all("div", log)) mark(row, wanted);
  find("div.hit", log)?.scrollIntoView({ block: "nearest" });
}, 120);
on("input", "[data-log-search]", search);

on("click", "[data-log-copy]", () => copy(all("#log-lines div:not(.miss)").map((row) => row.textContent).join("\n")));

const begin = () => {
  const log = find("#log-lines");
  if (log && !log.dataset.begun) {
    log.dataset.begun = "";
    toEnd(log);
  }
};
begin();
document.addEventListener("htmx:after:swap", begin);
