// The script of the pages that are not an app's. Everything that a page does works without it; it makes pages quicker and live.

import "./htmx.js";
import "./controls.js";
import "./keys.js";
import "./times.js";
import "./kept.js";
import "./attach.js";
import "./naming.js";
import "./theme.js";

document.documentElement.classList.add("scripts");
// The key that is Ctrl elsewhere.
if (/Mac|iPhone|iPad/.test(navigator.platform)) document.documentElement.classList.add("mac");
