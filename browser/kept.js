// Unsent text stays in this browser until the server has received it: across reloads, lost connections and ended sessions.
//
// A field with `data-keep="KEY"` is kept under that key. A field that the server has filled with other text is left alone.

import { all, find, grow, make, on } from "./page.js";

const PREFIX = "slipway:typed:";
const WAIT = 250;
// Older texts are abandoned, and are deleted.
const MAX_AGE = 30 * 24 * 3600 * 1000;

function read(key) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key));
  } catch {
    return null;
  }
}

function write(key, value) {
  try {
    if (value === null) localStorage.removeItem(PREFIX + key);
    else localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // The browser keeps nothing for this page, or is full: then typing works as it does without this.
  }
}

const changed = new Map();
let timer;
function save() {
  clearTimeout(timer);
  for (const [key, field] of changed) {
    const text = field.value;
    const isServers = text === field.defaultValue && field.dataset.unsaved === undefined;
    write(key, text === "" || isServers ? null : { text, at: Date.now(), base: baseOf(field) });
  }
  changed.clear();
}

/** The version that a file's text was made from: another one may be newer by now. */
function baseOf(field) {
  return find("input[name=head]", field.form ?? document)?.value ?? "";
}

on("input", "[data-keep]", (field) => {
  changed.set(field.dataset.keep, field);
  clearTimeout(timer);
  timer = setTimeout(save, WAIT);
});
addEventListener("pagehide", save);
document.addEventListener("visibilitychange", () => document.hidden && save());

/** The server has this text: it need not be kept any more, unless other text has been typed since. */
export function received(field, text) {
  if (!field?.dataset.keep) return;
  save();
  const kept = read(field.dataset.keep);
  if (kept && kept.text === text) write(field.dataset.keep, null);
}

function restore(field) {
  const kept = read(field.dataset.keep);
  if (!kept?.text || field.value !== field.defaultValue || kept.text === field.value) return;
  if (field.matches("[data-editor]")) {
    offer(field, kept);
  } else if (field.value === "") {
    put(field, kept.text);
  }
}

function put(field, text) {
  field.value = text;
  grow(field);
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

/** A file is not overwritten without being asked: it may have changed meanwhile. */
function offer(field, kept) {
  const minutes = Math.round((Date.now() - kept.at) / 60000);
  const age = minutes < 1 ? "just now" : minutes < 60 ? `${minutes} min ago` : minutes < 1440 ? `${Math.round(minutes / 60)} h ago` : `${Math.round(minutes / 1440)} days ago`;
  const since = kept.base !== baseOf(field) ? " The file has changed since." : "";
  const bar = make("p", { class: "frame-note", role: "status" });
  const words = make("span", { class: "grow" }, `You have unsaved changes to this file from ${age}.${since}`);
  const use = make("button", { type: "button", class: "button small" }, "Use them");
  const discard = make("button", { type: "button", class: "button small quiet" }, "Discard");
  use.addEventListener("click", () => {
    put(field, kept.text);
    bar.remove();
    field.focus();
  });
  discard.addEventListener("click", () => {
    write(field.dataset.keep, null);
    bar.remove();
    field.focus();
  });
  bar.append(words, use, discard);
  field.before(bar);
}

const seen = new WeakSet();
function begin() {
  for (const field of all("[data-keep]")) {
    if (seen.has(field)) continue;
    seen.add(field);
    restore(field);
  }
}

// A form that goes to the server as a whole page: the page that comes next says whether it got there.
const SENT = "slipway:sent";
const textSent = new WeakMap();
on("submit", "form", (form) => {
  for (const field of all("[data-keep]", form)) textSent.set(field, field.value);
  if (form.matches("[hx-post]") && window.htmx) return;
  const sent = all("[data-keep]", form).map((field) => [field.dataset.keep, field.value]);
  if (sent.length > 0) sessionStorage.setItem(SENT, JSON.stringify(sent));
});
document.addEventListener("htmx:finally:request", ({ target, detail: { ctx } }) => {
  const form = target.closest?.("form");
  // The composer says itself when its message was received.
  if (!form || form.matches("[data-composer]") || !(ctx?.response?.status < 300) || ctx.request?.method === "GET") return;
  for (const field of all("[data-keep]", form)) {
    const text = textSent.get(field) ?? field.value;
    // A field that stays on the page has the text that the server has now.
    if (field.isConnected && field.matches("[data-editor]")) {
      field.defaultValue = text;
      delete field.dataset.unsaved;
    }
    received(field, text);
  }
});

try {
  const sent = JSON.parse(sessionStorage.getItem(SENT) ?? "[]");
  sessionStorage.removeItem(SENT);
  // At the login page, and where the same field is shown again with what is wrong, nothing was received.
  if (location.pathname !== "/login") {
    for (const [key, text] of sent) {
      const again = all("[data-keep]").some((field) => field.dataset.keep === key && field.value === text);
      if (!again && read(key)?.text === text) write(key, null);
    }
  } else if (sent.length > 0) {
    sessionStorage.setItem(SENT, "[]");
  }
  for (const name of Object.keys(localStorage)) {
    if (name.startsWith(PREFIX) && !(Date.now() - read(name.slice(PREFIX.length))?.at < MAX_AGE)) localStorage.removeItem(name);
  }
} catch {
  // As above.
}

begin();
document.addEventListener("htmx:after:swap", begin);
