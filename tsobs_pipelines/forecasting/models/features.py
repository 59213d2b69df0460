"""What is known about a delivery day when its forecast is issued: lagged prices and the kind of day.

Models work in local time: a day has 24 slots. The two hours of an autumn day's repeated slot are averaged;
the slot that a spring day skips is empty. Holes of at most a week are bridged with the newest earlier price
of the slot, in the columns only: nobody fits to, or scores against, a price that was not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tsobs_pipelines.forecasting.delivery import DAY, Market
from tsobs_pipelines.forecasting.models.interface import Prices

Matrix = NDArray[np.float64]

LONGEST_HOLE_DAYS = 7
LAG_DAYS = 7
LEVEL_HALF_LIFE_DAYS = 3.0
SLOTS = 24
DAY_KINDS = ("monday", "saturday", "sunday")
"""Kinds of day with a shape of their own; a national holiday counts as a Sunday."""


@dataclass(frozen=True, slots=True)
class PriceDays:
    """Days before a delivery day, oldest first: two arrays of days x 24, NaN where there is nothing."""

    first: date
    observed: Matrix
    bridged: Matrix


def lay_out(prices: Prices, day: date, days: int, market: Market) -> PriceDays:
    """The ``days`` days before ``day``; whatever ``prices`` holds from ``day`` on is not looked at."""
    first = day - DAY * days
    observed = np.full((days, SLOTS), np.nan)
    for row in range(days):
        for hour in market.hours_of(first + DAY * row):
            price = prices.get(hour)
            if price is None:
                continue
            slot = hour.astimezone(market.zone).hour
            before = observed[row, slot]
            observed[row, slot] = price if np.isnan(before) else (before + price) / 2
    bridged = observed.copy()
    age = np.where(np.isnan(observed[0]), LONGEST_HOLE_DAYS + 1, 0)
    for row in range(1, days):
        empty = np.isnan(bridged[row])
        age = np.where(empty, age + 1, 0)
        usable = empty & (age <= LONGEST_HOLE_DAYS)
        bridged[row, usable] = bridged[row - 1, usable]
    return PriceDays(first, observed, bridged)


def lagged(values: Matrix) -> dict[str, Matrix]:
    """Columns for each day after the first seven, and for the day after the last: (days - 6) x 24 each.

    ``values`` is days x 24. Every column of a day is made of earlier days only.
    """
    count = len(values) - LAG_DAYS + 1

    def back(days: int) -> Matrix:
        return values[LAG_DAYS - days : LAG_DAYS - days + count]

    def whole_day(value: Matrix) -> Matrix:
        return np.repeat(value[:, None], SLOTS, axis=1)

    week = np.mean([back(days) for days in range(1, LAG_DAYS + 1)], axis=0)
    fading = [0.5 ** (days / LEVEL_HALF_LIFE_DAYS) for days in range(1, LAG_DAYS + 1)]
    level = np.average([back(days).mean(axis=1) for days in range(1, LAG_DAYS + 1)], axis=0, weights=fading)
    yesterday = back(1)
    return {
        "lag1": yesterday,
        "lag2": back(2),
        "lag7": back(7),
        "mean1": whole_day(yesterday.mean(axis=1)),
        "last1": whole_day(yesterday[:, -1]),
        "min1": whole_day(yesterday.min(axis=1)),
        "max1": whole_day(yesterday.max(axis=1)),
        "week": week,
        "week_mean": whole_day(week.mean(axis=1)),
        "level": whole_day(level),
    }


def kinds_of(day: date, market: Market) -> Mapping[str, bool]:
    """Which of :data:`DAY_KINDS` the day is."""
    weekday = 6 if market.is_holiday(day) else day.weekday()
    return {"monday": weekday == 0, "saturday": weekday == 5, "sunday": weekday == 6}
