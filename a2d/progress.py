"""Signs of progress: lines on standard error that name the job."""

import sys

PROGRESS_SECONDS = 4.0
"""Least time between two lines of a job."""


def tell(job: str, news: str) -> None:
    """Print a line of progress."""
    print(f"[{job}] {news}", file=sys.stderr, flush=True)


def clock_time(seconds: float) -> str:
    """Minutes and seconds, such as 3:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
