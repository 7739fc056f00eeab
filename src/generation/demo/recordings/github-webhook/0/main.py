"""Keeps the latest commits that GitHub tells of. Signatures are checked before `handle` is called."""

import html
import threading
from collections import deque
from pathlib import Path
from string import Template

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

KEPT = 50
HERE = Path(__file__).parent
PAGE = Template((HERE / "page.html").read_text(encoding="utf-8"))

app = FastAPI(title="GitHub activity", version="1.0.0", docs_url=None, redoc_url=None)

# In memory and bounded: gone after a restart or a new release.
lock = threading.Lock()
entries: deque[dict[str, str]] = deque(maxlen=KEPT)
seen: deque[str] = deque(maxlen=1000)


@app.get("/health")
def health() -> dict[str, str]:
    """Answers as long as the app can do its work."""
    return {"status": "ok"}


@app.get("/page.css", include_in_schema=False)
def style() -> FileResponse:
    """The page's style sheet."""
    return FileResponse(HERE / "page.css")


@app.get("/", response_model=None)
def index(request: Request) -> HTMLResponse | JSONResponse:
    """What came in lately: a page for people, JSON for programs."""
    with lock:
        latest = list(entries)[::-1]
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"entries": latest})
    facts = {
        "entries": "".join(line(entry) for entry in latest) or EMPTY,
        "count": str(len(latest)),
    }
    return HTMLResponse(PAGE.substitute(facts))


EMPTY = """<li class="empty"><p>Nothing has come in yet. Add this app's webhook to a repository on GitHub, then push.</p></li>"""


def line(entry: dict[str, str]) -> str:
    """An entry as HTML. Everything in it is somebody else's text."""
    safe = {name: html.escape(value) for name, value in entry.items()}
    at = safe["at"][:16].replace("T", " ")
    return (
        f'<li><span class="kind">{safe["kind"]}</span><p><b>{safe["title"]}</b>'
        f'<small>{safe["who"]} · {safe["repository"]} · <code>{safe["where"]}</code> · '
        f'<time datetime="{safe["at"]}">{at}</time></small></p></li>'
    )


def words(value: object, most: int) -> str:
    """Foreign text on one line, bounded."""
    return " ".join(str(value or "").split())[:most]


def commits(event) -> list[dict[str, str]]:
    """The entries of a push, oldest first."""
    branch = str(event.get("ref", "")).removeprefix("refs/heads/")
    repository = event.get("repository") or {}
    return [
        {
            "kind": "commit",
            "title": words(str(commit.get("message", "")).split("\n")[0], 200),
            "who": words((commit.get("author") or {}).get("name"), 80) or "unknown",
            "repository": words(repository.get("full_name"), 140),
            "where": words(branch, 100),
            "at": words(commit.get("timestamp"), 40),
        }
        for commit in (event.get("commits") or [])[-KEPT:]
        if isinstance(commit, dict)
    ]


# What to record of which event.
KINDS = {"push": commits}


def handle(event) -> dict[str, object]:
    """Records one event. GitHub may send it twice: a delivery that was seen is not recorded again."""
    kind = str(event.headers.get("x-github-event") or event.get("type") or "unknown")[:80]
    if kind not in KINDS:
        # Also `ping`, by which GitHub tests a new address and the platform a new release.
        return {"received": kind}
    delivery = str(event.headers.get("x-github-delivery", ""))[:80]
    with lock:
        if delivery and delivery in seen:
            return {"received": kind, "repeated": True}
        if delivery:
            seen.append(delivery)
        new = KINDS[kind](event)
        entries.extend(new)
    print(f"recorded {len(new)} entries of a {kind}")
    return {"received": kind, "recorded": len(new)}
