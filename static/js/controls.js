// Fields, menus, copy buttons and tabs.

import { all, find, notice, on, refreshStage, settled, showPane } from "./page.js";

// Fields that grow with their text, in browsers without `field-sizing`.
const grows = CSS.supports("field-sizing", "content");
export function grow(field) {
  if (grows) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}
on("input", "[data-grow]", grow);
all("[data-grow]").forEach(grow);

// Ctrl or Command and Enter sends.
on("keydown", "[data-submit], [data-editor]", (field, event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    const button = find("button[type=submit]:not([data-stop])", field.form);
    if (button) field.form.requestSubmit(button);
  }
});
on("keydown", "[data-editor]", (field, event) => {
  if (event.key === "s" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    field.form.requestSubmit();
  }
});

// Example prompts fill the field.
on("click", "[data-fill]", (link, event) => {
  const field = find(link.dataset.fill);
  if (!field) return;
  event.preventDefault();
  write(field, link.textContent.trim());
});

function write(field, text) {
  field.value = text;
  grow(field);
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.focus();
}

// Copying.
on("click", "[data-copy]", async (button) => copy(button.dataset.copy));
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice("Copied");
  } catch {
    notice("Could not copy", "The browser does not allow it here. Select the text and copy it yourself.", true);
  }
}

on("click", "[data-dismiss]", (button) => button.closest(".notice")?.remove());

// A dismissed deployment stays dismissed when its state is sent again.
const dismissed = new Set();
on("click", "[data-dismiss-strip]", (button) => {
  dismissed.add(button.closest("[data-job]")?.dataset.job);
  find("#strip").replaceChildren();
});
document.addEventListener("htmx:after:swap", () => {
  const shown = find("#strip [data-job]");
  if (shown && dismissed.has(shown.dataset.job)) find("#strip").replaceChildren();
});

// Menus close on a click elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of all("details.menu[open]")) {
    if (!menu.contains(event.target) || event.target.closest(".sheet a, .sheet button")) menu.open = false;
  }
});

// Leaving a page with unsaved changes needs a confirmation.
let edited = false;
on("input", "[data-editor]", () => (edited = true));
on("submit", "[data-editing]", () => (edited = false), true);
window.addEventListener("beforeunload", (event) => {
  if (edited && find("[data-editing]")) event.preventDefault();
});
document.addEventListener("htmx:confirm", (event) => {
  const leaves = event.detail.ctx?.target?.id === "stage" && event.target.closest(".tabs, .tree, .file");
  if (edited && find("[data-editing]") && leaves && !event.target.matches("[data-editing]")) {
    event.preventDefault();
    if (window.confirm("Leave without saving your changes?")) {
      edited = false;
      event.detail.issueRequest();
    } else {
      event.detail.dropRequest();
    }
  }
});

// The filter of the file tree.
const filterTree = settled((field) => {
  const wanted = field.value.trim().toLowerCase();
  const tree = field.closest(".tree");
  for (const link of all("a", tree)) {
    const path = decodeURIComponent(link.pathname).toLowerCase();
    link.parentElement.hidden = wanted !== "" && !path.includes(wanted);
  }
  for (const folder of all("li:has(> details)", tree)) {
    const any = all("li:not(:has(> details))", folder).some((item) => !item.hidden);
    folder.hidden = !any;
    if (wanted && any) folder.firstElementChild.open = true;
  }
}, 80);
on("input", "[data-filter-tree]", filterTree);

// The current tab follows the address, regardless of the request's origin.
document.addEventListener("htmx:after:swap", (event) => {
  const ctx = event.detail.ctx;
  if (ctx?.target?.id !== "stage" && ctx?.target !== "#stage") return;
  edited = false;
  const address = ctx.request?.action ?? location.pathname;
  const part = address.split("?")[0].split("/")[3] ?? "preview";
  for (const tab of all(".tabs a")) {
    const shown = tab.dataset.tab === part || (part === "delete-file" && tab.dataset.tab === "code");
    if (shown) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  if (event.target.closest?.("#strip, #turns")) showPane("stage");
});

// Requests that did not reach the server.
document.addEventListener("htmx:error", (event) => {
  // These retry automatically.
  if (event.target.closest?.("[hx-sse\\:connect], [data-usage]")) return;
  const ctx = event.detail.ctx;
  if (ctx && !ctx.response) {
    notice("Could not reach Slipway", "The connection failed or is too slow. Nothing you typed is lost: try again.", true);
  }
});

// The server requests a refresh of the tab.
document.addEventListener("slipway:refresh", refreshStage);

function reveal(within = document) {
  for (const button of all("[data-copy][hidden]", within)) button.hidden = false;
}
reveal();
document.addEventListener("htmx:after:swap", () => {
  reveal();
  all("[data-grow]").forEach(grow);
});
