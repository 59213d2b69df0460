"""The interface of a price source, its errors, and what they all share.

What belongs here: the protocol, and turning finer prices into hourly ones. What does not: a source.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from math import fsum
from typing import Protocol

from tsobs_pipelines.forecasting.delivery import HOUR

MWH_PER_KWH = 1 / 1000
"""Factor from EUR/MWh, in which markets speak, to EUR/kWh, in which prices are kept."""


class PriceSourceError(RuntimeError):
    """The source gave no prices that can be used; the text says what it answered."""


class PriceSourceUnavailableError(PriceSourceError):
    """The source did not answer, or turned us away: worth another try later."""


class PriceSourceUnreachableError(PriceSourceUnavailableError):
    """There was no connection to the source: firewall, DNS or proxy, if it lasts."""


@dataclass(frozen=True, slots=True)
class PricePoint:
    """One price as the source gave it: ``start`` of its span (UTC), ``span``, price in EUR/kWh."""

    start: datetime
    price: float
    span: timedelta = HOUR


@dataclass(frozen=True, slots=True)
class Probe:
    """What a source answered to one question: a line for a person, and the ``Date`` of its server."""

    detail: str
    http_date: str | None = None


class PriceSource(Protocol):
    """Prices of whole delivery days."""

    @property
    def name(self) -> str:
        """The tag that keeps these prices apart from those of other sources."""
        ...

    def fetch(self, first: date, last: date) -> list[PricePoint]:
        """What the source has for the days ``first`` to ``last``, doubled, absurd or absent as it comes.

        Raises:
            PriceSourceUnavailableError: no answer; another try may help.
            PriceSourceError: an answer that can't be read.
        """
        ...

    def probe(self, day: date, timeout_s: float) -> Probe:
        """Ask once for a day, read the answer as :meth:`fetch` does, and say what came.

        Raises:
            PriceSourceUnreachableError: no connection.
            PriceSourceUnavailableError: turned away; another try may help.
            PriceSourceError: an answer that can't be read.
        """
        ...


def with_spans(timed: Sequence[tuple[datetime, float]]) -> list[PricePoint]:
    """Prices with their spans: quarter-hours on a UTC day with a price between full hours, else hours."""
    fine = {start.date() for start, _ in timed if start.minute}
    return [PricePoint(start, price, HOUR / 4 if start.date() in fine else HOUR) for start, price in timed]


def hourly(points: Iterable[PricePoint]) -> list[PricePoint]:
    """Each hour's price: as given, or the mean of its parts when all of them are there.

    Wholesale prices are quarter-hourly since October 2025. An hour that lacks a quarter is left out, to be
    reported as missing; an hour given twice stays twice, to be reported as doubled.
    """
    result: list[PricePoint] = []
    parts: dict[datetime, list[PricePoint]] = {}
    for point in points:
        if point.span >= HOUR:
            result.append(point)
        else:
            start = point.start.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
            parts.setdefault(start, []).append(point)
    for start, quarters in parts.items():
        copies = _copies(quarters)
        result.extend(PricePoint(start, fsum(copy) / len(copy)) for copy in copies)
    return sorted(result, key=lambda point: point.start)


def _copies(quarters: Sequence[PricePoint]) -> list[list[float]]:
    """The hour's prices, once for each time that all of its parts were given."""
    by_start: dict[datetime, list[float]] = {}
    for quarter in quarters:
        by_start.setdefault(quarter.start, []).append(quarter.price)
    if len(by_start) != round(HOUR / quarters[0].span):
        return []
    times = max(len(prices) for prices in by_start.values())
    return [[prices[min(time, len(prices) - 1)] for prices in by_start.values()] for time in range(times)]
