"""A to-do list as an API, with a page that uses it."""

import threading
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, StringConstraints

MAX_TODOS = 500
HERE = Path(__file__).parent
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]

app = FastAPI(title="To-do", version="1.0.0", docs_url=None, redoc_url=None)


class NewTodo(BaseModel):
    """What a caller sends for a new entry."""

    title: Title = Field(examples=["Buy milk"])


class Change(BaseModel):
    """What a caller changes: what is absent stays as it is."""

    title: Title | None = None
    done: bool | None = None


class Todo(NewTodo):
    """An entry, kept in memory: it is gone after a restart or a new release."""

    id: int
    done: bool = False
    created_at: datetime


lock = threading.Lock()
todos: dict[int, Todo] = {}
numbers = count(1)


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


def order(todo: Todo) -> tuple:
    """What comes first: open entries, then by age."""
    return (todo.done, todo.id)


@app.get("/todos")
def list_todos(done: Annotated[bool | None, Query(description="Only those that are, or are not, done.")] = None) -> list[Todo]:
    """All entries, open ones first."""
    with lock:
        chosen = [todo for todo in todos.values() if done is None or todo.done == done]
    return sorted(chosen, key=order)


@app.post("/todos", status_code=201)
def create_todo(new: NewTodo) -> Todo:
    """Adds an entry."""
    with lock:
        if len(todos) >= MAX_TODOS:
            raise HTTPException(409, f"There are {MAX_TODOS} entries already: delete one first.")
        todo = Todo(id=next(numbers), created_at=datetime.now(UTC), **new.model_dump())
        todos[todo.id] = todo
    print(f"added entry {todo.id}")
    return todo


@app.get("/todos/{todo_id}")
def read_todo(todo_id: int) -> Todo:
    """One entry."""
    return found(todo_id)


@app.patch("/todos/{todo_id}")
def change_todo(todo_id: int, change: Change) -> Todo:
    """Renames an entry, or marks it as done or open."""
    with lock:
        given = {name: value for name, value in change.model_dump(exclude_unset=True).items() if value is not None}
        todos[todo_id] = found(todo_id).model_copy(update=given)
        return todos[todo_id]


@app.delete("/todos/{todo_id}", status_code=204)
def delete_todo(todo_id: int) -> None:
    """Removes an entry."""
    with lock:
        found(todo_id)
        del todos[todo_id]
    print(f"deleted entry {todo_id}")


def found(todo_id: int) -> Todo:
    """The entry of this number, or 404."""
    todo = todos.get(todo_id)
    if todo is None:
        raise HTTPException(404, f"There is no entry {todo_id}: GET /todos lists them all.")
    return todo
