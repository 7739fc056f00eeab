"""Bookings for a barber: free times, taken once each."""

import secrets
import threading
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse
from pydantic import AwareDatetime, BaseModel, StringConstraints

SHOP = "Kamm & Klinge"
# Opening hours by weekday, Monday first. None: closed.
HOURS = [None, (10, 19), (10, 19), (10, 19), (10, 20), (9, 16), None]
VISIT = timedelta(minutes=45)
DAYS = 14
# Nobody can book what begins sooner than this.
NOTICE = timedelta(minutes=30)
MAX_BOOKINGS = 2000
HERE = Path(__file__).parent

try:
    ZONE = ZoneInfo("Europe/Berlin")
except ZoneInfoNotFoundError:
    # An image without time zone data.
    ZONE = UTC

app = FastAPI(title=SHOP, version="1.0.0", docs_url=None, redoc_url=None)


class NewBooking(BaseModel):
    """What a visitor sends."""

    start: AwareDatetime
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]


class Booking(NewBooking):
    """A taken time, kept in memory: it is gone after a restart or a new release."""

    code: str
    end: AwareDatetime


class Day(BaseModel):
    """A day with its times."""

    day: date
    open: bool
    free: list[datetime]


lock = threading.Lock()
bookings: dict[datetime, Booking] = {}


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


def times_of(day: date) -> list[datetime]:
    """All times of a day, taken ones included, in UTC."""
    hours = HOURS[day.weekday()]
    if hours is None:
        return []
    start = datetime.combine(day, time(hours[0]), ZONE)
    close = datetime.combine(day, time(hours[1]), ZONE)
    times = []
    while start + VISIT <= close:
        times.append(start.astimezone(UTC))
        start += VISIT
    return times


def free_of(day: date, now: datetime) -> list[datetime]:
    """The times of a day that can still be booked."""
    return [start for start in times_of(day) if start >= now + NOTICE and start not in bookings]


@app.get("/days")
def days() -> list[Day]:
    """The next two weeks with their free times."""
    now = datetime.now(UTC)
    first = now.astimezone(ZONE).date()
    with lock:
        all_days = [first + timedelta(days=ahead) for ahead in range(DAYS)]
        return [Day(day=day, open=HOURS[day.weekday()] is not None, free=free_of(day, now)) for day in all_days]


@app.post("/bookings", status_code=201)
def book(new: NewBooking) -> Booking:
    """Takes a time."""
    now = datetime.now(UTC)
    start = new.start.astimezone(UTC)
    day = start.astimezone(ZONE).date()
    if start not in times_of(day) or day >= now.astimezone(ZONE).date() + timedelta(days=DAYS):
        raise HTTPException(422, "That is no time we offer: GET /days lists them.")
    with lock:
        for over in [taken for taken, booking in bookings.items() if booking.end < now - timedelta(days=1)]:
            del bookings[over]
        if start not in free_of(day, now) or len(bookings) >= MAX_BOOKINGS:
            raise HTTPException(409, "Somebody was quicker: that time is taken. Please pick another one.")
        given = new.model_dump() | {"start": start}
        booking = Booking(code=secrets.token_hex(4), end=start + VISIT, **given)
        bookings[start] = booking
    print(f"booked {start:%Y-%m-%d %H:%M} UTC")
    return booking


@app.get("/bookings/{code}")
def read_booking(code: str) -> Booking:
    """A booking, for whoever has its code."""
    return found(code)


@app.delete("/bookings/{code}", status_code=204)
def cancel(code: str) -> None:
    """Gives a time back."""
    with lock:
        booking = found(code)
        del bookings[booking.start]
    print(f"cancelled {booking.start:%Y-%m-%d %H:%M} UTC")


def found(code: str) -> Booking:
    """The booking of this code, or 404."""
    for booking in bookings.values():
        if secrets.compare_digest(booking.code.encode(), code.encode()):
            return booking
    raise HTTPException(404, "There is no booking with this code.")
