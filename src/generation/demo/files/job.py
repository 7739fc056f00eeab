"""A job, written by the demo model of Slipway. It prints a report and ends; exit code 0 means that it worked."""

import calendar
import sys
from datetime import UTC, datetime

# What was asked for: the first message, then one line for each further one.
REQUESTS = [
    {{ words|literal }},
    # demo: the next line goes above this one
]


def report(now: datetime, requests: list[str]) -> list[str]:
    """The lines of the report for this moment."""
    days = calendar.monthrange(now.year, now.month)[1]
    lines = [
        f"Report of {now:%A, %d %B %Y, %H:%M} UTC",
        "",
        f"Asked for: {requests[0]}",
        *(f"Then:      {request}" for request in requests[1:]),
        "",
        f"Week {now.isocalendar().week}, day {now.timetuple().tm_yday} of the year",
        f"Days left in {now:%B}: {days - now.day}",
    ]
    return lines


def main() -> int:
    for line in report(datetime.now(UTC), REQUESTS):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
