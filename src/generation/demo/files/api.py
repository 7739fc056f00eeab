"""A small API, written by the demo model of Slipway."""

import html
import threading
from itertools import count
from string import Template

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

# What was asked for: the first message, then one line for each further one.
REQUESTS = [
    {{ words|literal }},
    # demo: the next line goes above this one
]

MAX_ITEMS = 1000

app = FastAPI(title={{ heading|literal }}, version="1.0.0", docs_url=None, redoc_url=None)

lock = threading.Lock()
items: dict[int, "Item"] = {}
numbers = count(1)


class NewItem(BaseModel):
    """What a caller sends."""

    name: str = Field(min_length=1, max_length=200)
    done: bool = False


class Item(NewItem):
    """What is kept, in memory: it is gone after a restart or a new release."""

    id: int


@app.get("/health")
def health() -> dict[str, str]:
    """Answers as long as the app can do its work."""
    return {"status": "ok"}


PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>${title}</title>
<style>body{font:100%/1.6 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1.25rem;overflow-wrap:anywhere}
code{font-size:.95em}h1{line-height:1.15}</style></head><body>
<h1>${title}</h1><p>${asked}</p>${changes}<h2>Calls</h2><ul>${calls}</ul>
<p>${count} items are kept at the moment.</p></body></html>""")

CALLS = {
    "GET /items": "all items",
    "POST /items": 'a new one: {"name": "…"}',
    "GET /items/{id}": "one item",
    "PUT /items/{id}": "change it",
    "DELETE /items/{id}": "remove it",
    "GET /health": "whether all is well",
    "GET /openapi.json": "this API, described",
}


@app.get("/", response_model=None)
def index(request: Request) -> HTMLResponse | JSONResponse:
    """Says what this is: a page for people, JSON for programs."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"message": REQUESTS[0], "changes": REQUESTS[1:], "calls": CALLS, "items": len(items)})
    changes = "".join(f"<li>{html.escape(change)}</li>" for change in REQUESTS[1:])
    page = PAGE.substitute(
        title=html.escape(app.title),
        asked=html.escape(REQUESTS[0]),
        changes=f"<h2>Then</h2><ul>{changes}</ul>" if changes else "",
        calls="".join(f"<li><code>{html.escape(call)}</code> {html.escape(what)}</li>" for call, what in CALLS.items()),
        count=len(items),
    )
    return HTMLResponse(page)


@app.get("/items")
def list_items() -> list[Item]:
    """All items, oldest first."""
    with lock:
        return list(items.values())


@app.post("/items", status_code=201)
def create_item(new: NewItem) -> Item:
    """Keeps a new item."""
    with lock:
        if len(items) >= MAX_ITEMS:
            raise HTTPException(409, f"There are {MAX_ITEMS} items already: delete one first.")
        item = Item(id=next(numbers), **new.model_dump())
        items[item.id] = item
    print(f"created item {item.id}")
    return item


@app.get("/items/{item_id}")
def read_item(item_id: int) -> Item:
    """One item."""
    return found(item_id)


@app.put("/items/{item_id}")
def change_item(item_id: int, new: NewItem) -> Item:
    """Changes an item."""
    with lock:
        found(item_id)
        items[item_id] = Item(id=item_id, **new.model_dump())
        return items[item_id]


@app.delete("/items/{item_id}", status_code=204)
def delete_item(item_id: int) -> None:
    """Removes an item."""
    with lock:
        found(item_id)
        del items[item_id]
    print(f"deleted item {item_id}")


def found(item_id: int) -> Item:
    """The item of this number, or 404."""
    item = items.get(item_id)
    if item is None:
        raise HTTPException(404, f"There is no item {item_id}.")
    return item
