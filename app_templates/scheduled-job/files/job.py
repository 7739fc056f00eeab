"""A job. The platform starts it at the times app.toml names; it does its work, prints what it did, and ends.

Exit code 0 means that it worked. Any other, or an exception, is shown as a failed run.
"""

import sys
from datetime import UTC, datetime


def main() -> int:
    now = datetime.now(UTC)
    left = 24 * 60 - (now.hour * 60 + now.minute)
    print(f"It is {now:%A, %d %B %Y, %H:%M} UTC: {left // 60} h {left % 60} min of this day are left.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
