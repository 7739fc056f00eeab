"""Checks that an address answers in time. Exit code 0: it does; 1: it is down, wrong or slow."""

import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

ADDRESS = "https://example.com/"
LIMIT_SECONDS = 2.0
TRIES = 3
TIMEOUT_SECONDS = 8


@dataclass
class Try:
    """One request: what came of it, and how long it took."""

    status: int | None
    seconds: float
    note: str

    @property
    def is_good(self) -> bool:
        """Answered without an error, and quickly enough."""
        return self.status is not None and self.status < 400 and self.seconds <= LIMIT_SECONDS


def ask(address: str) -> Try:
    """Asks once."""
    request = urllib.request.Request(address, headers={"User-Agent": "uptime-check/1.0"})
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            answer.read(65536)
            status, note = answer.status, ""
    except urllib.error.HTTPError as error:
        status, note = error.code, error.reason
    except (urllib.error.URLError, OSError) as error:
        status, note = None, str(getattr(error, "reason", error))
    seconds = time.monotonic() - started
    if status is not None and status < 400 and seconds > LIMIT_SECONDS:
        note = f"slower than {LIMIT_SECONDS:g} s"
    return Try(status, seconds, " ".join(note.split())[:80])


def has_network(address: str) -> bool:
    """Whether this job can reach anything: the address's own name is found, or one that is always there."""
    for host in (urlsplit(address).hostname or "", "one.one.one.one"):
        try:
            socket.getaddrinfo(host, 443)
            return True
        except OSError:
            continue
    return False


def table(rows: list[list[str]]) -> list[str]:
    """Rows as lines with columns of equal width; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def check(address: str) -> bool:
    """Asks a few times and prints what came of it; whether the address is well."""
    tries = [ask(address) for _ in range(TRIES)]
    rows = [["try", "status", "time", "note"]]
    for number, one in enumerate(tries, start=1):
        rows.append([str(number), str(one.status or "-"), f"{one.seconds * 1000:.0f} ms", one.note])
    print("\n".join(table(rows)))
    return any(one.is_good for one in tries)


def main() -> int:
    print(f"Uptime of {ADDRESS}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n")
    if not has_network(ADDRESS):
        print("No name can be looked up from here, so nothing can be said about the address.")
        print("This run has no way out to the internet: check the network of the machine.")
        return 0
    if check(ADDRESS):
        print("\nUP: it answers in time.")
        return 0
    print(f"\nDOWN: no answer without an error within {LIMIT_SECONDS:g} s.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
