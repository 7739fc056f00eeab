// Calls to a running app: what is shown while one is under way.

import { copy } from "./controls.js";
import { all, find, make, on } from "./page.js";
import { keepAnswer } from "./recent.js";

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
document.addEventListener("htmx:after:swap", () => {
  for (const answer of all("[data-try] .answer[data-request]:not([data-kept])")) {
    answer.dataset.kept = "";
    keepAnswer(answer);
  }
  for (const button of all("[data-copy-now]")) {
    button.removeAttribute("data-copy-now");
    copy(button.dataset.copy);
  }
});

// The command is made from the same fields, which have to be filled in as for the call itself.
on("click", "[data-curl]", (button, event) => {
  if (!window.htmx) return;
  event.preventDefault();
  const form = button.form;
  if (!form.reportValidity()) return;
  window.htmx.ajax("POST", button.getAttribute("formaction"), { source: form, target: find(".try-answer", form), swap: "innerHTML" });
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
