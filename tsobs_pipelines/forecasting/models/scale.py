"""The scale on which prices are forecast: symmetric, and ending a little beyond the usual prices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tsobs_pipelines.forecasting.models.features import Matrix

NORMAL_MAD = 0.6745
"""The median absolute deviation of a standard normal variable."""

LEAST_SHARE, LEAST_SPREAD = 0.1, 1e-6
"""The spread is at least this share of the usual prices' standard deviation, and this much in EUR/kWh."""

RARE_HOURS, MOST_RARE = 36, 0.1
"""So many of the highest and of the lowest prices (a day and a half), or that share, are not usual ones."""

BEYOND = 1.0
"""How far beyond the usual ones, on the scale, values may go."""


@dataclass(frozen=True, slots=True)
class Scale:
    """``asinh((price - median) / spread)``: near zero a straight line, far out a logarithm.

    Values end at ``low`` and ``high``: one absurd price, or a day of them, says no more than very high ones,
    and no forecast leaves the range, which the inverse, an exponential, would carry far out.
    """

    median: float
    spread: float
    low: float
    high: float

    @classmethod
    def of(cls, prices: Matrix) -> Scale:
        """The scale of the prices of a training window, none of them NaN."""
        median = float(np.median(prices))
        deviation = float(np.median(np.abs(prices - median))) / NORMAL_MAD
        rare = min(RARE_HOURS / prices.size, MOST_RARE)
        lowest, highest = np.quantile(prices, [rare, 1 - rare])
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

    def bounded(self, prices: Matrix) -> Matrix:
        """The prices, those beyond the scale's ends replaced by the ends; EUR/kWh."""
        return self.back(self.to(prices))
