"""A job that prints a report and ends; exit code 0 means that it worked. Laid out by the demo script of Slipway."""

import calendar
import sys
from datetime import UTC, datetime

TITLE = {{ title|literal }}
ASKED = {{ words|literal }}


def report(now: datetime) -> list[str]:
    """The lines of the report for this moment."""
    days = calendar.monthrange(now.year, now.month)[1]
    year_days = 366 if calendar.isleap(now.year) else 365
    day = now.timetuple().tm_yday
    return [
        TITLE,
        "=" * len(TITLE),
        f"{now:%A, %d %B %Y, %H:%M} UTC",
        "",
        f"Asked for: {ASKED}",
        "",
        f"Week {now.isocalendar().week}",
        f"Days left in {now:%B}: {days - now.day}",
        f"Days left in {now.year}: {year_days - day}",
    ]


def main() -> int:
    for line in report(datetime.now(UTC)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
