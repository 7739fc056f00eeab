// htmx and its extension for streams. The extension finds htmx in the window.

import "htmx.org/dist/htmx.esm.js";
import "htmx.org/dist/ext/hx-sse.js";
