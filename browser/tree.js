// The tree of files: its filter, its forms, and files that are dropped on it.

import { all, announce, find, make, notice, on, settled } from "./page.js";

const filterTree = settled((field) => {
  const wanted = field.value.trim().toLowerCase();
  const tree = field.closest(".tree");
  const list = find("#tree-files", tree);
  for (const link of all("a", list)) {
    link.parentElement.hidden = wanted !== "" && !pathOf(link).toLowerCase().includes(wanted);
  }
  for (const folder of all("li:has(> details)", list)) {
    const any = all("li:not(:has(> details))", folder).some((item) => !item.hidden);
    folder.hidden = !any;
    if (wanted && any) folder.firstElementChild.open = true;
  }
  const none = find("[data-no-files]", tree);
  if (none) none.hidden = all("a", list).some((link) => !link.parentElement.hidden);
}, 80);
on("input", "[data-filter-tree]", filterTree);

/** The path of a file in the list, which is in its address. */
function pathOf(link) {
  const [, ...rest] = link.pathname.split("/code/");
  return decodeURIComponent(rest.join("/code/"));
}

// A form that opens has the focus in its first field.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (target.matches?.(".tree-tools details") && target.open) find("input:not([type=hidden])", target)?.focus();
  },
  true,
);

// Ctrl or Command, Shift and F finds in all files, as in other editors.
document.addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || !event.shiftKey || event.key.toLowerCase() !== "f") return;
  const link = find("#find-link");
  if (!link) return;
  event.preventDefault();
  link.click();
});

// The line that the address names. Only a page that is loaded whole marks it by itself.
function markLine() {
  const line = /^#L\d+$/.test(location.hash) && find(location.hash, find(".source .gutter") ?? undefined);
  for (const other of all(".source .gutter a.at")) other.classList.remove("at");
  if (!line || !line.closest(".gutter")) return;
  line.classList.add("at");
  line.scrollIntoView({ block: "center" });
}
document.addEventListener("htmx:after:swap", (event) => {
  if (event.detail.ctx?.target?.id === "stage") markLine();
});
addEventListener("hashchange", markLine);

const size = (bytes) => (bytes < 1048576 ? `${Math.ceil(bytes / 1024)} KiB` : `${Math.ceil((bytes * 10) / 1048576) / 10} MiB`);

/** Why these files cannot be uploaded, so that nothing is sent in vain. The server checks again. */
function problemOf(tree, files) {
  const { fileBytes, files: most, bytes } = tree.dataset;
  if (files.length === 0) return "There is no file in it.";
  if (files.length > Number(most)) return `${files.length} files are too many: at most ${most} at once.`;
  const large = files.find(({ file }) => file.size > Number(fileBytes));
  if (large) return `“${large.path}” has ${size(large.file.size)}. A file can have at most ${size(Number(fileBytes))}.`;
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  if (total > Number(bytes)) return `The files have ${size(total)} together: at most ${size(Number(bytes))} at once.`;
  return null;
}

/** Sends files with their paths inside the folder, and shows the progress. */
function upload(tree, folder, files, mayReplace) {
  const problem = problemOf(tree, files);
  if (problem) {
    notice("Not uploaded", problem, true);
    return;
  }
  const there = new Set(all("#tree-files a", tree).map(pathOf));
  const prefix = folder ? `${folder.replace(/^\/+|\/+$/g, "")}/` : "";
  const taken = files.map(({ path }) => prefix + path).filter((path) => there.has(path));
  const shown = taken.slice(0, 5).join("\n") + (taken.length > 5 ? `\nand ${taken.length - 5} more` : "");
  if (taken.length > 0 && !mayReplace && !window.confirm(`Replace what is there?\n\n${shown}`)) return;

  const form = new FormData();
  form.append("folder", folder);
  if (taken.length > 0) form.append("replace", "1");
  if (find("[data-editing]")) form.append("stay", "1");
  for (const { path, file } of files) {
    form.append("path", path);
    form.append("files", file, file.name);
  }
  const words = files.length === 1 ? files[0].path : `${files.length} files`;
  const bar = make("div", { class: "upload-progress small" });
  const progress = make("progress", { max: "1", value: "0", "aria-label": `Uploading ${words}` });
  bar.append(make("span", { class: "cut" }, `Uploading ${words}`), progress);
  find(".tree-tools", tree)?.append(bar);
  announce(`Uploading ${words}`);

  // Only this kind of request reports its progress.
  const request = new XMLHttpRequest();
  request.open("POST", tree.dataset.drop);
  request.setRequestHeader("HX-Request", "true");
  request.setRequestHeader("Accept", "application/json");
  request.upload.addEventListener("progress", ({ loaded, total }) => (progress.value = total ? loaded / total : 0));
  request.addEventListener("loadend", async () => {
    bar.remove();
    if (request.status >= 200 && request.status < 300) {
      const address = request.getResponseHeader("hx-push-url");
      await window.htmx.swap({ text: request.responseText, target: "#stage", swap: "innerHTML", sourceElement: find("#stage"), hx: {}, push: address ?? undefined });
      notice("Uploaded", words);
    } else if (request.status === 401) {
      location.reload();
    } else if (request.status > 0) {
      const { detail, hint } = answer(request.responseText);
      notice("Not uploaded", [detail, hint].filter(Boolean).join(" "), true);
    } else {
      notice("Not uploaded", "The connection failed. Nothing was saved: try again.", true);
    }
  });
  request.send(form);
}

function answer(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { detail: "The server did not accept the files." };
  }
}

on("submit", "[data-upload]", (form, event) => {
  event.preventDefault();
  const files = [...find("input[type=file]", form).files].map((file) => ({ path: file.name, file }));
  const { folder, replace } = form.elements;
  upload(form.closest(".tree"), folder.value.trim(), files, replace.checked);
  form.closest("details").open = false;
  form.reset();
});

// Dropping. The folder is the one under the pointer: an open or closed folder of the list, or that of a file.
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");

function folderAt(target) {
  const item = target.closest?.("#tree-files li");
  const folder = item?.matches(":has(> details)") ? item : item?.parentElement.closest("#tree-files li");
  return folder ?? null;
}

function folderPath(folder) {
  const parts = [];
  for (let at = folder; at; at = at.parentElement.closest("#tree-files li")) parts.unshift(find(":scope > details > summary .name", at).textContent);
  return parts.join("/");
}

function mark(tree, folder) {
  for (const other of all(".dropping", tree)) other.classList.remove("dropping");
  tree.classList.toggle("dropping", Boolean(tree && !folder));
  folder?.classList.add("dropping");
}

function unmark(tree) {
  tree.classList.remove("dropping");
  for (const other of all(".dropping", tree)) other.classList.remove("dropping");
}

for (const name of ["dragenter", "dragover"]) {
  on(name, "[data-drop]", (tree, event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    mark(tree, folderAt(event.target));
  });
}
on("dragleave", "[data-drop]", (tree, event) => {
  if (!tree.contains(event.relatedTarget)) unmark(tree);
});
on("drop", "[data-drop]", async (tree, event) => {
  unmark(tree);
  if (!hasFiles(event)) return;
  event.preventDefault();
  const folder = folderAt(event.target);
  const most = Number(tree.dataset.files);
  // Read before the first wait: the browser forgets the items after the event.
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...event.dataTransfer.files];
  const files = [];
  try {
    if (entries.length === 0) files.push(...plain.map((file) => ({ path: file.name, file })));
    for (const entry of entries) await collect(entry, "", files, most);
  } catch {
    notice("Not uploaded", "A dropped file could not be read.", true);
    return;
  }
  upload(tree, folder ? folderPath(folder) : "", files, false);
});

/** Files that systems put into folders and nobody means. */
const LEFT_OUT = new Set([".DS_Store", "Thumbs.db", "desktop.ini"]);

/** Adds the files of a dropped entry, one more than are allowed at most. */
async function collect(entry, base, files, most) {
  if (files.length > most || LEFT_OUT.has(entry.name)) return;
  const path = base + entry.name;
  if (entry.isFile) {
    files.push({ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    // A reader gives a part of a large folder at a time.
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return;
    for (const inner of part) await collect(inner, `${path}/`, files, most);
  }
}
