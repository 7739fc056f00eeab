"""An API that keeps entries, with a page to try it. Laid out by the demo script of Slipway."""

import threading
from itertools import count
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field

TITLE = {{ title|literal }}
ASKED = {{ words|literal }}
MAX_ITEMS = 1000
HERE = Path(__file__).parent

app = FastAPI(title=TITLE, version="1.0.0", docs_url=None, redoc_url=None)

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


@app.get("/", response_model=None, include_in_schema=False)
def index(request: Request) -> FileResponse | JSONResponse:
    """A page for people, JSON for programs."""
    if "text/html" in request.headers.get("accept", ""):
        return FileResponse(HERE / "page.html")
    calls = ["GET /items", "POST /items", "GET /items/{id}", "PUT /items/{id}", "DELETE /items/{id}"]
    return JSONResponse({"message": TITLE, "asked": ASKED, "calls": calls, "items": len(items)})


@app.get("/page.css", include_in_schema=False)
def style() -> FileResponse:
    """The page's style sheet."""
    return FileResponse(HERE / "page.css")


@app.get("/page.js", include_in_schema=False)
def script() -> FileResponse:
    """The page's script."""
    return FileResponse(HERE / "page.js", media_type="text/javascript")


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
