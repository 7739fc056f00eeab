"""Collects feedback: a rating, a comment, and what comes of them."""

import threading
import time
from collections import Counter, deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, StringConstraints

MAX_ANSWERS = 2000
SHOWN = 20
PAUSE_SECONDS = 60
HERE = Path(__file__).parent

app = FastAPI(title="Feedback", version="1.0.0", docs_url=None, redoc_url=None)


class NewAnswer(BaseModel):
    """What a visitor sends."""

    rating: int = Field(ge=1, le=5)
    comment: Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)] = ""


class Answer(NewAnswer):
    """An answer, kept in memory: it is gone after a restart or a new release."""

    at: datetime


class Summary(BaseModel):
    """What all answers come to."""

    count: int
    average: float | None
    by_rating: dict[int, int]


lock = threading.Lock()
answers: deque[Answer] = deque(maxlen=MAX_ANSWERS)
# When an address answered last, by the monotonic clock.
last: dict[str, float] = {}


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


@app.get("/summary")
def summary() -> Summary:
    """The average, and how often each rating was given."""
    with lock:
        ratings = Counter(answer.rating for answer in answers)
    count = ratings.total()
    average = round(sum(rating * times for rating, times in ratings.items()) / count, 2) if count else None
    return Summary(count=count, average=average, by_rating={rating: ratings[rating] for rating in range(1, 6)})


@app.get("/feedback")
def list_answers() -> list[Answer]:
    """The latest answers, newest first."""
    with lock:
        return list(answers)[: -SHOWN - 1 : -1]


@app.post("/feedback", status_code=201)
def give(new: NewAnswer, request: Request) -> Answer:
    """Takes an answer; one a minute from each address."""
    sender = request.client.host if request.client else "unknown"
    now = time.monotonic()
    with lock:
        for address in [address for address, at in last.items() if now - at >= PAUSE_SECONDS]:
            del last[address]
        if sender in last:
            raise HTTPException(429, "Thank you, your answer is here already. You can give another one in a minute.")
        last[sender] = now
        answer = Answer(at=datetime.now(UTC), **new.model_dump())
        answers.append(answer)
    print(f"took an answer with rating {answer.rating}")
    return answer
