"""Rows of a CSV file of prices: columns, cells, and the handling of invalid rows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from typing import TYPE_CHECKING, TextIO

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.hours import hourly
from tsobs_pipelines.forecasting.prices.labels import DayRows, highest_label, place
from tsobs_pipelines.forecasting.prices.numbers import PLAIN, NumberForm, number_form
from tsobs_pipelines.forecasting.prices.source import MWH_PER_KWH, Fetched, PriceSourceError

if TYPE_CHECKING:
    from _csv import Reader

PRICE_COLUMNS = {"price_eur_per_mwh": MWH_PER_KWH, "price_eur_per_kwh": 1.0}
_HOUR = re.compile(r"(?P<hour>\d{1,3})([.,]0+|:00(:00)?)?", re.ASCII)
_PART = re.compile(r"(?P<hour>\d{1,3})([.,]\d{1,15}|:\d\d(:\d\d([.,]\d{1,9})?)?)", re.ASCII)
YEARS = range(1970, 2201)
REMARKS_KEPT = 20


class Table:
    """The rows of all files of a source; outside of ``start`` to ``end`` only what they tell about labels."""

    def __init__(self, market: Market, start: datetime, end: datetime) -> None:
        """Nothing read yet."""
        self.market = market
        self.start, self.end = start, end
        self.timed: list[tuple[datetime, float]] = []
        self.days: dict[date, DayRows] = {}
        self.rows = 0
        """How many could be read."""
        self.remarks: list[str] = []
        self._remarked = 0

    def remark(self, where: str, line: int, text: object) -> None:
        """Note a row that could not be read."""
        self._remarked += 1
        if len(self.remarks) < REMARKS_KEPT:
            self.remarks.append(f"price file {where}, line {line}: {shortened(str(text))}")

    def fetched(self, first: date, last: date) -> Fetched:
        """The hourly prices around the days ``first`` to ``last``, and those of these days that failed.

        Raises:
            PriceSourceError: there are rows, and none could be read.
        """
        if self.remarks and not self.rows and not self.timed:
            raise PriceSourceError(self.remarks[0])
        first_near, last_near = self.market.day_of(self.start), self.market.day_of(self.end)
        placed, failures = place(
            self.days, lambda day: first_near <= day <= last_near, self.market, "price file"
        )
        remarks = list(self.remarks)
        if self._remarked > len(remarks):
            remarks.append(f"and {self._remarked - len(remarks)} more rows")
        found = hourly(chain(self.timed, placed), self.market, "price file", remarks)
        failures += [failure for failure in found.failures if failure not in failures]
        return Fetched(found, [each for each in failures if first <= each.first <= last], remarks)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the cells are."""

    price: int
    factor: float
    time: int | None
    date: int
    hour: int
    count: int


def read(data: bytes, where: str, table: Table) -> None:
    """Add the rows of a file to the table.

    Raises:
        PriceSourceError: the columns are not those documented, or the text is no CSV; names the line.
    """
    text = text_of(data)
    header = text.readline(10_000)
    delimiter = (
        ";" if ";" in header and "," not in header else "\t" if "\t" in header and "," not in header else ","
    )
    lines = csv.reader(chain([header], text), delimiter=delimiter, strict=True)
    try:
        columns = _columns(next(lines, []), where)
        form = _number_form(data, delimiter, columns)
        add = (_labelled_row if columns.time is None else _timed_row)(columns, form, table)
        for cells in _readable(lines, lambda error: table.remark(where, lines.line_num, error)):
            try:
                if len(cells) != columns.count and not _padded(cells, columns.count):
                    continue
                add(cells)
            except (ValueError, OverflowError) as error:
                if any(map(str.strip, cells)):
                    table.remark(where, lines.line_num, error)
            else:
                table.rows += 1
    except csv.Error as error:
        raise PriceSourceError(f"price file {where}, line {lines.line_num}: {error}") from None


def text_of(data: bytes) -> TextIO:
    """The text of a file. Bytes that are not UTF-8 are in a column not read, or make their row invalid."""
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", errors="replace", newline=None)


def _readable(lines: Reader, remark: Callable[[csv.Error], None]) -> Iterator[list[str]]:
    """The rows but for those that go on after a closing quote; each of these is a remark.

    Raises:
        csv.Error: no CSV, such as a quote that is not closed on its line.
    """
    while True:
        before = lines.line_num
        try:
            yield next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            if lines.line_num != before + 1 or "expected after" not in str(error):
                raise
            remark(error)


def _number_form(data: bytes, delimiter: str, columns: _Columns) -> NumberForm:
    """How the prices are written; where commas separate columns, prices have them in quotes only."""
    if delimiter == "," and b'"' not in data:
        return PLAIN
    rows = csv.reader(text_of(data), delimiter=delimiter)

    def prices() -> Iterator[str]:
        with suppress(csv.Error):  # to be named where the rows are read
            yield from (row[columns.price] for row in rows if len(row) > columns.price)

    return number_form(prices(), decimal_comma=delimiter != ",")


def _columns(names: Sequence[str], where: str) -> _Columns:
    names = [name.strip().lower() for name in names]
    at = {name: place for place, name in reversed(list(enumerate(names)))}
    prices = [name for name in PRICE_COLUMNS if name in at]
    if len(prices) != 1 or not ("time" in at or {"date", "hour"} <= at.keys()):
        found = shortened(",".join(sorted(at)).strip()) or "none"
        raise PriceSourceError(
            f"price file {where}: columns {found}; expected time, or date and hour, and one of "
            f"{', '.join(PRICE_COLUMNS)}"
        )
    while names and not names[-1]:
        names.pop()
    return _Columns(
        price=at[prices[0]],
        factor=PRICE_COLUMNS[prices[0]],
        time=at.get("time"),
        date=at.get("date", 0),
        hour=at.get("hour", 0),
        count=len(names),
    )


def _padded(cells: Sequence[str], count: int) -> bool:
    """Whether a row of another length is one of ``count`` cells and empty ones after it; an empty row is not.

    Raises:
        ValueError: cells are missing, or there are more, as when a decimal comma separates.
    """
    if not any(map(str.strip, cells)):
        return False
    if len(cells) < count or any(map(str.strip, cells[count:])):
        raise ValueError(f"{len(cells)} cells, expected {count}")
    return True


def _timed_row(columns: _Columns, form: NumberForm, table: Table) -> Callable[[Sequence[str]], None]:
    place = columns.time or 0

    def add(cells: Sequence[str]) -> None:
        time = _time(cells[place])
        if table.start <= time < table.end and (price := _price(cells, columns, form)) is not None:
            table.timed.append((time, price))

    return add


def _labelled_row(columns: _Columns, form: NumberForm, table: Table) -> Callable[[Sequence[str]], None]:
    highest: dict[str, tuple[DayRows, int]] = {}

    def add(cells: Sequence[str]) -> None:
        text = cells[columns.date]
        if text not in highest:
            day = _day(text)
            highest[text] = table.days.setdefault(day, DayRows()), highest_label(day, table.market)
        rows, most = highest[text]
        label = _hour_label(cells[columns.hour], most, rows)
        try:
            price = _price(cells, columns, form)
        except ValueError:
            rows.add(label, None)
            raise
        rows.add(label, price)

    return add


def _price(cells: Sequence[str], columns: _Columns, form: NumberForm) -> float | None:
    price = form.read(cells[columns.price])
    return None if price is None else price * columns.factor


def _hour_label(cell: str, most: int, rows: DayRows) -> int:
    """The label of an hour: ``7``, ``07`` or ``07:00``. One that is none is noted in the day's rows."""
    text = cell.strip()
    found = _HOUR.fullmatch(text)
    if found is None:
        if part := _PART.fullmatch(text):
            rows.parts[text] = int(part["hour"])
        raise ValueError(
            f"hour {shortened(cell)!r}, expected 0 to 23 or 1 to 24, or 00:00 to 23:00; "
            "parts of an hour need a column time with an offset"
        )
    label = int(found["hour"])
    if label > most:
        rows.beyond.add(label)
        raise ValueError(f"hour {label}, expected 0 to 23 or 1 to 24")
    return label


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"date {text!r}, expected YYYY-MM-DD") from None
    if day.year not in YEARS:
        raise ValueError(f"year {day.year}, expected {YEARS[0]} to {YEARS[-1]}")
    return day


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"time {text!r}, expected as 2026-05-12T14:00:00+02:00") from None
    if time.tzinfo is None:
        raise ValueError(f"time={text!r}, expected an offset such as +01:00 or Z")
    if time.year not in YEARS:
        raise ValueError(f"year {time.year}, expected {YEARS[0]} to {YEARS[-1]}")
    return time.astimezone(UTC)


def shortened(text: str) -> str:
    """At most 200 characters, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}…"
