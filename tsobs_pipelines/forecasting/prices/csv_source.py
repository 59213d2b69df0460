"""Prices from a CSV file on the local disk or any file system of fsspec.

What belongs here: the columns. What does not: what becomes of incomplete days.

One column names the hour and one the price:

- ``time``, the hour's start in RFC 3339 with an offset; or ``date`` (YYYY-MM-DD) and ``hour``, the market's
  hour from 0 on. A day with hours 0 to 23 is read by the clock on the wall, also when the clocks change: the
  hour that a spring day skips is left out, and the one price of the hour that an autumn day repeats stands
  for both (data sets of 24 values a day are made so). A day with as many hours as it really has, 23 or 25, is
  read in their order.
- ``price_eur_per_mwh`` or ``price_eur_per_kwh``.

Further columns are ignored. An empty price is an hour without one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import PurePosixPath

from tsobs_pipelines.forecasting.delivery import Market, market_of
from tsobs_pipelines.forecasting.prices.source import (
    MWH_PER_KWH,
    PricePoint,
    PriceSourceError,
    PriceSourceUnavailableError,
    Probe,
    hourly,
    with_spans,
)
from tsobs_pipelines.settings import Settings

_PRICE_COLUMNS = {"price_eur_per_mwh": MWH_PER_KWH, "price_eur_per_kwh": 1.0}


class CsvPrices:
    """The prices of one file, read anew at each fetch, so that a file that grows is followed."""

    def __init__(self, place: str, market: Market) -> None:
        """``place`` is a path or an fsspec URL."""
        self._place = place
        self._market = market

    @property
    def name(self) -> str:
        """``csv:`` and the file's name."""
        return f"csv:{PurePosixPath(self._place).stem}"

    def fetch(self, first: date, last: date) -> list[PricePoint]:
        """The file's prices of these days."""
        start, end = self._market.start_of(first), self._market.end_of(last)
        points = parse(self._read(), self._market, self._place)
        return [point for point in points if start <= point.start < end]

    def probe(self, day: date, timeout_s: float) -> Probe:
        """Read the file; how many prices of the day it has does not matter."""
        _ = day, timeout_s
        parse(self._read(), self._market, self._place)
        return Probe(f"{self._place} can be read")

    def _read(self) -> str:
        from fsspec import open as open_any  # noqa: PLC0415 - needed for this source only

        try:
            with open_any(self._place, "rb") as file:
                data: bytes = file.read()
            return data.decode("utf-8-sig")
        except FileNotFoundError:
            raise PriceSourceError(f"price file {self._place}: there is no such file") from None
        except UnicodeDecodeError as error:
            raise PriceSourceError(f"price file {self._place}: not UTF-8 at byte {error.start}") from None
        except OSError as error:
            raise PriceSourceUnavailableError(f"price file {self._place}: {error}") from error


def open_csv(place: str, settings: Settings) -> CsvPrices:
    """The file that the setting names."""
    return CsvPrices(place, market_of(settings))


def parse(text: str, market: Market, place: str) -> list[PricePoint]:
    """The hourly prices of the text, in EUR/kWh, in the order of time.

    Raises:
        PriceSourceError: the columns are not those documented, or a cell can't be read; names the line.
    """
    lines = csv.DictReader(io.StringIO(text))
    columns = set(lines.fieldnames or ())
    price_columns = [name for name in _PRICE_COLUMNS if name in columns]
    if len(price_columns) != 1 or not ("time" in columns or {"date", "hour"} <= columns):
        raise PriceSourceError(
            f"price file {place}: columns {','.join(sorted(columns)) or 'none'}; expected time, or date "
            f"and hour, and one of {', '.join(_PRICE_COLUMNS)}"
        )
    column, factor = price_columns[0], _PRICE_COLUMNS[price_columns[0]]
    timed: list[tuple[datetime, float]] = []
    by_day: dict[date, list[tuple[int, float]]] = {}
    for number, cells in enumerate(lines, start=2):
        try:
            price = _price(cells[column], factor)
            if price is None:
                continue
            if "time" in columns:
                timed.append((_time(cells), price))
            else:
                day, hour = date.fromisoformat(cells["date"].strip()), int(cells["hour"])
                by_day.setdefault(day, []).append((hour, price))
        except (ValueError, TypeError, AttributeError) as error:
            raise PriceSourceError(f"price file {place}, line {number}: {error}") from None
    for day, values in by_day.items():
        timed.extend(_placed(day, values, market, place))
    return hourly(with_spans(timed))


def _price(cell: str | None, factor: float) -> float | None:
    return float(cell) * factor if cell and cell.strip() else None


def _time(cells: Mapping[str, str]) -> datetime:
    time = datetime.fromisoformat(cells["time"].strip())
    if time.tzinfo is None:
        raise ValueError(f"time={cells['time']!r}, expected an offset such as +01:00 or Z")
    return time.astimezone(UTC)


def _placed(
    day: date, values: list[tuple[int, float]], market: Market, place: str
) -> Iterator[tuple[datetime, float]]:
    hours = market.hours_of(day)
    named = {hour for hour, _ in values}
    if min(named) < 0 or max(named) >= max(24, len(hours)):
        raise PriceSourceError(f"price file {place}, day {day}: hour {max(named)}, expected 0 to 23")
    in_order = max(named) == len(hours) - 1 or len(hours) == 24
    for hour, price in values:
        if in_order:
            yield hours[hour], price
        else:
            for start in hours:
                if start.astimezone(market.zone).hour == hour:
                    yield start, price
