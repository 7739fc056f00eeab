// The browser's tab shows what the app is doing, for users who are on another tab: in its title, and as a mark on its icon.

import { find } from "./page.js";

const own = document.title;
const icon = find("link[rel=icon]");
const usualIcon = icon?.getAttribute("href");
/** The end of a piece of work is announced once nothing has followed for this time: a deployment follows a turn. */
const SETTLED = 1500;

const boat =
  '<rect width="16" height="16" rx="3.6" fill="#0a6088"/><g transform="translate(1.6 .4) scale(.8)" fill="#fff"><path d="M1 13.6 15 10.4" stroke="#fff" stroke-width="1.6"/><path d="M2.6 7.2h9.9l1.7-2.4c.4 2.7-.9 4.800-3.6 5.300l-4.400 1C4 11.400 2.700 9.800 2.600 7.200zM7.300 6V1.800l4 4.200z"/></g>';
const line = 'fill="none" stroke="#fff" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round"';
const marks = {
  working: '<circle cx="11.400" cy="11.400" r="4.200" fill="#f5b82e" stroke="#fff" stroke-width=".8"/>',
  done: `<circle cx="11.400" cy="11.400" r="4.400" fill="#1a7f42"/><path d="m9.400 11.500 1.500 1.500 2.600-3.100" ${line}/>`,
  failed: `<circle cx="11.400" cy="11.400" r="4.400" fill="#c0342b"/><path d="m9.800 9.800 3.200 3.200m0-3.200-3.200 3.200" ${line}/>`,
};
const words = { writing: `● Writing · ${own}`, deploying: `● Deploying · ${own}`, done: `✓ ${own}`, failed: `✕ ${own}`, idle: own };

/** What the page shows the app to be doing. */
function state() {
  if (find("#turns [data-live]")) return "writing";
  if (find("#strip .strip.running, #strip .strip .spin")) return "deploying";
  if (find("#strip .failure, #strip .strip.failed, #turns > li:last-child .failure")) return "failed";
  return "idle";
}
const isWork = (state) => state === "writing" || state === "deploying";

let now = "idle";
let unseen = false;
let ending;

function show() {
  const shown = now === "idle" && unseen ? "done" : now;
  document.title = words[shown];
  const mark = marks[isWork(shown) ? "working" : shown];
  const href = mark ? `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">${boat}${mark}</svg>`)}` : usualIcon;
  if (icon && icon.getAttribute("href") !== href) icon.setAttribute("href", href);
}

function look() {
  const next = state();
  if (next === now) return;
  const ended = isWork(now) && !isWork(next);
  now = next;
  clearTimeout(ending);
  if (isWork(now)) unseen = false;
  if (ended) {
    ending = setTimeout(() => {
      unseen = document.hidden;
      show();
      document.dispatchEvent(new CustomEvent("slipway:ended", { detail: { failed: now === "failed" } }));
    }, SETTLED);
  }
  show();
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  unseen = false;
  show();
});
if (find("#workbench")) {
  now = state();
  show();
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ["class"] });
}
