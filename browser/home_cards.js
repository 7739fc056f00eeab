// The cards of the first page, live: one stream for all of them. A card is replaced in its place, so that nothing moves under the
// pointer; a new app is inserted first.

import { find } from "./page.js";

const list = () => find("#apps");

function card({ id, html, total }) {
  const shown = document.getElementById(`app-${id}`);
  const count = find("#app-count");
  if (count && list().hasAttribute("data-shows-new")) count.textContent = total;
  if (html === null) return shown?.remove();
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.firstElementChild;
  if (!shown) {
    if (list().hasAttribute("data-shows-new")) find(".cards", list())?.prepend(fresh);
    return;
  }
  const focused = shown.contains(document.activeElement) && document.activeElement.getAttribute("href");
  shown.replaceWith(fresh);
  if (focused) find(`a[href="${CSS.escape(focused)}"]`, fresh)?.focus({ preventScroll: true });
}

/** The page has missed more than the server remembers. */
const stale = () => window.htmx?.ajax("GET", location.href, { target: "#apps", select: "#apps", swap: "outerHTML" });

if (list()) {
  // The browser connects again by itself, and names the last change that it has received.
  const stream = new EventSource(`/stream?after=${encodeURIComponent(list().dataset.after)}`);
  stream.addEventListener("card", ({ data }) => list() && card(JSON.parse(data)));
  stream.addEventListener("stale", stale);
  addEventListener("pagehide", () => stream.close());
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}
