// *Tell me when it is done*: one notification of the browser when the running work ends. Permission is requested only by a click
// on the button, which is visible only where browsers support it: in a secure context.

import { all, announce, find, notice, on } from "./page.js";

const app = find("#workbench")?.dataset.app;
const can = isSecureContext && "Notification" in window;
let wanted = false;

function show() {
  for (const button of all("[data-notify]")) {
    button.hidden = !can;
    button.setAttribute("aria-pressed", wanted);
  }
}

on("click", "[data-notify]", async () => {
  if (!wanted && Notification.permission !== "granted" && (await Notification.requestPermission()) !== "granted") {
    notice("Notifications are blocked", "The browser does not allow them for this address. You can allow them in its settings for this page.", true);
    return;
  }
  wanted = !wanted;
  show();
  announce(wanted ? "You will be told when it is done" : "You will not be told");
});

document.addEventListener("slipway:ended", ({ detail: { failed } }) => {
  if (!wanted) return;
  wanted = false;
  show();
  try {
    const said = new Notification(failed ? `${app} failed` : `${app} is done`, {
      body: find("#strip .title, #strip h2")?.textContent.trim().slice(0, 200) ?? "",
      tag: `slipway-${app}`,
    });
    said.onclick = () => {
      window.focus();
      said.close();
    };
  } catch {
    // Some browsers show notifications only for installed pages.
    notice(failed ? "It failed" : "It is done", "This browser shows no notifications of pages.", failed);
  }
});

if (app) {
  show();
  document.addEventListener("htmx:after:swap", show);
}
