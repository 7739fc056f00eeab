"""A webhook. Signatures are checked before `handle` is called. Laid out by the demo script of Slipway."""

import html
import threading
from collections import Counter, deque
from datetime import UTC, datetime
from string import Template

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse

TITLE = {{ title|literal }}
ASKED = {{ words|literal }}

app = FastAPI(title=TITLE, version="1.0.0", docs_url=None, redoc_url=None)

# In memory and bounded: gone after a restart or a new release.
lock = threading.Lock()
recent: deque[dict[str, str]] = deque(maxlen=50)
seen: deque[str] = deque(maxlen=1000)
totals: Counter[str] = Counter()
MAX_KINDS = 100


@app.get("/health")
def health() -> dict[str, str]:
    """Answers as long as the app can do its work."""
    return {"status": "ok"}


PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${title}</title>
<style>body{font:100%/1.6 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1.25rem;overflow-wrap:anywhere}
h1{line-height:1.15}time{opacity:.75}</style></head><body>
<h1>${title}</h1><p>${asked}</p><h2>Events received: ${count}</h2><ul>${events}</ul></body></html>""")


@app.get("/", response_model=None)
def index(request: Request) -> HTMLResponse | JSONResponse:
    """Shows what came in lately: a page for people, JSON for programs."""
    with lock:
        events, count, kinds = list(recent)[::-1], totals.total(), dict(totals)
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(
            {"message": TITLE, "asked": ASKED, "received": count, "kinds": kinds, "recent": events}
        )
    shown = "".join(f"<li>{html.escape(event['kind'])} <time>{event['at']}</time></li>" for event in events)
    page = PAGE.substitute(
        title=html.escape(TITLE),
        asked=html.escape(ASKED),
        count=count,
        events=shown or "<li>None yet. Send a signed call to POST /webhook.</li>",
    )
    return HTMLResponse(page)


def handle(event) -> dict[str, object]:
    """Records one event. Senders repeat themselves: an id that was seen is not counted again."""
    kind = str(event.get("type") or event.headers.get("x-github-event") or "unknown")[:80]
    if kind == "ping" or kind.endswith(".ping"):
        # How senders test a new address, and the platform a new release: nothing to record.
        return {"received": kind}
    number = str(event.get("id", ""))[:120]
    with lock:
        if number and number in seen:
            return {"received": kind, "repeated": True}
        if number:
            seen.append(number)
        if kind not in totals and len(totals) >= MAX_KINDS:
            kind = "other"
        totals[kind] += 1
        recent.append({"kind": kind, "at": datetime.now(UTC).isoformat(timespec="seconds")})
        count = totals.total()
    print(f"received event {count} of type {kind!r}")
    return {"received": kind, "count": count}
