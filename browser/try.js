// Calls to a running app: what is shown while one is under way.

import { all, find, make, on } from "./page.js";

const spinner = '<svg class="icon spin" viewBox="0 0 16 16" aria-hidden="true"><path d="M8 2a6 6 0 1 1-6 6"/></svg>';

document.addEventListener("htmx:before:request", (event) => {
  const form = event.target.closest?.("[data-try]");
  const place = form && find(".try-answer", form);
  if (!place) return;
  const row = make("p", { class: "working" });
  row.innerHTML = spinner;
  row.append("Waiting for the app ", make("span", { class: "num faint", "data-ticking": "0" }), make("button", { type: "button", class: "button small quiet end", "data-try-stop": "" }, "Cancel"));
  place.replaceChildren(row);
});
on("click", "[data-try-stop]", (button) => {
  const form = button.closest("[data-try]");
  window.htmx?.trigger(form, "htmx:abort");
  say(form, "Cancelled.");
});

// The server bounds each call, and says when an app is late: what arrives here is a line that broke.
document.addEventListener("htmx:error", (event) => {
  const form = event.target.closest?.("[data-try]");
  if (form && find(".try-answer .working", form)) say(form, "The answer did not arrive: the connection to Slipway failed. The call may have reached the app.");
});
document.addEventListener("htmx:finally:request", (event) => {
  const form = event.target.closest?.("[data-try]");
  if (form && find(".try-answer .working", form)) say(form, "");
});
function say(form, words) {
  const place = find(".try-answer", form);
  place.replaceChildren(...(words ? [make("p", { class: "dim small" }, words)] : []));
}

/** Answers are on the page: a new version does not take them away. */
export const hasAnswers = () => all("#stage .try-answer").some((place) => place.childElementCount > 0);
