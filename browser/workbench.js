// The script of an app's page.

import "./site.js";
import "./stream.js";
import "./frame.js";
import "./views.js";
import "./splitter.js";
import "./logs.js";
import "./requests.js";
import "./usage.js";
import "./attach.js";
import "./try.js";
import "./tree.js";
import "./composer.js";
import "./cards.js";
import "./title.js";
import "./notify.js";
