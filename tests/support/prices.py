"""Real prices for tests, which lie beside the checkout and are never part of it."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.csv_source import CsvPrices

MARKET = Market("Europe/Madrid")
FIRST, LAST = date(2014, 1, 1), date(2014, 8, 31)
_NAME = Path("shared", "data", "spain_day_ahead_2014_jan_aug.csv")


def real_prices_file() -> Path:
    """The file of 5,832 real hours, in a ``shared`` directory beside the checkout or above it.

    Raises:
        FileNotFoundError: it is in none of these places.
    """
    root = Path(__file__).resolve().parents[2]
    for directory in root.parents:
        if (directory / _NAME).exists():
            return directory / _NAME
    raise FileNotFoundError(f"{_NAME} is not beside {root.name} or above it: these tests need real prices")


def real_prices() -> dict[datetime, float]:
    """EUR/kWh by hour; the hour that the autumn repeats does not occur, the one that spring skips neither."""
    points = CsvPrices(str(real_prices_file()), MARKET).fetch(FIRST, LAST)
    return {point.start: point.price for point in points}
