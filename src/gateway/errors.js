// Added by Slipway to drafts and previews, never to production: tells the builder which errors this page meets, and the page
// that shows it in a frame which of the app's pages it is.
(() => {
  "use strict";
  const address = "/.slipway/errors";
  const mine = document.currentScript;
  if (mine) mine.remove();
  let waiting = [];
  let timer = 0;
  let told = 0;

  const path = (url) => {
    try {
      const parsed = new URL(url, location.href);
      return parsed.origin === location.origin ? parsed.pathname : parsed.href;
    } catch {
      return "";
    }
  };
  const words = (value) => {
    if (value instanceof Error) return `${value.name}: ${value.message}`;
    if (typeof value === "string") return value;
    try {
      return JSON.stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  };
  const send = () => {
    timer = 0;
    const errors = waiting;
    waiting = [];
    fetch(address, { method: "POST", body: JSON.stringify(errors), keepalive: true, credentials: "same-origin" })
      .then(() => {
        // Whoever shows this page in a frame may look again; what there is to see, the builder tells.
        if (window.parent !== window) window.parent.postMessage({ slipway: "errors" }, "*");
      })
      .catch(() => {});
  };
  const tell = (kind, message, source, line) => {
    // A page that fails without end is told of often enough.
    if (told >= 100) return;
    told += 1;
    const error = { kind, message: String(message).slice(0, 600), page: location.pathname, source, line: line || 0 };
    waiting.push(error);
    if (!timer) timer = setTimeout(send, 200);
  };

  if (window.parent !== window) {
    let last = "";
    const where = () => {
      const now = location.pathname + location.search + location.hash;
      if (now !== last) window.parent.postMessage({ slipway: "at", path: (last = now) }, "*");
    };
    for (const name of ["pushState", "replaceState"]) {
      const original = history[name];
      history[name] = function (...values) {
        const result = original.apply(this, values);
        where();
        return result;
      };
    }
    for (const name of ["DOMContentLoaded", "popstate", "hashchange"]) addEventListener(name, where);
  }

  addEventListener(
    "error",
    (event) => {
      if (event instanceof ErrorEvent) {
        tell("error", event.message, path(event.filename), event.lineno);
        return;
      }
      const element = event.target;
      const url = element && (element.currentSrc || element.src || element.href || element.data);
      if (typeof url === "string" && url) {
        tell("load", `The ${element.localName} could not be loaded: ${path(url)}`, path(url), 0);
      }
    },
    true,
  );
  addEventListener("unhandledrejection", (event) => tell("rejection", `Unhandled: ${words(event.reason)}`, "", 0));
  const said = console.error;
  console.error = (...values) => {
    tell("console", values.map(words).join(" "), "", 0);
    said.apply(console, values);
  };
})();
