// Starts the modules. Everything that a page does works without them; they make it quicker and live.

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
