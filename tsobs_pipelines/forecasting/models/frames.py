"""The data frames that Prophet is fitted on and forecasts from, and their scale.

What belongs here: features as columns, on the scale of a training window. What does not: the features
themselves (``features.py``) and Prophet (``prophet_model.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tsobs_pipelines.forecasting.delivery import DAY, Market
from tsobs_pipelines.forecasting.models.features import (
    DAY_KINDS,
    LAG_DAYS,
    SLOTS,
    Matrix,
    PriceDays,
    kinds_of,
    lagged,
)

if TYPE_CHECKING:
    import pandas as pd

NORMAL_MAD = 0.6745
"""The median absolute deviation of a standard normal variable."""

LEAST_SHARE, LEAST_SPREAD = 0.1, 1e-6
"""The spread is at least this share of the usual prices' standard deviation, and this much in EUR/kWh."""

RARE, BEYOND = 0.02, 1.0
"""The share of the highest and of the lowest prices that are not usual (a whole day of 56), and how far
beyond the usual ones, on the scale, values may go."""

LAGGED = ("lag1", "lag2", "lag7", "mean1", "last1", "min1", "max1", "week", "week_mean", "level")


def last_waves(order: int) -> dict[str, Matrix]:
    """Names of the regressors ``last1`` times a wave over the day, and the waves, one value a slot."""
    angle = 2 * np.pi * np.arange(SLOTS) / SLOTS
    waves = {f"last1_sin{step}": np.sin(step * angle) for step in range(1, order + 1)}
    return waves | {f"last1_cos{step}": np.cos(step * angle) for step in range(1, order + 1)}


@dataclass(frozen=True, slots=True)
class Scale:
    """``asinh((price - median) / spread)``: near zero a straight line, far out a logarithm.

    Values end at ``low`` and ``high``, a little beyond what a training window has seen but for its rarest
    hours: one absurd price says no more than a very high one, and no forecast leaves the range, which the
    inverse, an exponential, would carry far out.
    """

    median: float
    spread: float
    low: float
    high: float

    @classmethod
    def of(cls, prices: Matrix) -> Scale:
        """The scale of the prices of a training window."""
        median = float(np.median(prices))
        deviation = float(np.median(np.abs(prices - median))) / NORMAL_MAD
        lowest, highest = np.quantile(prices, [RARE, 1 - RARE])
        # More than half of the prices may be the same one, for example 0.
        least = LEAST_SHARE * float(np.std(np.clip(prices, lowest, highest)))
        spread = max(deviation, least, LEAST_SPREAD)
        low, high = np.arcsinh((np.array([lowest, highest]) - median) / spread)
        return cls(median, spread, float(low) - BEYOND, float(high) + BEYOND)

    def to(self, prices: Matrix) -> Matrix:
        """From EUR/kWh."""
        return np.clip(np.arcsinh((prices - self.median) / self.spread), self.low, self.high)

    def back(self, values: Matrix) -> Matrix:
        """To EUR/kWh."""
        return np.asarray(np.sinh(np.clip(values, self.low, self.high)) * self.spread + self.median)


def frame_of(days: PriceDays, market: Market) -> pd.DataFrame:
    """A row for each hour from the eighth day to the day after the last: time, price, lags, kinds of day."""
    import pandas as pd  # noqa: PLC0415 - needed for fits and forecasts only

    count = len(days.bridged) - LAG_DAYS + 1
    dates = [days.first + DAY * (LAG_DAYS + row) for row in range(count)]
    starts = np.array(dates, dtype="datetime64[ns]")
    hours = starts[:, None] + np.arange(SLOTS).astype("timedelta64[h]")[None, :]
    price = np.vstack([days.observed[LAG_DAYS:], np.full((1, SLOTS), np.nan)])
    columns: dict[str, object] = {"ds": hours.ravel(), "price": price.ravel()}
    columns |= {name: values.ravel() for name, values in lagged(days.bridged).items()}
    kinds = [kinds_of(each, market) for each in dates]
    columns |= {kind: np.repeat([each[kind] for each in kinds], SLOTS) for kind in DAY_KINDS}
    return pd.DataFrame(columns)


def scaled_frame(frame: pd.DataFrame, scale: Scale, last_order: int) -> pd.DataFrame:
    """The frame's prices on the scale, with a 0 or 1 for each kind of day, as Prophet takes them."""
    scaled = frame.drop(columns="price")
    scaled["y"] = scale.to(frame["price"].to_numpy())
    for name in LAGGED:
        scaled[name] = scale.to(frame[name].to_numpy())
    for name, wave in last_waves(last_order).items():
        scaled[name] = scaled["last1"] * wave[frame["ds"].dt.hour]
    for kind in DAY_KINDS:
        scaled[f"is_{kind}"] = frame[kind].astype(float)
    return scaled


def without_empty_start(days: PriceDays) -> PriceDays:
    """The days from the first with a price on; so many at least that one has all its lags."""
    filled = np.flatnonzero(~np.isnan(days.observed).all(axis=1))
    start = min(int(filled[0]), len(days.observed) - LAG_DAYS - 1) if len(filled) else 0
    return PriceDays(days.first + DAY * start, days.observed[start:], days.bridged[start:])
