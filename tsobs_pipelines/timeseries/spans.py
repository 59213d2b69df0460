"""Spans of time: days merged into spans, and where a span of a fixed length begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_DAY = timedelta(days=1)


def span_start(time: datetime, length: timedelta) -> datetime:
    """The start of the span of this length, aligned to the epoch, that ``time`` lies in."""
    return EPOCH + (time - EPOCH) // length * length


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
