"""Shared by the forecast benchmarks: real prices (``tests/data/README.md``) and forecasts of them.

Forecasts are kept in the temporary folder under a digest of the prices, the parameters and the model's code,
so that a second question need not fit again. Not a program.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable
from datetime import date, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.prices import MARKET, real_prices_file
from tsobs_pipelines.forecasting.delivery import DAY, days_between
from tsobs_pipelines.forecasting.models import (
    features,
    frames,
    hourly_ridge,
    interval,
    prophet_model,
    scale,
)
from tsobs_pipelines.forecasting.models.prophet_model import Parameters, ProphetPriceForecast
from tsobs_pipelines.forecasting.prices.csv_source import CsvPrices

CHOSEN_ON, JUDGED_ON = 2015, 2016
"""Years: models are chosen on the first; what is reported is measured on the second."""

CODE = (features, frames, hourly_ridge, interval, prophet_model, scale)
"""The modules whose text says what a forecast is."""

FIRST_SCORED = 60
"""Days of prices before the first forecast that is scored."""

Matrix = NDArray[np.float64]
"""Days x 24 slots x (forecast, lower, upper), EUR/MWh, or only days x 24."""

PriceMap = dict[datetime, float]


def price_file() -> Path:
    """``TSOBS_BENCH_PRICES`` (another year, another market), else Spain's prices of 2015 and 2016."""
    named = os.environ.get("TSOBS_BENCH_PRICES")
    return Path(named) if named else real_prices_file()


def real_prices() -> PriceMap:
    """EUR/kWh by hour."""
    points = CsvPrices(str(price_file()), MARKET).fetch(date(2000, 1, 1), date(2099, 1, 1))
    return {point.start: point.price for point in points}


def scored_days(prices: PriceMap, year: int | None = JUDGED_ON) -> list[date]:
    """The days of the year, every year with None, that have at least 60 days of prices before them."""
    first, last = MARKET.day_of(min(prices)), MARKET.day_of(max(prices))
    days = days_between(first + DAY * FIRST_SCORED, last)
    return [day for day in days if year is None or day.year == year]


def actual(prices: PriceMap, days: list[date]) -> Matrix:
    """Days x 24, EUR/MWh; NaN where the clock skipped the slot."""
    laid = features.lay_out(prices, days[-1] + DAY, len(days), MARKET)
    return laid.observed * 1000


def rolling(parameters: Parameters, prices: PriceMap, days: list[date]) -> Matrix:
    """The model's forecasts of the days, each fitted and made with prices before it: days x 24 x 3."""
    model = ProphetPriceForecast(parameters=parameters)

    def one(day: date) -> list[list[float]]:
        fitted = model.fit(prices, day, MARKET)
        found = {
            each.hour.astimezone(MARKET.zone).hour: [each.yhat, each.lower, each.upper]
            for each in model.predict(fitted, prices, MARKET)
        }
        return [found.get(slot, [np.nan] * 3) for slot in range(24)]

    return kept(repr(parameters).encode() + code(), one, days)


def code() -> bytes:
    """The text of the model's modules."""
    return b"".join(Path(str(each.__file__)).read_bytes() for each in CODE)


def kept(identity: bytes, one: Callable[[date], list[list[float]]], days: list[date]) -> Matrix:
    """``one`` for each day in EUR/MWh, from the temporary folder where it was made before."""
    digest = sha256(identity + price_file().read_bytes() + repr(days).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"tsobs-bench-forecasts-{digest}.npy"
    if not path.exists():
        logging.getLogger("prophet").setLevel(logging.ERROR)
        made = np.array([one(day) for day in days]) * 1000
        draft = path.with_suffix(f".{os.getpid()}.npy")
        np.save(draft, made)
        draft.replace(path)
    loaded: Matrix = np.load(path)
    return loaded
