// How what is live runs, for as long as it is in sight. A change of an environment is told by the stream;
// memory and CPU have nothing to be told by, neither in the engine nor in a cluster's metrics API, which
// has no watch. So these are asked for now and then, while somebody looks.

import { all, settled } from "./page.js";

const EVERY = 15000;

/** Asks how each environment that is shown runs. */
export const refreshUsage = settled(() => {
  for (const line of all("[data-usage]")) window.htmx?.trigger(line, "slipway:usage");
}, 300);

setInterval(() => document.hidden || refreshUsage(), EVERY);
document.addEventListener("visibilitychange", () => document.hidden || refreshUsage());
