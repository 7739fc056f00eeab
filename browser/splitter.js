// The line between the conversation and the stage: dragged, or moved with the arrow keys. Its place is kept for all apps;
// boot.js applies it before the page is painted.

import { find } from "./page.js";

const KEY = "slipway:talk";
const [LEAST, MOST, STEP] = [30, 60, 2];
const line = find("#splitter");
const workbench = find("#workbench");
const root = document.documentElement;

const shown = () => {
  const [talk] = getComputedStyle(workbench).gridTemplateColumns.split(" ").map(parseFloat);
  return (100 * talk) / workbench.clientWidth;
};

function place(percent) {
  const at = Math.min(MOST, Math.max(LEAST, percent));
  root.style.setProperty("--talk", `${at}%`);
  try {
    localStorage.setItem(KEY, at.toFixed(1));
  } catch {
    // Without storage it stays for this page.
  }
  say();
}

/** As wide as it usually is. */
function reset() {
  root.style.removeProperty("--talk");
  localStorage.removeItem(KEY);
  say();
}

function say() {
  const percent = Math.round(shown());
  line.setAttribute("aria-valuenow", Math.min(MOST, Math.max(LEAST, percent)));
  line.setAttribute("aria-valuetext", `Conversation ${percent} percent`);
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
    const now = shown();
    const to = { ArrowLeft: now - STEP, ArrowRight: now + STEP, Home: LEAST, End: MOST, Enter: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to === null) reset();
    else place(to);
  });
  say();
  addEventListener("resize", say);
}
