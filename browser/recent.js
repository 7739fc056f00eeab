// The last answers of an API stay in this browser: over new versions, reloads, and restarts of the builder.

import { all, find, make, on } from "./page.js";

const KEPT = 5;
// Longer bodies are cut, so that five answers of each app fit into what browsers keep for a page.
const BODY_MAX = 20_000;
const HEADERS_MAX = 4_000;
const APPS = 20;
const PREFIX = "slipway:answers:";

function read(app) {
  try {
    const kept = JSON.parse(localStorage.getItem(PREFIX + app));
    return Array.isArray(kept) ? kept.slice(0, KEPT) : [];
  } catch {
    return [];
  }
}

function write(app, answers) {
  try {
    if (answers.length === 0) return localStorage.removeItem(PREFIX + app);
    localStorage.setItem(PREFIX + app, JSON.stringify(answers));
    const others = Object.keys(localStorage).filter((name) => name.startsWith(PREFIX) && name !== PREFIX + app);
    const age = (name) => read(name.slice(PREFIX.length))[0]?.at ?? 0;
    others.sort((a, b) => age(b) - age(a)).slice(APPS - 1).forEach((name) => localStorage.removeItem(name));
  } catch {
    // The browser keeps nothing for this page, or is full: then the answers stay until the page is left.
  }
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}\n…` : text);

/** Keeps an answer that has just arrived. */
export function keepAnswer(answer) {
  const section = find("[data-recent]");
  if (!section || !answer?.dataset.request) return;
  const [body, headers] = all("pre", answer);
  const tag = find(".tag", answer);
  const one = {
    at: Date.now(),
    request: cut(answer.dataset.request, 2_000),
    environment: answer.dataset.environment,
    status: tag.textContent,
    class: tag.className,
    words: find(".dim", answer).textContent,
    facts: find(".end", answer).textContent,
    body: cut(body.textContent, BODY_MAX),
    headers: cut(headers?.textContent ?? "", HEADERS_MAX),
  };
  const app = section.dataset.recent;
  write(app, [one, ...read(app)].slice(0, KEPT));
  show();
}

function row(one) {
  const details = make("details");
  const summary = make("summary");
  summary.append(
    make("span", { class: one.class }, one.status),
    make("code", { class: "cut grow" }, one.request),
    make("span", { class: "faint nowrap" }, one.environment),
    make("time", { class: "faint nowrap num", datetime: new Date(one.at).toISOString() }, new Date(one.at).toLocaleTimeString()),
  );
  const answer = make("div", { class: "answer" });
  const header = make("header");
  header.append(make("span", { class: "dim" }, one.words), make("span", { class: "faint num end" }, one.facts));
  answer.append(header, make("pre", { tabindex: "0", role: "region", "aria-label": `Body, ${one.request}` }, one.body));
  if (one.headers) {
    const headers = make("details");
    headers.append(make("summary", {}, "Headers"), make("pre", { tabindex: "0" }, one.headers));
    answer.append(headers);
  }
  details.append(summary, answer);
  return details;
}

/** Shows what is kept for the app of the page. */
function show() {
  const section = find("[data-recent]");
  if (!section) return;
  const answers = read(section.dataset.recent);
  section.hidden = answers.length === 0;
  find(".endpoints", section).replaceChildren(...answers.map(row));
}

on("click", "[data-recent-clear]", (button) => {
  write(button.closest("[data-recent]").dataset.recent, []);
  show();
});
function begin() {
  const section = find("[data-recent]");
  if (!section || "begun" in section.dataset) return;
  section.dataset.begun = "";
  show();
}
begin();
document.addEventListener("htmx:after:swap", begin);
