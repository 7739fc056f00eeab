// Sending a message: the field is cleared at once for the next one, and restored if sending fails.

import { returnFiles, takeFiles } from "./attach.js";
import { received } from "./kept.js";
import { announce, find, grow, on } from "./page.js";

/** The text and files that each running request removed from the form. */
const taken = new WeakMap();

function formOf(event) {
  const form = event.target.closest?.("[data-composer]");
  return form && event.detail.ctx?.request.action.endsWith("/turns") ? form : null;
}

// The request already contains the form's values; text typed from now on belongs to the next message.
document.addEventListener("htmx:config:request", (event) => {
  const form = formOf(event);
  if (!form) return;
  const field = find("textarea", form);
  taken.set(event.detail.ctx, { text: field.value, files: takeFiles() });
  field.value = "";
  grow(field);
});

document.addEventListener("htmx:finally:request", (event) => {
  const form = formOf(event);
  const { ctx } = event.detail;
  const message = taken.get(ctx);
  if (!form || !message) return;
  taken.delete(ctx);
  const field = find("textarea", form);
  if (ctx.response?.status < 300) {
    received(field, message.text);
    return announce("Sent");
  }
  field.value = [message.text, field.value].filter(Boolean).join("\n\n");
  grow(field);
  returnFiles(message.files);
});

/** The words in the empty field: what is asked for now. */
export function placeholder() {
  const field = find("#prompt");
  if (!field) return;
  const discusses = find("[name=mode][value=discuss]", field.form)?.checked;
  const isFirst = !find("#turns > li");
  field.placeholder = discusses ? field.dataset.discuss : isFirst ? field.dataset.first : field.dataset.change;
}
on("change", "[data-composer] [name=mode]", placeholder);
placeholder();
