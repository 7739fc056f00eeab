"""Short links: POST a URL, get a code; GET the code, be redirected. Visits are counted."""

import secrets
import threading
from datetime import UTC, datetime
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, RedirectResponse
from pydantic import AnyHttpUrl, BaseModel, Field

MAX_LINKS = 1000
CODE_LENGTH = 6
# Without letters and digits that look alike.
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
HERE = Path(__file__).parent

app = FastAPI(title="Link shortener", version="1.0.0", docs_url=None, redoc_url=None)


class NewLink(BaseModel):
    """What a caller sends. Only http and https are taken."""

    url: AnyHttpUrl = Field(max_length=2000, examples=["https://example.com/a/long/path"])


class Link(BaseModel):
    """A short link, kept in memory: it is gone after a restart or a new release."""

    code: str
    url: str
    visits: int = 0
    created_at: datetime


lock = threading.Lock()
links: dict[str, Link] = {}


@app.get("/health")
def health() -> dict[str, str]:
    """Answers as long as the app can do its work."""
    return {"status": "ok"}


@app.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The page for people."""
    return FileResponse(HERE / "page.html")


@app.get("/page.css", include_in_schema=False)
def style() -> FileResponse:
    """The page's style sheet."""
    return FileResponse(HERE / "page.css")


@app.get("/page.js", include_in_schema=False)
def script() -> FileResponse:
    """The page's script."""
    return FileResponse(HERE / "page.js", media_type="text/javascript")


@app.get("/links")
def list_links() -> list[Link]:
    """All links, newest first."""
    with lock:
        return sorted(links.values(), key=lambda link: link.created_at, reverse=True)


@app.post("/links", status_code=201)
def shorten(new: NewLink) -> Link:
    """Makes a short link."""
    with lock:
        if len(links) >= MAX_LINKS:
            raise HTTPException(409, f"There are {MAX_LINKS} links already: delete one first.")
        code = new_code()
        link = Link(code=code, url=str(new.url), created_at=datetime.now(UTC))
        links[code] = link
    print(f"made link {code}")
    return link


@app.get("/links/{code}")
def read_link(code: str) -> Link:
    """A link with its visits, without visiting it."""
    return found(code)


@app.delete("/links/{code}", status_code=204)
def delete_link(code: str) -> None:
    """Removes a link."""
    with lock:
        found(code)
        del links[code]
    print(f"deleted link {code}")


@app.get("/{code}", status_code=307)
def follow(code: str) -> RedirectResponse:
    """Redirects to where the code leads, and counts the visit."""
    with lock:
        link = found(code)
        link.visits += 1
        target = link.url
    # 307 is never cached, so that each visit is counted.
    return RedirectResponse(target, status_code=307, headers={"Cache-Control": "no-store"})


def found(code: str) -> Link:
    """The link of this code, or 404."""
    link = links.get(code)
    if link is None:
        raise HTTPException(404, f"There is no link {code[:40]}.")
    return link


def new_code() -> str:
    """A code that is free."""
    while True:
        code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
        if code not in links and code != "health":
            return code
