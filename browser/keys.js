// Shortcuts. Single keys work only while no field has the focus, and can be switched off in the settings.

import { all, find, showPane } from "./page.js";

const tabs = ["preview", "code", "versions", "releases", "logs", "settings"];

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    // The innermost: a question may stand in a menu.
    const menu = all("details.menu[open], details.confirm[open], .strip details.checks[open]").at(-1);
    if (menu) {
      menu.open = false;
      find("summary", menu).focus();
    } else if (event.target.matches("textarea, input")) {
      event.target.blur();
    }
    return;
  }
  if (document.body.dataset.keys === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, textarea, select, [contenteditable]") || event.isComposing) return;
  if (event.key === "?") {
    location.href = "/shortcuts";
  } else if (event.key === "/") {
    const field = find("#prompt") ?? find("#description");
    if (!field) return;
    showPane("talk");
    field.focus();
  } else if (event.key === "a") {
    location.href = "/";
  } else if (event.key === "r") {
    find("[data-reload]")?.click();
  } else if (/^[1-6]$/.test(event.key) && find(".tabs")) {
    const tab = all(".tabs a").find((link) => link.dataset.tab === tabs[event.key - 1]);
    showPane("stage");
    tab?.click();
  } else {
    return;
  }
  event.preventDefault();
});
