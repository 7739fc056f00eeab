"""A webhook. The platform runs `app`, and calls `handle(event)` for each POST /webhook whose signature was right.

Checking signatures is verify.py's work: what arrives in `handle` has passed it.
"""

from collections import deque

from fastapi import FastAPI

app = FastAPI(title="A new webhook", version="1.0.0", docs_url=None, redoc_url=None)

# In memory, and so gone after a restart or a new release.
recent: deque[str] = deque(maxlen=20)


@app.get("/health")
def health() -> dict[str, str]:
    """Answers as long as the app can do its work. A release takes calls only after this answered 200."""
    return {"status": "ok"}


@app.get("/")
def index() -> dict[str, object]:
    """Says what this is, and which kinds of events came lately."""
    return {"message": "It works. Send signed calls to POST /webhook.", "recent": list(recent)}


def handle(event) -> dict[str, object]:
    """Acts on one event; what it returns is the answer, as JSON.

    `event` is the call's JSON object, used like a dict. `event.headers` are the call's headers
    (names in lower case), `event.data` is the JSON when it is no object, `event.body` the raw bytes.
    """
    # GitHub names the kind in a header.
    kind = str(event.get("type") or event.headers.get("x-github-event", "unknown"))
    if kind == "ping" or kind.endswith(".ping"):
        # How senders test a new address, and the platform a new release: nothing to act on.
        return {"received": kind}
    recent.append(kind)
    print(f"received an event of type {kind!r}")
    return {"received": kind}
