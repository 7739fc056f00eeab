// Attachments of a message or a description: chosen, dropped on its form, or pasted into it. They are stored in
// the form's file field, so the browser sends them with the form.

import { announce, find, make, notice, on } from "./page.js";

const MOST = 8;
const field = () => find("#files");

function chosen() {
  return [...(field()?.files ?? [])];
}

// What the field holds: the browser replaces it when the person chooses again.
let held = [];

function put(files) {
  held = [...files];
  const list = new DataTransfer();
  for (const file of files) list.items.add(file);
  field().files = list.files;
  show();
}

/** Removes the chosen files from the form and returns them. */
export function takeFiles() {
  const files = chosen();
  if (files.length > 0) put([]);
  return files;
}

/** Restores removed files, before files that were chosen since. */
export function returnFiles(files) {
  if (files.length > 0 && field()) put([...files, ...chosen()].slice(0, MOST));
}

function add(files) {
  const wanted = [...chosen(), ...files];
  if (wanted.length > MOST) notice("Too many files", `A message can have at most ${MOST} files. The others were not attached.`, true);
  put(wanted.slice(0, MOST));
}

function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function show() {
  const list = find("#chosen-files");
  if (!list) return;
  const files = chosen();
  list.replaceChildren(
    ...files.map((file, at) => {
      const row = make("li");
      const button = make("button", { type: "button", class: "button quiet square small", "data-detach": at, "aria-label": `Do not send ${file.name}` }, "×");
      row.append(make("span", { class: "cut" }, file.name), make("span", { class: "faint num" }, size(file.size)), button);
      return row;
    }),
  );
  list.hidden = files.length === 0;
}

on("change", "#files", () => {
  const more = chosen();
  put(held);
  add(more);
});
on("click", "[data-detach]", (button) => {
  const at = Number(button.dataset.detach);
  put(chosen().filter((_, nth) => nth !== at));
  find("[data-attach] textarea")?.focus();
});

on("paste", "[data-attach] textarea", (_, event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length === 0) return;
  event.preventDefault();
  add(files);
  announce("Attached");
});

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
for (const name of ["dragenter", "dragover"]) {
  on(name, "[data-attach]", (form, event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    form.classList.add("dropping");
  });
}
on("dragleave", "[data-attach]", (form, event) => {
  if (!form.contains(event.relatedTarget)) form.classList.remove("dropping");
});
on("drop", "[data-attach]", (form, event) => {
  form.classList.remove("dropping");
  if (!hasFiles(event)) return;
  event.preventDefault();
  add(event.dataTransfer.files);
  announce("Attached");
});

// When the user navigates back to the page, the browser may have restored the field.
held = chosen();
show();
