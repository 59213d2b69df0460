"""OMIE's own files: Spain's and Portugal's market operator publishes each day in two formats.

``marginalpdbc_YYYYMMDD.1`` has a row ``year;month;day;period;Portugal;Spain;`` for each period between
``MARGINALPDBC;`` and ``*``; several may be put together. The report ``INT_PBC_EV_H_…`` has a row for each
quantity with a column for each period, and decimal commas. Periods are counted from 1 in order, from
midnight in Madrid: 23, 24 or 25 hours, since October 2025 92, 96 or 100 quarter-hours. Prices are in
EUR/MWh, in reports before 2007 in Cent/kWh.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TextIO, TypeAlias

from tsobs_pipelines.forecasting.delivery import HOUR, Market
from tsobs_pipelines.forecasting.prices.csv_rows import YEARS
from tsobs_pipelines.forecasting.prices.numbers import NumberForm, number_form
from tsobs_pipelines.forecasting.prices.source import MWH_PER_KWH

MADRID = Market("Europe/Madrid")
QUARTERS_FROM = date(2025, 10, 1)
MOST_HOURS = 25

Remark: TypeAlias = Callable[[str, int, object], None]
Periods: TypeAlias = dict[int, list[float | None]]
"""Prices in EUR/kWh by period, each once for each time that it was given."""

_EXPECTED = "expected year;month;day;period;Portugal;Spain"
_REPORT_ROW = re.compile(
    r"Precio marginal (?:en el sistema (?P<country>espa.ol|portugu.s) )?\((?P<unit>[^)]*)\)"
)
_UNITS = {"EUR/MWh": MWH_PER_KWH, "Cent/kWh": 0.01}
_DATE = re.compile(r"(\d\d)/(\d\d)/(\d{4})")


def is_omie(data: bytes) -> bool:
    """Whether the file begins as one of OMIE's."""
    head = data[:200].removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith((b"MARGINALPDBC", b"OMIE"))


def parse(text: TextIO, market: Market, where: str, remark: Remark) -> Iterator[tuple[datetime, float]]:
    """Starts (UTC) and prices of a file, Portugal's where that is the market's country, else Spain's."""
    portugal = market.home == "PT"
    first = text.readline(10_000)
    if first.lstrip("\ufeff \t").startswith("MARGINALPDBC"):
        yield from _marginal(text, where, remark, portugal=portugal)
    else:
        yield from _report(first, text, where, remark, portugal=portugal)


def _marginal(
    text: Iterable[str], where: str, remark: Remark, *, portugal: bool
) -> Iterator[tuple[datetime, float]]:
    """The rows of a file, or of several put together, block by block: each has an end of its own."""
    days: dict[date, Periods] = {}
    rows = [[cell.strip() for cell in row.split(";")] for row in text]
    place = 4 if portugal else 5
    form = number_form((cells[place] for cells in rows if len(cells) > place), decimal_comma=True)
    for line, cells in enumerate(rows, start=2):
        if cells[0] in {"*", "MARGINALPDBC"}:
            yield from _placed_all(days, where, remark, whole=cells[0] == "*")
            days = {}
        elif any(cells):
            try:
                _add_row(days, cells, place, form)
            except ValueError as error:
                remark(where, line, error)
    yield from _placed_all(days, where, remark, whole=False)


def _add_row(days: dict[date, Periods], cells: Sequence[str], place: int, form: NumberForm) -> None:
    """Add a row; raises ``ValueError`` where something in it can't be read."""
    if len(cells) < 4:
        raise ValueError(f"{len(cells)} cells, {_EXPECTED}")
    day = _day(*cells[:3])
    price = cells[place] if place < len(cells) else ""
    _add(days.setdefault(day, {}), day, cells[3], form, price, MWH_PER_KWH)
    if place >= len(cells):
        raise ValueError(f"{len(cells)} cells, {_EXPECTED}")


def _report(
    first: str, text: Iterable[str], where: str, remark: Remark, *, portugal: bool
) -> Iterator[tuple[datetime, float]]:
    dates = _DATE.findall(first)
    try:
        if not dates:
            raise ValueError("no date, expected an OMIE report of a day")
        day = _day(*reversed(dates[-1]))
    except ValueError as error:
        remark(where, 1, error)
        return
    wanted = "portugu" if portugal else "espa"
    for line, row in enumerate(text, start=2):
        name, *cells = (cell.strip() for cell in row.rstrip("\r\n").split(";"))
        kind = _REPORT_ROW.fullmatch(name)
        if kind is None or not (kind["country"] or "espa").startswith(wanted):
            continue
        if (factor := _UNITS.get(kind["unit"])) is None:
            remark(where, line, f"unit {kind['unit']!r}, expected {' or '.join(_UNITS)}")
            continue
        form = number_form(cells, decimal_comma=True)
        periods: Periods = {}
        for period, cell in enumerate(_columns(cells, day), start=1):
            try:
                _add(periods, day, period, form, cell, factor)
            except ValueError as error:
                remark(where, line, error)
        yield from _placed(day, periods, where, remark, whole=True)


def _columns(cells: Sequence[str], day: date) -> Sequence[str]:
    """The cells without empty ones at the end, but for those of quarter-hours that have no price yet."""
    of_quarters = len(cells) >= 2 * MOST_HOURS
    least = _most_periods(day) if of_quarters else 0
    count = next((place for place in range(len(cells), 0, -1) if cells[place - 1]), 0)
    return cells[: max(count, least)]


def _day(year: str, month: str, day: str) -> date:
    try:
        found = date(int(year), int(month), int(day))
    except (ValueError, OverflowError):
        shown = "-".join(part[:20] for part in (year, month, day))
        raise ValueError(f"day {shown}, expected a year, a month and a day") from None
    if found.year not in YEARS:
        raise ValueError(f"year {found.year}, expected {YEARS[0]} to {YEARS[-1]}")
    return found


def _most_periods(day: date) -> int:
    return 4 * len(MADRID.hours_of(day))


def _add(periods: Periods, day: date, period: str | int, form: NumberForm, cell: str, factor: float) -> None:
    """Add a period's price; one that can't be read is a period without a price.

    Raises:
        ValueError: the period or the price can't be read.
    """
    most = _most_periods(day)
    if not str(period).isdecimal() or len(str(period)) > 3 or not 1 <= int(period) <= most:
        raise ValueError(f"period {str(period)[:20]}, expected 1 to {most}")
    prices = periods.setdefault(int(period), [])
    price = form.read(cell)
    prices.append(None if price is None else price * factor)


def _placed_all(
    days: Mapping[date, Periods], where: str, remark: Remark, *, whole: bool
) -> Iterator[tuple[datetime, float]]:
    for day, periods in days.items():
        yield from _placed(day, periods, where, remark, whole=whole)


def _placed(
    day: date, periods: Periods, where: str, remark: Remark, *, whole: bool
) -> Iterator[tuple[datetime, float]]:
    """Starts of the periods: hours, if there are just as many as the day has, else as on that date."""
    hours = len(MADRID.hours_of(day))
    quarters = day >= QUARTERS_FROM or (bool(periods) and max(periods) > MOST_HOURS)
    if quarters and whole and sorted(periods) == list(range(1, hours + 1)):
        quarters = False
    if not quarters and max(periods, default=0) > hours:
        remark(where, 1, f"{day}: period {max(periods)}, expected 1 to {hours}")
        return
    span = HOUR / 4 if quarters else HOUR
    start = MADRID.start_of(day).astimezone(UTC)
    for period, prices in periods.items():
        yield from ((start + span * (period - 1), price) for price in prices if price is not None)
