"""The hours that a file's labels mean: 0 to 23 or 1 to 24, in local time or consecutive.

On a day of 24 hours only the first label matters. On a day of 23 or 25 hours, a file labels its rows by the
clock on the wall (skipping or repeating a label, or with 24 rows as on other days) or counts them in order.
What a file means is found from all of its rows. A day that can then be read in two ways is refused: a price
an hour off is worse than none. So is a day whose labels count parts of hours, such as 1 to 96 or 00:15.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from itertools import pairwise

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.source import Failure, PriceSourceError

Placed = tuple[datetime, float]


@dataclass(slots=True)
class DayRows:
    """The rows of one day in the order of the file: labels, and prices (``None``: an empty cell)."""

    labels: list[int] = field(default_factory=list)
    prices: list[float | None] = field(default_factory=list)
    beyond: set[int] = field(default_factory=set)
    """Labels that are higher than any hour's."""
    parts: dict[str, int] = field(default_factory=dict)
    """Labels between the hours as they are written, with the hour's label."""

    def add(self, label: int, price: float | None) -> None:
        """One row more."""
        self.labels.append(label)
        self.prices.append(price)

    def counts_parts(self, hours: int) -> bool:
        """Whether the labels are of parts of hours, on a day of so many hours; a single one is a slip."""
        one_too_many = len(self.beyond) == 1 and len({*self.labels, *self.beyond}) > hours
        return one_too_many or len(self.beyond) > 1 or len(self.parts) > 1

    def prices_of_hours(self) -> list[float | None]:
        """The prices without those of hours that have another part."""
        if not self.parts:
            return self.prices
        torn = set(self.parts.values())
        return [
            None if label in torn else price for label, price in zip(self.labels, self.prices, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Hours:
    """The hours of a day, and what the clock shows at the start of each."""

    starts: tuple[datetime, ...]
    clock: tuple[int, ...]

    @property
    def ordinary(self) -> bool:
        return self.clock == tuple(range(24))

    @property
    def repeated(self) -> frozenset[int]:
        return frozenset(label for label, times in Counter(self.clock).items() if times > 1)


@dataclass(frozen=True, slots=True)
class _Reading:
    """A way to read labels: that of a day's first hour, and whether they follow the clock or the order."""

    first: int
    by_clock: bool

    def covers(self, rows: DayRows, hours: _Hours) -> bool:
        """Whether every label is an hour of the day in this reading."""
        last = 23 if self.by_clock else len(hours.starts) - 1
        return bool(rows.labels) and self.first <= min(rows.labels) and max(rows.labels) <= self.first + last

    def repeats(self, label: int, hours: _Hours) -> bool:
        """Whether two hours of the day have this label."""
        return self.by_clock and label - self.first in hours.repeated


READINGS = tuple(_Reading(first, by_clock) for first in (0, 1) for by_clock in (True, False))


def place(
    days: Mapping[date, DayRows], wanted: Callable[[date], bool], market: Market, where: str
) -> tuple[list[Placed], list[Failure]]:
    """Starts and prices of the wanted days' rows, and the days that can be read in two ways.

    ``days`` are all days of the file; of those not wanted only the labels are looked at.
    """
    clock = cache(lambda day: _hours_of(day, market))
    of_parts = _days_of_parts(days, lambda day: len(clock(day).starts))
    fitting = {day: _fitting(rows, clock(day)) for day, rows in days.items() if day not in of_parts}
    of_file = [reading for reading in READINGS if all(reading in fits for fits in fitting.values() if fits)]
    twice = any(
        _has_both(days[day], reading.first, clock(day)) for day, fits in fitting.items() for reading in fits
    )
    placed: list[Placed] = []
    refused: dict[date, str] = dict(of_parts)
    for day in filter(wanted, fitting):
        readings = [reading for reading in of_file or READINGS if reading in fitting[day]]
        results = [sorted(_read(days[day], reading, clock(day), twice=twice)) for reading in readings]
        if results and all(one == results[0] for one in results):
            placed.extend(results[0])
        elif days[day].labels:
            refused[day] = _shown(days[day]) + (
                " can be read in two ways" if results else " fit no way of counting hours"
            )
    failures = [
        Failure(day, day, PriceSourceError(f"{where}, day {day}: {why}; {INSTEAD}"))
        for day, why in sorted(refused.items())
        if wanted(day)
    ]
    return placed, failures


INSTEAD = "a column time with an offset is never in doubt"


def _days_of_parts(days: Mapping[date, DayRows], hours: Callable[[date], int]) -> dict[date, str]:
    """The days whose labels count parts of hours, and why they can't be read.

    The newest day may be incomplete: after a day of parts, its labels up to 24 may be its first parts.
    """
    found = {
        day: f"{_shown(rows)} are of parts of hours"
        for day, rows in days.items()
        if rows.counts_parts(hours(day))
    }
    order = sorted(days)
    if len(order) > 1 and order[-2] in found and order[-1] not in found:
        found[order[-1]] = f"{_shown(days[order[-1]])} may be of parts of hours, as on the day before"
    return found


def _shown(rows: DayRows) -> str:
    labels = [*rows.labels, *rows.beyond]
    if rows.parts:
        return f"hours {', '.join(list(rows.parts)[:3])}, …"
    return f"hours {min(labels)} to {max(labels)} in {len(labels)} rows"


def highest_label(day: date, market: Market) -> int:
    """The highest label that an hour of the day has in any reading."""
    return max(24, len(market.hours_of(day)))


def _hours_of(day: date, market: Market) -> _Hours:
    starts = tuple(market.hours_of(day))
    if len(starts) == 24:
        return _Hours(starts, tuple(range(24)))
    return _Hours(starts, tuple(start.astimezone(market.zone).hour for start in starts))


def _fitting(rows: DayRows, hours: _Hours) -> list[_Reading]:
    """The readings in which the day's labels make sense, judged by itself."""
    covering = [reading for reading in READINGS if reading.covers(rows, hours)]
    if not hours.ordinary:
        for reading in READINGS:
            expected = [reading.first + label for label in hours.clock]
            if reading.by_clock and rows.labels in (expected, expected[::-1]):
                return [other for other in covering if _same_hours(rows.labels, reading, other, hours)]
    given: dict[int, set[float | None]] = {}
    for label, price in zip(rows.labels, rows.prices, strict=True):
        given.setdefault(label, set()).add(price)
    twice = [label for label, prices in given.items() if len(prices) > 1]
    return [
        reading for reading in covering if all(reading.repeats(label, hours) for label in twice)
    ] or covering


def _same_hours(labels: list[int], one: _Reading, other: _Reading, hours: _Hours) -> bool:
    """Whether both readings put each row at the same hour, as where midnight is the hour that is skipped."""
    numbered = DayRows(labels, [float(row) for row in range(len(labels))])
    placed, placed_too = (sorted(_read(numbered, reading, hours, twice=True)) for reading in (one, other))
    return placed == placed_too


def _has_both(rows: DayRows, first: int, hours: _Hours) -> bool:
    return any(len(prices) > 1 for prices in _repeats(rows, first, hours))


def _repeats(rows: DayRows, first: int, hours: _Hours) -> Iterator[list[float | None]]:
    for label in hours.repeated:
        yield [price for at, price in zip(rows.labels, rows.prices, strict=True) if at == first + label]


def _read(rows: DayRows, reading: _Reading, hours: _Hours, *, twice: bool) -> Iterator[Placed]:
    given = list(zip(rows.labels, rows.prices_of_hours(), strict=True))
    if not reading.by_clock:
        for label, price in given:
            if price is not None:
                yield hours.starts[label - reading.first], price
        return
    by_label: dict[int, list[float | None]] = {}
    for label, price in given:
        by_label.setdefault(label - reading.first, []).append(price)
    for label, prices in by_label.items():
        starts = [start for start, shown in zip(hours.starts, hours.clock, strict=True) if shown == label]
        if len(starts) == 1:
            yield from ((starts[0], price) for price in prices if price is not None)
        elif starts:
            yield from _repeated(starts, prices, rows.labels, twice=twice)


def _repeated(
    starts: Sequence[datetime], prices: Sequence[float | None], labels: Sequence[int], *, twice: bool
) -> Iterator[Placed]:
    """The hours that an autumn day shows twice: each its own price, in the order of the file if it has one.

    One price stands for both, where the file never gives two.
    """
    if len({*prices}) == 1:
        own = [prices[0]] * len(starts) if len(prices) >= len(starts) or not twice else []
    elif len(prices) == len(starts) and all(one <= other for one, other in pairwise(labels)):
        own = list(prices)
    elif len(prices) == len(starts) and all(one >= other for one, other in pairwise(labels)):
        own = list(reversed(prices))
    else:
        own = []
    yield from ((start, price) for start, price in zip(starts, own, strict=False) if price is not None)
