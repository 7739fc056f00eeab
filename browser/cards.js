// The cards of versions in the conversation: where each runs, and whether it is undone, as the server says for the whole page.

import { all, find, on, refreshStage } from "./page.js";
import { copy } from "./controls.js";
import { draftChanged } from "./views.js";

let shown;
function mark() {
  const state = find("#versions-in-use");
  if (!state) return;
  const cards = all("#turns .version-card");
  const now = `${state.outerHTML} ${cards.length}`;
  if (now === shown) return;
  shown = now;
  const { current, undone, preview, prod } = state.dataset;
  const ranges = undone.split(" ").filter(Boolean).map((range) => range.split("-").map(Number));
  for (const card of cards) {
    const { version } = card.dataset;
    const isUndone = ranges.some(([first, last]) => first <= version && version <= last);
    card.classList.toggle("undone", isUndone);
    find("[data-undone]", card).hidden = !isUndone;
    find("[data-place=preview]", card).hidden = version !== preview;
    find("[data-place=prod]", card).hidden = version !== prod;
    find("[data-restore]", card).hidden = version === current;
    find("[data-word]", card).textContent = isUndone ? "Redo" : "Restore";
  }
}
mark();
const turns = find("#turns");
if (turns) new MutationObserver(mark).observe(turns, { childList: true });
document.addEventListener("htmx:after:swap", mark);

// An answer as the model wrote it.
on("click", "[data-copy-from]", async (link, event) => {
  event.preventDefault();
  const answer = await fetch(link.dataset.copyFrom);
  if (answer.ok) copy((await answer.text()).trimEnd());
  link.closest("details").open = false;
});

// A version was restored in the conversation: the stage shows its files.
document.addEventListener("slipway:restored", () => {
  refreshStage();
  draftChanged();
});
