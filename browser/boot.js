// Stands in the page itself, so that it is always there. A network that changes, as when a laptop leaves its Wi-Fi, breaks off
// all requests at once: the script and the styles are requested again, and the page says so where that fails as well.

const ATTEMPTS = 4;

document.addEventListener(
  "error",
  ({ target: lost }) => {
    if (!(lost instanceof HTMLScriptElement || (lost instanceof HTMLLinkElement && lost.rel === "stylesheet"))) return;
    const attempt = Number(lost.dataset.attempt ?? 0) + 1;
    if (attempt > ATTEMPTS) {
      const bar = document.getElementById("incomplete");
      if (bar) bar.hidden = false;
      bar?.querySelector("button").addEventListener("click", () => location.reload());
      return;
    }
    setTimeout(() => {
      const again = document.createElement(lost.localName);
      for (const { name, value } of lost.attributes) again.setAttribute(name, value);
      again.dataset.attempt = attempt;
      lost.replaceWith(again);
    }, 200 * 2 ** (attempt - 1));
  },
  true,
);

// Whether scripts run is known before the first paint, so that nothing moves once they have arrived.
document.documentElement.classList.add("has-js");

// An app's page: its conversation is as wide as it was before, from the first paint on; and a page in the frame may say where it
// is before the script is there (frame.js).
try {
  const talk = Number(localStorage.getItem("slipway:talk"));
  if (talk >= 30 && talk <= 60) document.documentElement.style.setProperty("--talk", `${talk}%`);
} catch {
  // Without storage it has its usual width.
}
addEventListener("message", (event) => {
  if (event.data?.slipway === "at") window.earlyPlace = event;
});
