// The script of an app's page.

import "./site.js";
import "./stream.js";
import "./frame.js";
import "./logs.js";
import "./usage.js";
import "./attach.js";
import "./try.js";
import "./composer.js";
import "./cards.js";
import "./title.js";
