// Starts the modules. Pages also work without scripts; the modules make them faster and live.

import "./controls.js";
import "./keys.js";
import "./times.js";
import "./stream.js";
import "./frame.js";
import "./logs.js";
import "./usage.js";
import "./attach.js";
import "./composer.js";

document.documentElement.classList.add("scripts");
