"""Spain's real day-ahead prices of 2015 and 2016, see ``tests/data/README.md``."""

from __future__ import annotations

import lzma
import tempfile
from datetime import date, datetime
from functools import cache
from pathlib import Path

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.csv_source import CsvPrices

MARKET = Market("Europe/Madrid")
FIRST, LAST = date(2015, 1, 1), date(2015, 8, 31)
"""The eight months that tests run over; the file goes on to the end of 2016."""

_PACKED = Path(__file__).parents[1] / "data" / "spain_day_ahead_2015_2016.csv.xz"


@cache
def _unpacked_in() -> tempfile.TemporaryDirectory[str]:
    """Unpacked once a process, removed when it ends."""
    directory = tempfile.TemporaryDirectory(prefix="tsobs-prices-")
    Path(directory.name, _PACKED.stem).write_bytes(lzma.decompress(_PACKED.read_bytes()))
    return directory


def real_prices_file() -> Path:
    """The CSV file, which exists until the process ends."""
    return Path(_unpacked_in().name, _PACKED.stem)


def real_prices(first: date = FIRST, last: date = LAST) -> dict[datetime, float]:
    """EUR/kWh by hour of the delivery days ``first`` to ``last``."""
    points = CsvPrices(str(real_prices_file()), MARKET).fetch(first, last)
    return {point.start: point.price for point in points}
