"""Merges days into spans."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

_DAY = timedelta(days=1)


def spans(days: Sequence[date], longest: timedelta) -> list[tuple[date, date]]:
    """Ascending days as spans without a gap, none longer than ``longest``: each one's first and last.

    A span is filled from its end, so that a short one is the oldest.
    """
    found: list[tuple[date, date]] = []
    for day in reversed(days):
        first, last = found[-1] if found else (date.max, date.max)
        if first - day == _DAY and last - day < longest:
            found[-1] = (day, last)
        else:
            found.append((day, day))
    return found[::-1]
