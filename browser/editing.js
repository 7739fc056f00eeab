// The form that edits a file: it loads the editor, saves by keys, and unsaved changes are not left without a question.

import { all, find, make, on } from "./page.js";

// The editor is a script of its own, which is loaded when editing begins. Until then, and if it does not arrive, the text field
// works alone.
function loadEditor() {
  const source = find("[data-editor]")?.dataset.editor;
  if (source && !all("script").some((script) => script.getAttribute("src") === source)) document.head.append(make("script", { src: source }));
}
loadEditor();
document.addEventListener("htmx:after:swap", loadEditor);

on("keydown", "[data-editor]", (field, event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  const name = { s: "stay", Enter: "close" }[event.key];
  if (!name) return;
  event.preventDefault();
  field.form.requestSubmit(find(`button[name=${name}]`, field.form));
});

// The text that the server has received; before that, the one that it sent, unless it refused to save that one.
const saved = new WeakMap();
const sent = new WeakMap();
const isUnsaved = (field) => field.value !== (saved.get(field) ?? (field.dataset.unsaved === undefined ? field.defaultValue : null));

/** Whether a file on this page has changes that are not saved. */
export const isEdited = () => all("[data-editor]").some(isUnsaved);

on("submit", "[data-editing]", (form) => {
  const field = find("[data-editor]", form);
  if (field) sent.set(field, field.value);
}, true);
document.addEventListener("htmx:finally:request", ({ target, detail: { ctx } }) => {
  const field = target.matches?.("[data-editing]") && find("[data-editor]", target);
  if (field && ctx?.response?.status < 300 && ctx.request?.method !== "GET") saved.set(field, sent.get(field));
});
window.addEventListener("beforeunload", (event) => {
  if (isEdited()) event.preventDefault();
});

// A request that replaces the stage waits for the answer. The form's own requests save.
document.addEventListener("htmx:config:request", (event) => {
  if (!isEdited() || event.target.matches("[data-editing]")) return;
  const { ctx } = event.detail;
  const isStage = ctx?.target?.id === "stage" || ctx?.target === "#stage";
  if (!isStage || !event.target.matches("a, button, form")) return;
  if (window.confirm("Leave without saving your changes?")) {
    for (const field of all("[data-editor]")) saved.set(field, field.value);
    return;
  }
  event.preventDefault();
  // It was not sent, so it may be sent again.
  const form = event.target.closest("form");
  if (form) form.dispatchEvent(new Event("slipway:refused", { bubbles: true }));
});
