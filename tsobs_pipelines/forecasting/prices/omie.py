"""OMIE's own files: Spain's and Portugal's market operator publishes each day in two formats.

``marginalpdbc_YYYYMMDD.1`` has a row ``year;month;day;period;Portugal;Spain;`` for each period between
``MARGINALPDBC;`` and ``*``; several may be put together. The report ``INT_PBC_EV_H_…`` has a row for each
quantity with a column for each period, and decimal commas. Periods are counted from 1 in order, from
midnight in Madrid: 23, 24 or 25 hours, since October 2025 92, 96 or 100 quarter-hours. Prices are in
EUR/MWh, in reports before 2007 in Cent/kWh.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import TextIO, TypeAlias

from tsobs_pipelines.forecasting.delivery import HOUR, Market
from tsobs_pipelines.forecasting.prices.csv_rows import YEARS, number
from tsobs_pipelines.forecasting.prices.source import MWH_PER_KWH

MADRID = Market("Europe/Madrid")
QUARTERS_FROM = date(2025, 10, 1)
MOST_HOURS = 25

Remark: TypeAlias = Callable[[str, int, object], None]
Periods: TypeAlias = dict[int, list[float | None]]
"""Prices in EUR/kWh by period, each once for each time that it was given."""

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
    days: dict[date, Periods] = {}
    ended = False
    for line, row in enumerate(text, start=2):
        cells = [cell.strip() for cell in row.split(";")]
        ended = ended or cells[0] == "*"
        if cells[0] in {"", "*", "MARGINALPDBC"}:
            continue
        try:
            day, period = _day(*(int(cell) for cell in cells[:3])), int(cells[3])
            price = number(cells[4 if portugal else 5], decimal_comma=True)
            _add(days.setdefault(day, {}), day, period, None if price is None else price * MWH_PER_KWH)
        except (ValueError, IndexError, TypeError) as error:
            remark(where, line, error)
    for day, periods in days.items():
        yield from _placed(day, periods, where, remark, whole=ended)


def _report(
    first: str, text: Iterable[str], where: str, remark: Remark, *, portugal: bool
) -> Iterator[tuple[datetime, float]]:
    dates = _DATE.findall(first)
    if not dates:
        remark(where, 1, "no date, expected an OMIE report of a day")
        return
    day = _day(*(int(part) for part in reversed(dates[-1])))
    wanted = "portugu" if portugal else "espa"
    for line, row in enumerate(text, start=2):
        cells = [cell.strip() for cell in row.rstrip("\r\n").split(";")]
        kind = _REPORT_ROW.fullmatch(cells[0])
        if kind is None or not (kind["country"] or "espa").startswith(wanted):
            continue
        periods: Periods = {}
        while cells and not cells[-1]:
            cells.pop()
        for period, cell in enumerate(cells[1:], start=1):
            try:
                price = number(cell, decimal_comma=True)
                _add(periods, day, period, None if price is None else price * _UNITS[kind["unit"]])
            except (ValueError, KeyError) as error:
                remark(where, line, error)
        yield from _placed(day, periods, where, remark, whole=True)


def _day(year: int, month: int, day: int) -> date:
    if year not in YEARS:
        raise ValueError(f"year {year}, expected {YEARS[0]} to {YEARS[-1]}")
    return date(year, month, day)


def _add(periods: Periods, day: date, period: int, price: float | None) -> None:
    most = 4 * len(MADRID.hours_of(day))
    if not 1 <= period <= most:
        raise ValueError(f"period {period}, expected 1 to {most}")
    periods.setdefault(period, []).append(price)


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
