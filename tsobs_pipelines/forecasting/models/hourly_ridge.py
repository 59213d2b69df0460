"""A ridge regression for each hour of the day, on the prices of the week before and the kind of day.

A linear relative of LEAR (Lago, Marcjasz, De Schutter and Weron, *Forecasting day-ahead electricity prices*,
Applied Energy 293, 2021), which has a lasso for each hour. A day is measured in units of the week before it:
less its level, by its spread. So days of a quiet and of a dear year teach the same, and a market whose prices
have tripled is forecast as well as before after some days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from tsobs_pipelines.forecasting.delivery import DAY, Market
from tsobs_pipelines.forecasting.models.features import LAG_DAYS, SLOTS, Matrix, PriceDays, kinds_of
from tsobs_pipelines.forecasting.models.scale import LEAST_SPREAD, Scale

LEVEL_HALF_LIFE_DAYS = 3.0
LEAST_SPREAD_SHARE = 0.3
"""A week's spread counts as at least this share of the median week's: a still week is no unit."""

FURTHEST = 6.0
"""No price counts as further than so many spreads from the level of the week before."""

PENALTIES = 10.0 ** np.arange(-1.0, 4.1, 0.5)
"""The ridge penalties that are tried, in standard deviations squared."""


@dataclass(frozen=True, slots=True)
class Week:
    """The seven days before each of some days: the unit of each, and the columns known of it.

    ``level`` and ``spread`` have a value for each day (EUR/kWh), ``columns`` days x 24 x columns; NaN where a
    price of the week is missing.
    """

    level: Matrix
    spread: Matrix
    columns: Matrix

    def to_units(self, prices: Matrix) -> Matrix:
        """Prices of the days (days x 24) in spreads from the level."""
        return np.clip((prices - self.level[:, None]) / self.spread[:, None], -FURTHEST, FURTHEST)


@dataclass(frozen=True, slots=True)
class HourlyRidge:
    """The fitted regressions: ``coefficients`` (24 x columns) and ``intercepts`` (24), in units of a week."""

    scale: Scale
    least_spread: float
    intercepts: Matrix
    coefficients: Matrix

    def predict(self, bridged: Matrix, day: date, market: Market) -> tuple[Matrix, float]:
        """The 24 prices of the day after ``bridged`` (EUR/kWh), and the unit of its errors."""
        before = self.scale.bounded(bridged[-LAG_DAYS:])
        week = weeks(before, [day], market, self.least_spread)
        units = self.intercepts + (self.coefficients * week.columns[0]).sum(axis=1)
        made = np.clip(units, -FURTHEST, FURTHEST) * week.spread[0] + week.level[0]
        return self.scale.bounded(made), float(week.spread[0])


def fit_hourly_ridge(days: PriceDays, market: Market) -> tuple[HourlyRidge, Matrix]:
    """The regressions, and the errors that each would make on a day that it had not been fitted on.

    The penalty is the one with the least mean absolute error of that kind, over all hours. The errors are
    days x 24, oldest first, in the units of :class:`Week`; NaN where there was nothing to fit on.
    """
    scale = Scale.of(days.observed[~np.isnan(days.observed)])
    bounded = scale.bounded(days.bridged)
    dates = [days.first + DAY * row for row in range(LAG_DAYS, len(bounded))]
    least = LEAST_SPREAD_SHARE * float(np.nanmedian(weeks(bounded, dates, market, LEAST_SPREAD).spread))
    week = weeks(bounded, dates, market, max(least, LEAST_SPREAD))
    target = week.to_units(scale.bounded(days.observed[LAG_DAYS:]))
    known = ~np.isnan(target) & ~np.isnan(week.columns).any(axis=2)
    slots = [_fit_slot(week.columns[:, slot], target[:, slot], known[:, slot]) for slot in range(SLOTS)]
    absolute = np.array([[np.nansum(np.abs(one.errors)) for one in slot] for slot in slots]).sum(axis=0)
    chosen = [slot[int(absolute.argmin())] for slot in slots]
    ridge = HourlyRidge(
        scale,
        max(least, LEAST_SPREAD),
        np.array([one.intercept for one in chosen]),
        np.array([one.coefficients for one in chosen]),
    )
    return ridge, np.array([one.errors for one in chosen]).T


def weeks(bridged: Matrix, dates: Sequence[date], market: Market, least_spread: float) -> Week:
    """What is known before each of the days; ``bridged`` begins seven days before the first of them."""
    back = [bridged[LAG_DAYS - lag : LAG_DAYS - lag + len(dates)] for lag in range(1, LAG_DAYS + 1)]
    fading = 0.5 ** (np.arange(LAG_DAYS) / LEVEL_HALF_LIFE_DAYS)
    level = np.average([each.mean(axis=1) for each in back], axis=0, weights=fading)
    deviations = [np.abs(each - level[:, None]).mean(axis=1) for each in back]
    spread = np.fmax(np.average(deviations, axis=0, weights=fading), least_spread)
    week = Week(level, spread, np.empty(0))
    lags = [week.to_units(each) for each in back]
    yesterday, hours = lags[0], np.ones(SLOTS)
    own = [yesterday, lags[1], lags[2], lags[6], np.mean(lags, axis=0)]
    of_day = [
        yesterday.mean(axis=1),
        yesterday.min(axis=1),
        yesterday.max(axis=1),
        yesterday[:, -1],
        yesterday[:, -3:].mean(axis=1),
        lags[1].mean(axis=1),
    ]
    kinds = np.array([_kinds(day, market) for day in dates]).T
    columns = [*own, *(np.outer(each, hours) for each in (*of_day, *kinds))]
    return Week(level, spread, np.stack(columns, axis=2))


@dataclass(frozen=True, slots=True)
class _Fitted:
    """One hour's regression with one penalty, and its leave-one-out errors."""

    intercept: float
    coefficients: Matrix
    errors: Matrix


def _fit_slot(columns: Matrix, target: Matrix, known: NDArray[np.bool_]) -> list[_Fitted]:
    """A regression for each penalty, by one eigendecomposition.

    The error on a day left out is ``error / (1 - leverage)``: Allen, *The relationship between variable
    selection and data augmentation and a method for prediction*, Technometrics 16 (1974).
    """
    x, y = columns[known], target[known]
    if not len(y):
        nothing = _Fitted(0.0, np.zeros(columns.shape[1]), np.full(len(target), np.nan))
        return [nothing] * len(PENALTIES)
    mean, deviation, middle = x.mean(axis=0), x.std(axis=0), y.mean()
    deviation[deviation < 1e-6] = 1.0  # a column that never changes says nothing
    standard = (x - mean) / deviation
    values, vectors = np.linalg.eigh(standard.T @ standard)
    rotated = standard @ vectors
    moments = rotated.T @ (y - middle)
    found = []
    for penalty in PENALTIES:
        shrunk = 1.0 / (np.maximum(values, 0.0) + penalty)
        errors = np.full(len(target), np.nan)
        leverage = (rotated**2) @ shrunk + 1.0 / len(y)
        errors[known] = (y - middle - rotated @ (shrunk * moments)) / np.maximum(1.0 - leverage, 0.01)
        coefficients = vectors @ (shrunk * moments) / deviation
        found.append(_Fitted(float(middle - coefficients @ mean), coefficients, errors))
    return found


def _kinds(day: date, market: Market) -> list[float]:
    """The seven weekdays, and the kinds of day, of which a holiday is a Sunday."""
    weekdays = [float(day.weekday() == each) for each in range(7)]
    return [*weekdays, *(float(each) for each in kinds_of(day, market).values())]
