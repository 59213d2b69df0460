"""Delivery days and hours of a day-ahead market, its holidays, and when its prices are published.

A delivery day is a calendar day in the market's zone. Its hours are counted from its midnight, which in a
zone such as Asia/Kolkata is not on a full hour of UTC; clock changes give days of 23 and 25 hours. An hour is
named by its start, in timezone-aware UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from tsobs_pipelines.forecasting.countries import country_of_zone, holidays_of, publication_of
from tsobs_pipelines.settings import Settings

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

ISSUE_TIME = time(9, 0)
"""When the forecast of a delivery day is issued, UTC, on the day before; see :attr:`Market.issue`."""

ISSUE_LEAD = timedelta(minutes=30)
"""How much earlier than the prices a forecast is issued at least."""

PUBLICATION_GRACE = timedelta(hours=8)
"""How long absent prices are awaited after that: the PVPC comes out at 20:15, an auction may be late."""


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A time of day in a zone."""

    time: time
    timezone: str

    def on(self, day: date) -> datetime:
        """That time on the day, UTC."""
        return datetime.combine(day, self.time, tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)


@dataclass(frozen=True)
class Market:
    """The calendar of one market; ``country`` (ISO 3166) is by default the one that its zone lies in."""

    timezone: str
    country: str | None = None

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
        """The starts of the hours of the delivery day, UTC, in order: 23, 24 or 25.

        Where a clock moves by half an hour, the day's last hour has only 30 minutes.
        """
        start, end = self.start_of(day), self.end_of(day)
        return [start + HOUR * step for step in range(-(-(end - start) // HOUR))]

    def hour_of(self, moment: datetime) -> datetime:
        """The start of the delivery hour that ``moment`` falls in, UTC."""
        start = self.start_of(self.day_of(moment))
        return start + (moment.astimezone(UTC) - start) // HOUR * HOUR

    @cached_property
    def home(self) -> str | None:
        """The country whose holidays and auction count, ``None`` where the zone names none."""
        return self.country or country_of_zone(self.timezone)

    def is_holiday(self, day: date) -> bool:
        """Whether the day is a national holiday of the market's country."""
        return self.home is not None and day in holidays_of(self.home, day.year)

    @cached_property
    def publication(self) -> ClockTime:
        """When day-ahead prices come out, on the day before."""
        at, zone = publication_of(self.home)
        return ClockTime(at, zone or self.timezone)

    @cached_property
    def issue(self) -> ClockTime:
        """When a forecast is issued, on the day before.

        09:00 UTC where that is on the day before by the market's clock and before the prices come out, in
        summer and in winter; elsewhere an hour before the prices come out.
        """
        usual = ClockTime(ISSUE_TIME, "UTC")
        for day in (date(2026, 1, 15), date(2026, 7, 15)):
            at = usual.on(day)
            if self.day_of(at) != day or at + ISSUE_LEAD > self.publication.on(day):
                early = datetime.combine(day, self.publication.time) - HOUR
                return ClockTime(early.time(), self.publication.timezone)
        return usual

    def issued_at(self, day: date) -> datetime:
        """When the forecast of the delivery day is due, UTC."""
        return self.issue.on(day - DAY)

    def day_to_issue(self, moment: datetime) -> date:
        """The newest delivery day whose forecast is due at ``moment``."""
        day = self.day_of(moment) + 2 * DAY
        while self.issued_at(day) > moment:
            day -= DAY
        return day

    def published_at(self, day: date) -> datetime:
        """When the prices of the delivery day are published, UTC; a forecast made later is not scored."""
        return self.publication.on(day - DAY)

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


def market_of(settings: Settings) -> Market:
    """The calendar of the configured market."""
    return Market(settings.market_timezone, settings.market_country)


def _shows(there: datetime, wall: datetime, zone: ZoneInfo) -> bool:
    return there.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0) == wall.replace(fold=0)


def days_between(first: date, last: date) -> Iterator[date]:
    """Every day from ``first`` to ``last``, both included."""
    for step in range((last - first).days + 1):
        yield first + DAY * step
