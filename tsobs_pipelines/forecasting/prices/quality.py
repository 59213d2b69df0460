"""Completeness of a delivery day's prices: each hour once, finite, and in a plausible range."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import isfinite

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.source import PricePoint

LOWEST, HIGHEST = -0.5, 5.0
"""EUR/kWh: the harmonised limits of the European day-ahead auction are -500 and +4,000 EUR/MWh, and rise."""


@dataclass(frozen=True, slots=True)
class DayPrices:
    """The prices of one delivery day and what is wrong with them; hours are starts in UTC."""

    day: date
    prices: dict[datetime, float]
    missing: tuple[datetime, ...]
    doubled: tuple[datetime, ...]
    rejected: tuple[tuple[datetime, float], ...]
    """Prices that are not finite or absurd; their hours are missing unless a good price came as well."""

    @property
    def complete(self) -> bool:
        """Whether every hour has its one price."""
        return not (self.missing or self.doubled or self.rejected)


def judge_day(day: date, points: Sequence[PricePoint], market: Market) -> DayPrices:
    """The day's prices. An hour given twice is named, and counts only when both prices are the same."""
    given: dict[datetime, list[float]] = {hour: [] for hour in market.hours_of(day)}
    rejected: list[tuple[datetime, float]] = []
    for point in points:
        if point.start not in given:
            continue
        if isfinite(point.price) and LOWEST <= point.price <= HIGHEST:
            given[point.start].append(point.price)
        else:
            rejected.append((point.start, point.price))
    prices = {hour: values[0] for hour, values in given.items() if values and len(set(values)) == 1}
    return DayPrices(
        day=day,
        prices=prices,
        missing=tuple(hour for hour in given if hour not in prices),
        doubled=tuple(hour for hour, values in given.items() if len(values) > 1),
        rejected=tuple(rejected),
    )


def judge_days(days: Iterable[date], points: Iterable[PricePoint], market: Market) -> list[DayPrices]:
    """Each of the days with its prices."""
    by_day: dict[date, list[PricePoint]] = {}
    for point in points:
        by_day.setdefault(market.day_of(point.start), []).append(point)
    return [judge_day(day, by_day.get(day, []), market) for day in days]


def describe(found: DayPrices, market: Market) -> str:
    """What is wrong with the day, with the hours in the market's time; empty when nothing is."""
    parts = ["no price at all"] if found.missing and not found.prices else []
    parts += [
        f"{word} {', '.join(_clock(hour, market) for hour in hours)}"
        for word, hours in (
            ("missing", found.missing if found.prices else ()),
            ("given twice", found.doubled),
        )
        if hours
    ]
    if found.rejected:
        shown = ", ".join(f"{_clock(hour, market)} ({price:g} EUR/kWh)" for hour, price in found.rejected)
        parts.append(f"not a price {shown}")
    return f"{found.day}: {'; '.join(parts)}" if parts else ""


def _clock(hour: datetime, market: Market) -> str:
    return f"{hour.astimezone(market.zone):%H:%M%z}"
