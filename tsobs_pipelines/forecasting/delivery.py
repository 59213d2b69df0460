"""Delivery days and hours of a day-ahead market: the one place that knows about its clock.

What belongs here: which hours a delivery day has, when its forecast is issued and its prices come out, and
which hour is "the same hour" some days before. What does not: prices.

A delivery day is a calendar day in the market's zone; it has 23, 24 or 25 hours. An hour is named by its
start, in timezone-aware UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

ISSUE_TIME = time(9, 0, tzinfo=UTC)
"""When the forecast of a delivery day is issued, on the day before."""

PUBLICATION_TIME = time(12, 45)
"""When day-ahead prices come out, on the day before, in the market's zone (OMIE; forecast-facts)."""

PUBLICATION_GRACE = timedelta(hours=8)
"""How long absent prices are awaited after that: the PVPC comes out at 20:15, an auction may be late."""


@dataclass(frozen=True)
class Market:
    """The calendar of one market."""

    timezone: str

    @cached_property
    def zone(self) -> ZoneInfo:
        """The market's zone."""
        return ZoneInfo(self.timezone)

    def day_of(self, moment: datetime) -> date:
        """The delivery day that ``moment`` falls in."""
        return moment.astimezone(self.zone).date()

    def start_of(self, day: date) -> datetime:
        """The first moment of the delivery day, UTC."""
        return datetime.combine(day, time(), tzinfo=self.zone).astimezone(UTC)

    def end_of(self, day: date) -> datetime:
        """The first moment after the delivery day, UTC."""
        return self.start_of(day + DAY)

    def hours_of(self, day: date) -> list[datetime]:
        """The starts of the 23, 24 or 25 hours of the delivery day, UTC, in order."""
        start, end = self.start_of(day), self.end_of(day)
        return [start + HOUR * step for step in range(round((end - start) / HOUR))]

    def issued_at(self, day: date) -> datetime:
        """When the forecast of the delivery day is due, UTC."""
        return datetime.combine(day - DAY, ISSUE_TIME)

    def published_at(self, day: date) -> datetime:
        """When the prices of the delivery day come out: what is made from then on is no forecast, UTC."""
        return datetime.combine(day - DAY, PUBLICATION_TIME, tzinfo=self.zone).astimezone(UTC)

    def overdue_at(self, day: date) -> datetime:
        """From when on absent prices of the delivery day are a fault, UTC."""
        return self.published_at(day) + PUBLICATION_GRACE

    def same_hour_before(self, hour: datetime, days: int) -> datetime:
        """The hour with the same wall-clock time ``days`` delivery days earlier, UTC.

        Where the clock showed that time twice, the one with the offset of ``hour`` (else the first) is meant;
        where it never did, the hour ``24 * days`` earlier.
        """
        local = hour.astimezone(self.zone)
        wall = local.replace(tzinfo=None) - DAY * days
        shown = [
            there
            for fold in (0, 1)
            if _shows(there := wall.replace(tzinfo=self.zone, fold=fold), wall, self.zone)
        ]
        if not shown:
            return hour - DAY * days
        same_offset = [there for there in shown if there.utcoffset() == local.utcoffset()]
        return (same_offset or shown)[0].astimezone(UTC)


def _shows(there: datetime, wall: datetime, zone: ZoneInfo) -> bool:
    return there.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == wall.replace(fold=0)


def days_between(first: date, last: date) -> Iterator[date]:
    """Every day from ``first`` to ``last``, both included."""
    for step in range((last - first).days + 1):
        yield first + DAY * step
