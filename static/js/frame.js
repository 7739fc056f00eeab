// The app in its frame: reloaded when it has changed, without a white flash.

import { find, on, refreshStage, settled, shownTab } from "./page.js";

function reload() {
  const holder = find(".frame");
  const shown = holder && find("iframe:not(.next)", holder);
  if (!shown) return;
  holder.querySelector("iframe.next")?.remove();
  // The new page loads behind the old one and replaces it when it has loaded.
  const next = shown.cloneNode();
  next.classList.add("next");
  const change = () => {
    if (!next.isConnected) return;
    next.classList.remove("next");
    shown.remove();
    lookForErrors();
  };
  next.addEventListener("load", change, { once: true });
  setTimeout(change, 8000);
  holder.append(next);
}
on("click", "[data-reload]", reload);

const reloadSoon = settled(reload, 350);

// A page in the frame reports that it has errors. The errors themselves come from the builder, because the page is untrusted.
const lookForErrors = settled(() => {
  const place = find("[data-errors]");
  if (place) window.htmx?.ajax("GET", place.dataset.errors, { target: "#browser-errors", swap: "outerHTML", source: place });
}, 300);
addEventListener("message", ({ source, data }) => {
  const frames = [...document.querySelectorAll(".frame iframe")];
  if (data?.slipway === "errors" && frames.some((frame) => frame.contentWindow === source)) lookForErrors();
});

// The view switches automatically, unless the user has chosen one.
let chosen = false;
on("click", ".toolbar [href*='view=']", (_, event) => (chosen = event.isTrusted));

function look(view) {
  const link = find(`.toolbar [href$="view=${view}"]`);
  if (!link || link.hasAttribute("aria-current")) return false;
  link.click();
  return true;
}

/** A message was sent: its result should become visible. */
export function turnBegan() {
  chosen = false;
}

/** A file of the workspace has changed. */
export function draftChanged() {
  if (find('.frame[data-frame="draft"]')) reloadSoon();
  else if (!chosen && shownTab() === "preview") look("draft");
}

function refreshIfEmpty() {
  // Content that is shown only once, such as a new link, stays until the user leaves the page.
  if (!find(".frame") && !find("[data-shown-once]")) refreshStage();
}

/** The state of an environment has changed. */
export function environmentChanged({ environment, state }) {
  if (shownTab() === "releases") refreshStage();
  if (shownTab() !== "preview" || state !== "ready") return;
  if (find(`.frame[data-frame="${environment}"]`)) reloadSoon();
  else if (chosen || !look(environment)) refreshIfEmpty();
}
