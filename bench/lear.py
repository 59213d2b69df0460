"""LEAR without other inputs, to measure our model by: what it forecasts of a day. Not a program.

Lago and others, *Forecasting day-ahead electricity prices*, Applied Energy 293 (2021):
a lasso for each hour, its penalty by LARS and AIC, on the prices of 1, 2, 3 and 7 days before and weekdays,
all made symmetric by ``asinh``; the mean over windows of 56, 84 and 365 days. Where the data begin
later than a window does, the window begins with them.
"""

from __future__ import annotations

import warnings
from datetime import date

import numpy as np
from sklearn.linear_model import LassoLarsIC

from bench.prices import Matrix, PriceMap
from tests.support.prices import MARKET
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.models.features import LAG_DAYS, lay_out
from tsobs_pipelines.forecasting.models.frames import without_empty_start

WINDOWS = (56, 84, 365)
LAGS = (1, 2, 3, 7)
NORMAL_MAD = 0.6745


def lear(prices: PriceMap, day: date) -> Matrix:
    """The day's 24 prices, EUR/kWh."""
    laid = without_empty_start(lay_out(prices, day, max(WINDOWS) + LAG_DAYS, MARKET))
    windows = [min(window, len(laid.bridged) - LAG_DAYS) for window in WINDOWS]
    return np.asarray(np.mean([_one_window(laid.bridged, day, window) for window in windows], axis=0))


def _one_window(bridged: Matrix, day: date, window: int) -> Matrix:
    used = bridged[-window - LAG_DAYS :]
    median = float(np.median(used))
    spread = max(float(np.median(np.abs(used - median))) / NORMAL_MAD, 1e-6)
    scaled = np.arcsinh((used - median) / spread)
    rows = np.arange(LAG_DAYS, len(scaled) + 1)
    weekdays = [[(day - DAY * int(len(scaled) - row)).weekday() == each for each in range(7)] for row in rows]
    columns = np.hstack([*(scaled[rows - lag] for lag in LAGS), np.array(weekdays, dtype=float)])
    mean, deviation = columns[:-1].mean(axis=0), columns[:-1].std(axis=0)
    columns = (columns - mean) / np.where(deviation > 0, deviation, 1.0)
    made = [_one_hour(columns, scaled[LAG_DAYS:, slot]) for slot in range(scaled.shape[1])]
    return np.asarray(np.sinh(made) * spread + median)


def _one_hour(columns: Matrix, target: Matrix) -> float:
    """The AIC needs the noise of an unpenalised fit, which more columns than days do not have."""
    few = len(target) <= columns.shape[1] + 1
    noise = float(np.var(np.diff(target))) / 2 if few else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LassoLarsIC(criterion="aic", max_iter=2500, noise_variance=noise)
        model.fit(columns[:-1], target)
    return float(model.predict(columns[-1:])[0])
