// Which view of the app the stage shows. It changes by itself only in the page where the work was started; elsewhere the page
// says what there is to see.

import { find, make, on, refreshStage, shownTab } from "./page.js";
import { holder, reloadSoon } from "./frame.js";
import { hasStarted, isOwn } from "./started.js";
import { hasAnswers } from "./try.js";

// The view switches automatically, unless the user has chosen one.
let chosen = false;
on("click", ".toolbar [href*='view=']", (_, event) => (chosen = event.isTrusted));

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
  const around = holder();
  if (!viewLink(view) || viewLink(view).hasAttribute("aria-current") || !around) return;
  find("#news")?.remove();
  const bar = make("div", { id: "news", class: "news", role: "status" }, words);
  const show = make("button", { type: "button", class: "button small" }, "Show");
  show.addEventListener("click", () => look(view));
  bar.append(show);
  around.append(bar);
}

// The turn that is running. One that runs when the page opens was started here if anything was.
let running = find("#turns [data-live]") ? null : undefined;
const isOwnTurn = () => (running === null ? hasStarted() : isOwn([running]));

/** A turn has begun, in this page or in another one. */
export const turnBegan = (job) => (running = job);
document.addEventListener("slipway:started", () => (chosen = false));

/** A file of the workspace has changed. */
export function draftChanged() {
  if (find('.frame[data-frame="draft"]')) reloadSoon();
  else if (isOwnTurn() && !chosen && shownTab() === "preview") look("draft");
}

function refreshIfEmpty(state) {
  if (hasAnswers()) return state === "ready" ? offerRefresh() : undefined;
  // Content that is shown only once, such as a new link, stays until the user leaves the page.
  if (!find(".frame") && !find("[data-shown-once]")) refreshStage();
}

/** The answers of the version before stay until their reader has done with them. */
function offerRefresh() {
  const body = find("#stage > .body");
  if (!body) return;
  find("#news")?.remove();
  find("#stage > .frame-note")?.remove();
  const bar = make("p", { id: "news", class: "frame-note", role: "status" });
  const show = make("button", { type: "button", class: "button small" }, "Reload the endpoints");
  show.addEventListener("click", refreshStage);
  bar.append(make("span", { class: "grow" }, "A new version runs here. These answers are from the version before."), show);
  body.before(bar);
}

/** The state of an environment has changed. */
export function environmentChanged({ environment, state, version, jobs }) {
  if (shownTab() === "releases") refreshStage();
  if (shownTab() !== "preview") return;
  const isShown = find(`.frame[data-frame="${environment}"]`);
  // The note that an earlier version answers is about a deployment that has ended.
  if (state !== "ready") return isShown && state === "failed" ? refreshStage() : undefined;
  if (isShown) return reloadSoon();
  if (isOwn(jobs) && !chosen && look(environment)) return;
  if (!holder()) return refreshIfEmpty(state);
  const what = version ? `Version ${version}` : "A new version";
  tell(environment, environment === "prod" ? `${what} is live` : `${what} is in preview`);
}
