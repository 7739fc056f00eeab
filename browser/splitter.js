// The line between the conversation and the stage: dragged, or moved with the arrow keys. Its place is kept for all apps;
// boot.js applies it before the page is painted.

import { find } from "./page.js";

const KEY = "slipway:talk";
const [LEAST, MOST, STEP] = [30, 60, 2];
const line = find("#splitter");
const workbench = find("#workbench");
const root = document.documentElement;

let now = 40;
const within = (percent) => Math.min(MOST, Math.max(LEAST, Math.round(percent)));

function place(percent) {
  now = within(percent);
  root.style.setProperty("--talk", `${now}%`);
  try {
    localStorage.setItem(KEY, now);
  } catch {
    // Without storage it stays for this page.
  }
  say();
}

/** As wide as it usually is. */
function reset() {
  root.style.removeProperty("--talk");
  localStorage.removeItem(KEY);
}

/** The usual width depends on the window. */
function measure() {
  if (!root.style.getPropertyValue("--talk")) now = within((100 * find("#talk").offsetWidth) / workbench.clientWidth);
  else now = within(parseFloat(root.style.getPropertyValue("--talk")));
  say();
}

function say() {
  line.setAttribute("aria-valuenow", now);
  line.setAttribute("aria-valuetext", `${now} percent`);
}

if (line && workbench) {
  line.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    line.focus();
    line.setPointerCapture(event.pointerId);
    // The frame would take the pointer.
    workbench.classList.add("dragging");
  });
  line.addEventListener("pointermove", (event) => {
    if (!line.hasPointerCapture(event.pointerId)) return;
    const { left, width } = workbench.getBoundingClientRect();
    place((100 * (event.clientX - left)) / width);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    line.addEventListener(name, () => workbench.classList.remove("dragging"));
  }
  line.addEventListener("dblclick", reset);
  line.addEventListener("keydown", (event) => {
    const to = { ArrowLeft: now - STEP, ArrowRight: now + STEP, Home: LEAST, End: MOST, Enter: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) reset();
    else place(to);
  });
  new ResizeObserver(measure).observe(find("#talk"));
}
