// The title of the browser tab shows what the app is doing, for users who look at another tab.

import { find } from "./page.js";

const own = document.title;

function state() {
  if (find("#turns [data-live]")) return "● Writing";
  const strip = find("#strip [data-job]");
  if (strip?.matches(".running") || (strip && find(".spin", strip))) return "● Deploying";
  if (strip?.matches(".failed")) return "✕ Failed";
  return "";
}

let seen = true;
let shown = "";
export function showTitle() {
  const now = state();
  if (shown !== "" && now === "" && document.hidden) seen = false;
  shown = now;
  document.title = now !== "" ? `${now} · ${own}` : seen ? own : `✓ Done · ${own}`;
}
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  seen = true;
  showTitle();
});
if (find("#workbench")) {
  showTitle();
  new MutationObserver(showTitle).observe(document.body, { subtree: true, childList: true });
}
