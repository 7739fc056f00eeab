// The app in its frame: on the page and at the width that its reader chose, reloaded when the app changed, without a flash of
// white. The page in the frame reports where it is (gateway/place.js). Its messages are foreign text, used only as a path on the
// app's own host and as the title of the frame. Production reports nothing, so there the address is what was typed.

import { all, find, on, settled } from "./page.js";
import { memoryOf } from "./started.js";

export const holder = () => find("#stage .frame");
export const shownFrame = () => find("iframe:not(.next)", holder() ?? document);

const memory = memoryOf(find("#workbench")?.dataset.app);

/** Maximum number of pages that *Back* leads through. */
const STEPS = 50;
const isPath = (path) => typeof path === "string" && /^\/(?!\/)[^\\\u0000-\u001f]{0,2000}$/.test(path);

// The page that is shown, how far it is scrolled, and the pages before and after it. They are the same for draft, preview and
// production, so that switching between them compares one page.
const place = { path: memory.read("path") ?? "/", scroll: readScroll(memory.read("scroll")), steps: [], at: -1 };
/** Whether the page is known: a page without our script does not report it. */
let known = true;

function readScroll(text) {
  const scroll = (text ?? "").split(",").map(Number);
  return scroll.length === 2 && scroll.every(Number.isFinite) ? scroll : [0, 0];
}

/** The reader is at a page. `how`: `replace` for one that takes the place of the page before. */
function arrive(path, how) {
  const { steps, at } = place;
  known = true;
  if (steps[at] !== path) {
    if (how === "replace" && at >= 0) steps[at] = path;
    else if (how === "move" && steps[at - 1] === path) place.at--;
    else if (how === "move" && steps[at + 1] === path) place.at++;
    else {
      steps.splice(at + 1, Infinity, path);
      if (steps.length > STEPS) steps.shift();
      place.at = steps.length - 1;
    }
  }
  if (place.path !== path) place.scroll = [0, 0];
  place.path = path;
  keep();
}

function keep() {
  memory.write("path", place.path);
  memory.write("scroll", place.scroll.join(","));
}

/** The address of a page in the frame. Behind the log-in the builder hands the browser on to it. */
function addressOf(frame, path) {
  const url = new URL(frame.dataset.src, location.href);
  if (url.origin === location.origin) url.searchParams.set("next", path);
  else return new URL(path, url).href;
  return url.href;
}

/** The only origin that the frame's pages may speak from. */
const originOf = () => new URL(holder().dataset.url).origin;

/** Loads a page behind the one that is shown; it takes its place when it is there. */
function load(path) {
  const around = holder();
  const shown = shownFrame();
  if (!shown) return;
  find("iframe.next", around)?.remove();
  const next = shown.cloneNode();
  next.src = addressOf(next, path);
  next.classList.add("next");
  delete next.dataset.said;
  delete next.dataset.scrolls;
  const change = () => {
    if (!next.isConnected) return;
    next.classList.remove("next");
    shown.remove();
    show();
    lookForErrors();
  };
  next.addEventListener("load", change, { once: true });
  setTimeout(change, 8000);
  follow(next);
  around.append(next);
}

/** The page that the reader wants next, at its top. */
function goTo(path, how = "push") {
  arrive(path, how);
  place.scroll = [0, 0];
  keep();
  load(path);
  show();
}

export const reload = () => holder() && load(place.path);
on("click", "[data-reload]", reload);
export const reloadSoon = settled(reload, 350);

on("click", "[data-go]", ({ dataset }) => {
  const path = place.steps[place.at + Number(dataset.go)];
  if (path === undefined) return;
  place.at += Number(dataset.go);
  goTo(path);
});

// The address: what the page in the frame says, or what is typed.
function show() {
  const field = find("[data-page-path]");
  if (!field) return;
  if (document.activeElement !== field) field.value = known ? place.path : "";
  field.placeholder = known ? "" : "The page is not reported here";
  for (const button of all("[data-go]")) {
    button.disabled = place.steps[place.at + Number(button.dataset.go)] === undefined;
  }
  const link = find("[data-open]");
  if (link) link.href = new URL(known ? place.path : "/", holder().dataset.url).href;
}
on("submit", "[data-address]", (form, event) => {
  event.preventDefault();
  const field = find("[data-page-path]", form);
  const typed = field.value.trim();
  const path = typed.startsWith("/") ? typed : `/${typed}`;
  if (!isPath(path)) return field.select();
  field.blur();
  goTo(path);
});
on("focusout", "[data-page-path]", () => show());

// A page in the frame met errors: what they are is asked of the builder, never of the page.
export const lookForErrors = settled(() => {
  const list = find("[data-errors]");
  if (list) window.htmx?.ajax("GET", list.dataset.errors, { target: "#browser-errors", swap: "outerHTML", source: list });
}, 300);

function received({ source, origin, data }) {
  const around = holder();
  if (!around || origin !== originOf()) return;
  // Messages of a frame that is being replaced are ignored.
  const current = find("iframe.next", around) ?? shownFrame();
  const from = [...around.children].find((frame) => frame.contentWindow === source);
  if (!from) return;
  if (data?.slipway === "errors") lookForErrors();
  if (data?.slipway !== "at" || from !== current || !isPath(data.path)) return;
  from.dataset.said = "";
  const asked = place.scroll;
  const isSame = data.path === place.path;
  arrive(data.path, data.how);
  if (data.how === "load" && isSame && "fresh" in from.dataset) {
    delete from.dataset.fresh;
    place.scroll = asked;
    if (asked.some((far) => far > 0)) {
      from.dataset.scrolls = "";
      source.postMessage({ slipway: "scroll", to: asked }, origin);
    }
  } else {
    // Positions before the restored one are ignored.
    if (!isSame || data.how === "scrolled") delete from.dataset.scrolls;
    if (Array.isArray(data.scroll) && !("scrolls" in from.dataset)) place.scroll = readScroll(data.scroll.slice(0, 2).join(","));
  }
  keep();
  const title = typeof data.title === "string" ? data.title.replace(/\s+/g, " ").trim().slice(0, 100) : "";
  from.title = title ? `${title} (${around.dataset.title})` : around.dataset.title;
  if (!from.classList.contains("next")) show();
}
addEventListener("message", received);

/** Notices pages that report nothing: other formats than HTML, pages whose policy forbids our script, production. */
function follow(frame) {
  frame.dataset.fresh = "";
  let isFirst = true;
  frame.addEventListener("load", () => {
    // In browsers without `ancestorOrigins`, the page needs our origin.
    if (!location.ancestorOrigins && holder()) frame.contentWindow.postMessage({ slipway: "hello" }, originOf());
    const isOurs = isFirst;
    isFirst = false;
    setTimeout(() => {
      if (!frame.isConnected || frame.classList.contains("next")) return;
      const said = "said" in frame.dataset;
      delete frame.dataset.said;
      // The first page is the one that was asked for.
      if (said || isOurs) return;
      known = false;
      show();
    }, 300);
  });
}

// The width that was chosen, and the page that was shown, stay over each change of the stage.
on("change", ".widths input", (input) => memory.write("width", input.id));
let began = false;
function begin() {
  const width = memory.read("width");
  const radio = width && document.getElementById(width);
  if (radio) radio.checked = true;
  const frame = shownFrame();
  if (!frame || "src" in frame.dataset) return;
  const around = holder();
  frame.dataset.src = frame.getAttribute("src");
  around.dataset.title = frame.title;
  // A page that the address names is opened once; afterwards the page that the reader went to is kept.
  const first = around.dataset.pathFirst;
  const asked = !began && first !== "/" && isPath(first);
  began = true;
  if (asked && first !== place.path) {
    place.path = first;
    place.scroll = [0, 0];
  }
  known = true;
  if (place.at < 0) arrive(place.path, "push");
  show();
  if (place.path === first) {
    follow(frame);
    // It may have spoken before this script ran.
    if (window.earlyPlace) received(window.earlyPlace);
    return;
  }
  // A frame of its own: after a reload, the browser may still navigate the one in the page to what it showed before.
  const fresh = frame.cloneNode();
  fresh.src = addressOf(fresh, place.path);
  follow(fresh);
  frame.replaceWith(fresh);
}
begin();
document.addEventListener("htmx:after:swap", begin);
