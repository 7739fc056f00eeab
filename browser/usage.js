// Usage of live environments while it is visible. The stream reports changes of an environment, but neither the
// engine nor a cluster's metrics API can watch memory and CPU. So these are polled while the page is visible.

import { all, settled } from "./page.js";

const EVERY = 15000;

/** Refreshes the usage of each environment on the page. */
export const refreshUsage = settled(() => {
  for (const line of all("[data-usage]")) window.htmx?.trigger(line, "slipway:usage");
}, 300);

setInterval(() => document.hidden || refreshUsage(), EVERY);
document.addEventListener("visibilitychange", () => document.hidden || refreshUsage());
