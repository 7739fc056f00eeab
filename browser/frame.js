// The app in its frame: on the page and at the width that its reader chose, reloaded when the app changed, without a flash of
// white. The stage changes by itself only in the page where the work was started; elsewhere the page says what there is to see.

import { all, find, make, on, refreshStage, settled, shownTab } from "./page.js";
import { hasAnswers } from "./try.js";

const app = find("#workbench")?.dataset.app;
const holder = () => find(".frame");
const shownFrame = () => find(".frame iframe:not(.next)");

/** What this tab remembers of the stage. */
const memory = {
  read: (name) => sessionStorage.getItem(`slipway:${app}:${name}`),
  write: (name, value) => sessionStorage.setItem(`slipway:${app}:${name}`, value),
};
const pathOf = (kind) => memory.read(`path:${kind}`) ?? "/";

/** The address of a page in the frame. Behind the log-in the builder hands the browser on to it. */
function addressOf(frame, path) {
  const url = new URL(frame.dataset.src ?? frame.getAttribute("src"), location.href);
  if (url.origin === location.origin) url.searchParams.set("next", path);
  else return new URL(path, url).href;
  return url.href;
}

/** Loads a page behind the one that is shown; it takes its place when it is there. */
function load(path) {
  const place = holder();
  const shown = shownFrame();
  if (!shown) return;
  find("iframe.next", place)?.remove();
  const next = shown.cloneNode();
  next.dataset.src ??= shown.getAttribute("src");
  next.src = addressOf(next, path);
  next.classList.add("next");
  const change = () => {
    if (!next.isConnected) return;
    next.classList.remove("next");
    shown.remove();
    showPath(pathOf(place.dataset.frame));
    lookForErrors();
  };
  next.addEventListener("load", change, { once: true });
  setTimeout(change, 8000);
  place.append(next);
}
const reload = () => holder() && load(pathOf(holder().dataset.frame));
on("click", "[data-reload]", reload);
const reloadSoon = settled(reload, 350);

// The path in the address: what the page in the frame says, or what is typed.
function showPath(path) {
  const field = find("[data-path]");
  if (field && document.activeElement !== field) field.value = path;
  const link = find("[data-open]");
  if (link) link.href = new URL(path, link.dataset.open).href;
}
on("submit", "[data-address]", (form, event) => {
  event.preventDefault();
  const field = find("[data-path]", form);
  const path = field.value.startsWith("/") ? field.value : `/${field.value}`;
  memory.write(`path:${holder().dataset.frame}`, path);
  field.blur();
  load(path);
});

// A page in the frame says where it is, and that it met errors; what they are is asked of the builder, never of the page.
const lookForErrors = settled(() => {
  const place = find("[data-errors]");
  if (place) window.htmx?.ajax("GET", place.dataset.errors, { target: "#browser-errors", swap: "outerHTML", source: place });
}, 300);
addEventListener("message", ({ source, data }) => {
  const from = all(".frame iframe").find((frame) => frame.contentWindow === source);
  if (!from) return;
  if (data?.slipway === "errors") lookForErrors();
  // A frame that is being replaced has nothing to say about where the reader is.
  const current = find("iframe.next", holder()) ?? shownFrame();
  // A path, and no address: it stays on the app's own host.
  if (data?.slipway === "at" && from === current && /^\/(?!\/)[^\\]{0,2000}$/.test(data.path)) {
    memory.write(`path:${holder().dataset.frame}`, data.path);
    if (!from.classList.contains("next")) showPath(data.path);
  }
});

// The view switches automatically, unless the user has chosen one.
let chosen = false;
on("click", ".toolbar [href*='view=']", (_, event) => (chosen = event.isTrusted));

// Work that was started in this page: its outcome is worth seeing. Other people's is only announced.
let own = false;
/** A user of this page has sent a message or pressed a button that starts work. */
export function startedHere() {
  own = true;
  chosen = false;
}
on("submit", "form[method=post]", (form) => {
  if (/\/(turns|previews|publish|rollback|start|continue)(\/|$|\?)/.test(form.getAttribute("action") ?? "")) startedHere();
});

const viewLink = (view) => find(`.toolbar [href$="view=${view}"]`);

/** Shows a view of the app. It is no page that *Back* should lead to. */
function look(view) {
  const link = viewLink(view);
  if (!link || link.hasAttribute("aria-current")) return false;
  find("#news")?.remove();
  const { href } = link;
  window.htmx?.ajax("GET", href, { target: "#stage", swap: "innerHTML", source: find("#stage") });
  history.replaceState(history.state, "", href);
  return true;
}

/** Says what there is to see, and leaves the stage alone. */
function tell(view, words) {
  const place = holder();
  if (!viewLink(view) || viewLink(view).hasAttribute("aria-current") || !place) return;
  find("#news")?.remove();
  const bar = make("div", { id: "news", class: "news", role: "status" }, words);
  const show = make("button", { type: "button", class: "button small" }, "Show");
  show.addEventListener("click", () => look(view));
  bar.append(show);
  place.append(bar);
}

/** A turn has begun, in this page or in another one. */
export function turnBegan() {
  if (own) chosen = false;
}

/** A file of the workspace has changed. */
export function draftChanged() {
  if (find('.frame[data-frame="draft"]')) reloadSoon();
  else if (own && !chosen && shownTab() === "preview") look("draft");
}

function refreshIfEmpty(state) {
  if (hasAnswers()) return state === "ready" ? offerRefresh() : undefined;
  // Content that is shown only once, such as a new link, stays until the user leaves the page.
  if (!find(".frame") && !find("[data-shown-once]")) refreshStage();
}

/** The answers of the version before stay until their reader has done with them. */
function offerRefresh() {
  const place = find("#stage > .body");
  if (!place) return;
  find("#news")?.remove();
  find("#stage > .frame-note")?.remove();
  const bar = make("p", { id: "news", class: "frame-note", role: "status" });
  const show = make("button", { type: "button", class: "button small" }, "Reload the endpoints");
  show.addEventListener("click", refreshStage);
  bar.append(make("span", { class: "grow" }, "A new version runs here. These answers are from the version before."), show);
  place.before(bar);
}

/** The state of an environment has changed. */
export function environmentChanged({ environment, state }) {
  if (shownTab() === "releases") refreshStage();
  if (shownTab() !== "preview") return;
  const isShown = find(`.frame[data-frame="${environment}"]`);
  // The note that an earlier version answers is about a deployment that has ended.
  if (state !== "ready") return isShown && state === "failed" ? refreshStage() : undefined;
  if (isShown) return reloadSoon();
  if (!own) return holder() ? tell(environment, environment === "prod" ? "A version was published." : "A new version is in preview.") : refreshIfEmpty(state);
  if (chosen || !look(environment)) refreshIfEmpty(state);
}

// The width that was chosen, and the page that was shown, stay over each change of the stage.
on("change", ".widths input", (input) => memory.write("width", input.id));
function begin() {
  const width = memory.read("width");
  const radio = width && document.getElementById(width);
  if (radio) radio.checked = true;
  const frame = shownFrame();
  if (!frame || "begun" in frame.dataset) return;
  frame.dataset.begun = "";
  frame.dataset.src = frame.getAttribute("src");
  const path = pathOf(holder().dataset.frame);
  showPath(path);
  if (path === "/") return;
  // A frame of its own: after a reload, the browser may still navigate the one in the page to what it showed before.
  const fresh = frame.cloneNode();
  fresh.src = addressOf(frame, path);
  frame.replaceWith(fresh);
}
begin();
document.addEventListener("htmx:after:swap", begin);
