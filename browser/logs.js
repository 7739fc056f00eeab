// The log: new lines, follow, search, links to lines, copy.

import { localTimes } from "./clock.js";
import { copy } from "./controls.js";
import { all, find, make, on, settled } from "./page.js";

// The page keeps at most this many lines; the server searches and delivers the whole log.
const KEPT = 2000;

const rows = (which = "div") => all(`#log-lines > ${which}`);
const textOf = (row) => row.querySelector(":scope > span").textContent;

// Following.
const follows = () => find("[data-log-follow]")?.getAttribute("aria-pressed") === "true";
function setFollowing(follow) {
  find("[data-log-follow]")?.setAttribute("aria-pressed", String(follow));
}
function toEnd() {
  const log = find("#log-lines");
  if (log && follows()) log.scrollTop = log.scrollHeight;
}
on("click", "[data-log-follow]", () => {
  setFollowing(!follows());
  toEnd();
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
      if (!up && !follows()) setFollowing(true);
    } else if (up) {
      setFollowing(false);
    }
  },
  { capture: true, passive: true },
);

// New lines are added once per frame.
let waiting = [];
function flush() {
  const log = find("#log-lines");
  const template = make("template");
  template.innerHTML = waiting.join("");
  waiting = [];
  if (!log) return;
  localTimes(template.content);
  find("[data-log-nothing]", log)?.remove();
  log.append(template.content);
  for (const row of rows().slice(0, -KEPT)) row.remove();
  markAll();
  toEnd();
}
function add(html) {
  if (waiting.length === 0) requestAnimationFrame(flush);
  waiting.push(html);
}
/** A line of a build. */
export function logLine(source, deploy, line) {
  if (find("[data-log]")?.dataset.log !== "build" || source !== "build" || find("a[data-log-end]")) return;
  const row = make("div", deploy ? { class: "deploy" } : {});
  row.append(make("span", {}, line));
  add(row.outerHTML);
}
// Lines between the page's last line and the stream's first one are missing, or another release prints.
on("reset", "#log-lines", () => {
  waiting = [];
  for (const row of rows()) row.remove();
});
on("lines", "#log-lines", (_, event) => add(JSON.parse(event.detail.data).html));

// Searching. What is typed is marked in the lines of the page at once; the server searches the whole log.
const field = () => find("[data-log-search]");
const typed = () => field()?.value.trim() ?? "";
const isSearched = () => typed() === field()?.dataset.searched;

/** Marks the words in a line. Answers whether they are there. */
function mark(row, wanted) {
  const text = textOf(row);
  const folded = text.toLowerCase();
  const parts = [];
  let from = 0;
  // A letter that is longer in lower case would shift what is marked.
  if (wanted !== "" && folded.length === text.length) {
    for (let at = folded.indexOf(wanted); at !== -1; at = folded.indexOf(wanted, from)) {
      parts.push(text.slice(from, at), make("mark", {}, text.slice(at, at + wanted.length)));
      from = at + wanted.length;
    }
  }
  const span = row.querySelector(":scope > span");
  if (parts.length > 0) span.replaceChildren(...parts, text.slice(from));
  else if (span.firstElementChild) span.textContent = text;
  row.classList.toggle("found", parts.length > 0);
  return parts.length > 0;
}
function markAll() {
  // The server's marks are exact; they stay while the words are the same.
  if (isSearched()) return;
  const wanted = typed().toLowerCase();
  const count = rows().filter((row) => mark(row, wanted)).length;
  find("[data-log-count]").textContent = wanted === "" ? "" : `${count} of the lines shown`;
}
on("input", "[data-log-search]", settled(markAll, 120));
// The button in the field that clears it.
on("search", "[data-log-search]", (input) => {
  if (input.value === "" && input.dataset.searched !== "") input.form.requestSubmit();
});
on("change", "[data-log-level]", (select) => select.form.requestSubmit());

/** Goes to a line of the page. */
function goTo(row) {
  setFollowing(false);
  for (const before of rows(".at")) before.classList.remove("at");
  row.classList.add("at");
  row.scrollIntoView({ block: "center" });
  const link = row.querySelector(":scope > a");
  const address = new URL(location.href);
  if (link) {
    const to = new URL(link.href);
    address.searchParams.set("at", to.searchParams.get("at"));
    address.hash = to.hash;
    history.replaceState(history.state, "", address);
  }
}
/** Goes to the next found line, or to the previous one. Answers whether there is one. */
function step(by) {
  const found = rows(".found");
  const here = find("#log-lines > .at");
  const isAfter = (row) => here.compareDocumentPosition(row) & Node.DOCUMENT_POSITION_FOLLOWING;
  let next;
  if (!here) next = by > 0 ? found[0] : found.at(-1);
  else if (by > 0) next = found.find(isAfter);
  else next = found.findLast((row) => row !== here && !isAfter(row));
  if (!next) return false;
  goTo(next);
  const output = find("[data-log-count]");
  if (isSearched() && output.dataset.total) {
    const total = Number(output.dataset.total);
    const number = Number(output.dataset.before) + found.indexOf(next) + 1;
    output.textContent = `${number.toLocaleString("en")} of ${total.toLocaleString("en")} ${total === 1 ? "line" : "lines"}`;
    for (const link of all("[data-log-step]")) {
      const isEnd = number === (link.dataset.logStep === "1" ? total : 1);
      if (isEnd) link.setAttribute("aria-disabled", "true");
      else link.removeAttribute("aria-disabled");
    }
  }
  return true;
}
on("click", "[data-log-step]", (link, event) => {
  event.preventDefault();
  if (!step(Number(link.dataset.logStep)) && link.dataset.outside) location.assign(link.dataset.outside);
});
// Enter searches the whole log; for the words that were searched it goes to the next line, with Shift to the previous one.
on("keydown", "[data-log-search]", (input, event) => {
  if (event.key !== "Enter" || typed() === "" || !isSearched()) return;
  event.preventDefault();
  find(`[data-log-step="${event.shiftKey ? -1 : 1}"]`)?.click();
});

// The link of a line marks it, and is the address of the page from then on.
on("click", "#log-lines > div > a", (link, event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  goTo(link.parentElement);
});

on("click", "[data-log-copy]", () => copy(rows().map(textOf).join("\n")));

const begin = () => {
  const log = find("#log-lines");
  if (!log || "begun" in log.dataset) return;
  log.dataset.begun = "";
  localTimes(log);
  find(".at", log)?.scrollIntoView({ block: "center" });
  // Typed before this script was loaded.
  markAll();
  toEnd();
};
begin();
document.addEventListener("htmx:after:swap", begin);
