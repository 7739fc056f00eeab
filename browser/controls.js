// Fields, menus, copy buttons and tabs.

import { isEdited } from "./editing.js";
import { all, find, grow, make, notice, on, refreshStage, showPane } from "./page.js";

on("input", "[data-grow]", grow);
all("[data-grow]").forEach(grow);

// Ctrl or Command and Enter sends.
on("keydown", "[data-submit]", (field, event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    const button = find("button[type=submit]:not([data-stop])", field.form);
    if (button) field.form.requestSubmit(button);
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
    // Without https a page may not use the clipboard API.
    if (copySelection(text)) notice("Copied");
    else notice("Could not copy", "The browser does not allow it here. Select the text and copy it yourself.", true);
  }
}

function copySelection(text) {
  const focused = document.activeElement;
  const field = make("textarea", { class: "sr", readonly: "", "aria-hidden": "true" });
  field.value = text;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied;
}

on("click", "[data-dismiss]", (button) => button.closest(".notice")?.remove());

const openMenus = "details.menu[open], details.confirm[open], .strip details.checks[open]";

// Menus close on a click elsewhere, or when something else gets the focus, an app's frame included.
document.addEventListener("click", (event) => {
  for (const menu of all(openMenus)) {
    if (!menu.contains(event.target) || event.target.closest(".sheet a, .sheet button")) menu.open = false;
  }
});
document.addEventListener("focusin", (event) => {
  for (const menu of all(openMenus)) if (!menu.contains(event.target)) menu.open = false;
});
addEventListener("blur", () => {
  for (const menu of all(openMenus)) menu.open = false;
});

// A question in the place of a button: its answer has the focus, so that Enter confirms.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (target.matches?.("details.confirm") && target.open) find("form button", target)?.focus();
  },
  true,
);

// One press, one request: a form that is on its way is not sent again. The composer queues its messages.
const underway = new WeakSet();
document.addEventListener(
  "submit",
  (event) => {
    const form = event.target;
    if (form.method !== "post" || form.matches("[data-composer]")) return;
    if (underway.has(form)) {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    underway.add(form);
    form.setAttribute("aria-busy", "true");
    // Longer than any request may take: for one that was refused before it began.
    setTimeout(() => arrived(form), 35000);
  },
  true,
);
function arrived(form) {
  underway.delete(form);
  form.removeAttribute("aria-busy");
}
document.addEventListener("htmx:finally:request", (event) => {
  const form = event.target.closest?.("form");
  if (form) arrived(form);
});
document.addEventListener("slipway:refused", (event) => arrived(event.target));
addEventListener("pageshow", () => all("form[aria-busy]").forEach(arrived));

// A restore answers what a turn offered, although no new turn follows: its buttons disappear.
document.addEventListener("htmx:finally:request", ({ target, detail: { ctx } }) => {
  if (ctx?.response?.status < 300 && ctx.request?.action?.endsWith("/restore")) target.closest?.("[data-once]")?.remove();
});

// The current tab: marked on a click, and after each change of the stage as the server responds.
function markTab(name) {
  for (const tab of all(".tabs a")) {
    if (tab.dataset.tab === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}
on("click", ".tabs a", (link, event) => {
  if (!event.defaultPrevented && !event.ctrlKey && !event.metaKey && !isEdited()) markTab(link.dataset.tab);
});

document.addEventListener("slipway:tab", ({ detail }) => markTab(detail.tab));

// What had the focus before a change of the stage has it afterwards, or else what takes its place.
let focused;
document.addEventListener("htmx:before:swap", () => {
  const active = document.activeElement;
  focused = active && active !== document.body ? { id: active.id, name: active.name, stage: find("#stage")?.contains(active) ?? false } : null;
});
function keepFocus() {
  if (!focused || (document.activeElement && document.activeElement !== document.body)) return;
  const stage = find("#stage");
  const editor = stage && find("[data-editor]", stage);
  const again = focused.id && document.getElementById(focused.id);
  const named = !again && focused.name && stage && find(`[name="${CSS.escape(focused.name)}"]`, stage);
  const place = editor || again || named || stage;
  if (!place) return;
  if (place === stage) stage.tabIndex = -1;
  place.focus({ preventScroll: true });
}

document.addEventListener("htmx:after:swap", (event) => {
  const ctx = event.detail.ctx;
  keepFocus();
  if (ctx?.target?.id !== "stage" && ctx?.target !== "#stage") return;
  if (event.target.closest?.("#strip, #turns, #trouble")) showPane("stage");
});

// Requests that did not reach the server.
document.addEventListener("htmx:error", (event) => {
  // These retry automatically.
  if (event.target.closest?.("[hx-sse\\:connect], [data-usage]")) return;
  // These say it where the answer would be.
  if (event.target.closest?.("[data-try]")) return;
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

// The number beside the heading follows the search.
document.addEventListener("htmx:after:swap", () => {
  const count = find("#app-count");
  const list = find("#apps");
  if (count && list) count.textContent = list.dataset.count;
});

// The code of an answer.
on("click", "[data-copy-code]", (button) => copy(find("pre", button.closest(".code-block")).textContent));
