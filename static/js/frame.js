// The app in its frame: reloaded when it changed, without a flash of white.

import { find, on, refreshStage, settled, shownTab } from "./page.js";

function reload() {
  const holder = find(".frame");
  const shown = holder && find("iframe:not(.next)", holder);
  if (!shown) return;
  holder.querySelector("iframe.next")?.remove();
  // The new page loads behind the old one and takes its place when it is there.
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

// A page in the frame says that it met errors; what they are is asked of the builder, never of the page.
const lookForErrors = settled(() => {
  const place = find("[data-errors]");
  if (place) window.htmx?.ajax("GET", place.dataset.errors, { target: "#browser-errors", swap: "outerHTML", source: place });
}, 300);
addEventListener("message", ({ source, data }) => {
  const frames = [...document.querySelectorAll(".frame iframe")];
  if (data?.slipway === "errors" && frames.some((frame) => frame.contentWindow === source)) lookForErrors();
});

// What is shown follows what happens, unless the user has chosen what to look at.
let chosen = false;
on("click", ".toolbar [href*='view=']", (_, event) => (chosen = event.isTrusted));

function look(view) {
  const link = find(`.toolbar [href$="view=${view}"]`);
  if (!link || link.hasAttribute("aria-current")) return false;
  link.click();
  return true;
}

/** A message was sent: what comes of it is worth seeing. */
export function turnBegan() {
  chosen = false;
}

/** A file of the workspace has changed. */
export function draftChanged() {
  if (find('.frame[data-frame="draft"]')) reloadSoon();
  else if (!chosen && shownTab() === "preview") look("draft");
}

function refreshIfEmpty() {
  // What is shown once, such as a new link, stays until its reader leaves.
  if (!find(".frame") && !find("[data-shown-once]")) refreshStage();
}

/** An environment has changed its state. */
export function environmentChanged({ environment, state }) {
  if (shownTab() === "releases") refreshStage();
  if (shownTab() !== "preview" || state !== "ready") return;
  if (find(`.frame[data-frame="${environment}"]`)) reloadSoon();
  else if (chosen || !look(environment)) refreshIfEmpty();
}
