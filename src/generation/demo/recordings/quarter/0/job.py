"""Says how much is left of the quarter. It prints a report and ends; exit code 0 means that it worked."""

import sys
from datetime import UTC, date, datetime, timedelta

BAR = 40


def quarter_of(day: date) -> tuple[int, date, date]:
    """The quarter's number, its first and its last day."""
    number = (day.month - 1) // 3 + 1
    first = date(day.year, 3 * number - 2, 1)
    after = date(day.year + 1, 1, 1) if number == 4 else date(day.year, 3 * number + 1, 1)
    return number, first, after - timedelta(days=1)


def is_working_day(day: date) -> bool:
    """Monday to Friday."""
    return day.weekday() < 5


def working_days(after: date, until: date) -> int:
    """Working days after a day, up to another one that counts."""
    days = (after + timedelta(days=ahead) for ahead in range(1, (until - after).days + 1))
    return sum(is_working_day(day) for day in days)


def bar(first: date, today: date, last: date) -> str:
    """How much is over, as a bar with a number."""
    share = ((today - first).days + 1) / ((last - first).days + 1)
    full = round(share * BAR)
    return f"[{'#' * full}{'.' * (BAR - full)}] {share:.0%} over"


def counted(number: int, noun: str) -> str:
    """`1 day`, `2 days`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def report(today: date) -> list[str]:
    """The lines of the report for a day."""
    number, first, last = quarter_of(today)
    left = (last - today).days
    lines = [
        f"Quarter {number} of {today.year}, as of {today:%A, %d %B}",
        "",
        bar(first, today, last),
        "",
        f"Ends on         {last:%A, %d %B %Y}",
        f"Days left       {left}",
        f"Weeks left      {left // 7} and {counted(left % 7, 'day')}",
        f"Working days    {working_days(today, last)}",
    ]
    if left == 0:
        lines.append("\nToday is the last day of the quarter.")
    elif left <= 7:
        lines.append("\nThe last week has begun.")
    return lines


def main() -> int:
    print("\n".join(report(datetime.now(UTC).date())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
