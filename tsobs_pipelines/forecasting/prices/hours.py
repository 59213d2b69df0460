"""Aggregates prices of any span that divides an hour into prices of delivery hours.

Markets moved from hours to quarter-hours (Europe in October 2025) or trade half-hours (Great Britain).
Within a delivery day all prices have one span; it is found from where they start. An hour is the mean of
its parts, and has no price unless all of them are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from math import fsum, gcd

from tsobs_pipelines.forecasting.delivery import HOUR, Market
from tsobs_pipelines.forecasting.prices.source import Failure, Fetched, PricePoint, PriceSourceError

_MICROSECOND = timedelta(microseconds=1)
_HOUR_US = HOUR // _MICROSECOND

Offset = int
"""Microseconds after the start of a delivery hour."""

Parts = Mapping[Offset, Sequence[float]]
"""The prices of one hour by where they start in it, each start once for each time that it was given."""


def hourly(
    timed: Iterable[tuple[datetime, float]],
    market: Market,
    where: str = "prices",
    remarks: Sequence[str] = (),
) -> Fetched:
    """The prices of delivery hours; a day whose prices have a span that can't be averaged is a failure.

    ``timed`` are starts (timezone-aware) with prices, in any order and any unit. An hour that lacks a part
    is left out, to be reported as missing; an hour given twice stays twice, to be reported as doubled.
    ``where`` begins the text of a failure.
    """
    days = _by_day(timed, market)
    spans = _spans({day: (parts, len(market.hours_of(day))) for day, parts in days.items()})
    found: list[PricePoint] = []
    failures: list[Failure] = []
    for day, hours in days.items():
        end = market.end_of(day)
        before = len(found)
        for start, parts in hours.items():
            expected = range(0, min(end - start, HOUR) // _MICROSECOND, spans[day])
            if set(parts) == set(expected):
                found.extend(PricePoint(start, fsum(copy) / len(copy)) for copy in _copies(parts))
        if len(found) == before and (step := _odd_step(hours)):
            why = f"{where}, day {day}: prices every {step}, expected a span that divides an hour"
            failures.append(Failure(day, day, PriceSourceError(why)))
    return Fetched(sorted(found, key=lambda point: point.start), failures, remarks)


def _odd_step(hours: Mapping[datetime, Parts]) -> str | None:
    """How far apart most prices of a day are, where that does not divide an hour."""
    times = sorted(start + offset * _MICROSECOND for start, parts in hours.items() for offset in parts)
    steps = Counter((after - time) // _MICROSECOND for time, after in pairwise(times))
    if not steps or _HOUR_US % (step := steps.most_common(1)[0][0]) == 0:
        return None
    minutes = step * _MICROSECOND / timedelta(minutes=1)
    return f"{minutes:g} minutes"


def _by_day(
    timed: Iterable[tuple[datetime, float]], market: Market
) -> dict[date, dict[datetime, dict[Offset, list[float]]]]:
    days: dict[date, dict[datetime, dict[Offset, list[float]]]] = {}
    for time, price in timed:
        start = market.hour_of(time)
        hours = days.setdefault(market.day_of(time), {})
        hours.setdefault(start, {}).setdefault((time - start) // _MICROSECOND, []).append(price)
    return dict(sorted(days.items()))


def _spans(days: Mapping[date, tuple[Mapping[datetime, Parts], int]]) -> dict[date, int]:
    """The span of the prices of each day, in microseconds.

    A day with few prices, all of them at full hours, may be the beginning of one of quarter-hours: it has
    the span of the nearest day before it that says more, else of the nearest after it.
    """
    found = {day: _span(list(hours.values()), count) for day, (hours, count) in days.items()}
    order = list(found)
    for known, following in ((order, order[1:]), (order[::-1], order[-2::-1])):
        for before, day in zip(known, following, strict=False):
            found[day] = found[day] or found[before]
    return {day: span or _HOUR_US for day, span in found.items()}


def _span(hours: Sequence[Parts], count: int) -> int | None:
    """The span on a day of ``count`` hours, ``None`` where too few prices tell."""
    fine = [parts for parts in hours if set(parts) != {0}]
    whole = len(hours) - len(fine)
    if len(fine) <= 1 and 2 * whole >= count:
        return _HOUR_US  # one hour with a time between the hours is a slip, and costs that hour
    if not fine:
        return None
    seen = Counter(offset for parts in fine for offset in parts if offset)
    often = [offset for offset, times in seen.items() if times > 1]
    return gcd(_HOUR_US, *(often if len(fine) > 2 and often else seen))


def _copies(parts: Parts) -> list[list[float]]:
    """The hour's prices, once for each time that all of its parts were given."""
    times = max(len(prices) for prices in parts.values())
    return [[prices[min(time, len(prices) - 1)] for prices in parts.values()] for time in range(times)]
