  // Errors of the page are reported to the builder.
  const address = "/.slipway/errors";
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
        // A page that embeds this one may refresh its list of errors. It gets the errors from the builder, not from this message.
        tell({ slipway: "errors" });
      })
      .catch(() => {});
  };
  const report = (kind, message, source, line) => {
    // Limits the reports of a page that fails repeatedly.
    if (told >= 100) return;
    told += 1;
    const error = { kind, message: String(message).slice(0, 600), page: location.pathname, source, line: line || 0 };
    waiting.push(error);
    if (!timer) timer = setTimeout(send, 200);
  };

  addEventListener(
    "error",
    (event) => {
      if (event instanceof ErrorEvent) {
        report("error", event.message, path(event.filename), event.lineno);
        return;
      }
      const element = event.target;
      const url = element && (element.currentSrc || element.src || element.href || element.data);
      if (typeof url === "string" && url) {
        report("load", `The ${element.localName} could not be loaded: ${path(url)}`, path(url), 0);
      }
    },
    true,
  );
  addEventListener("unhandledrejection", (event) => report("rejection", `Unhandled: ${words(event.reason)}`, "", 0));
  const said = console.error;
  console.error = (...values) => {
    report("console", values.map(words).join(" "), "", 0);
    said.apply(console, values);
  };
