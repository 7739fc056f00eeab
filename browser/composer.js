// Sending a message: the field is free for the next one at once, and what could not be sent comes back.

import { returnFiles, takeFiles } from "./attach.js";
import { startedHere } from "./frame.js";
import { received } from "./kept.js";
import { announce, find, grow } from "./page.js";

/** What each request on its way took out of the form. */
const taken = new WeakMap();

function formOf(event) {
  const form = event.target.closest?.("[data-composer]");
  return form && event.detail.ctx?.request.action.endsWith("/turns") ? form : null;
}

// The request has what the form held; whoever types on types the next message.
document.addEventListener("htmx:config:request", (event) => {
  const form = formOf(event);
  if (!form) return;
  const field = find("textarea", form);
  startedHere();
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
