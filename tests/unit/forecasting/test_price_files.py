"""Files of prices: spans of any length, cells, OMIE's forms, growing, hostile and huge files, names."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import time
import tracemalloc
import zipfile
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fsspec import register_implementation
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.price_services import Files, serving_files
from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market, days_between
from tsobs_pipelines.forecasting.history_file import MetricsRow
from tsobs_pipelines.forecasting.model_retention import model_file
from tsobs_pipelines.forecasting.prices import csv_source
from tsobs_pipelines.forecasting.prices.csv_source import CsvPrices
from tsobs_pipelines.forecasting.prices.hours import hourly
from tsobs_pipelines.forecasting.prices.quality import judge_day
from tsobs_pipelines.forecasting.prices.source import (
    Fetched,
    PriceSourceError,
    PriceSourceSetupError,
    PriceSourceUnavailableError,
    PriceSourceUnreachableError,
)
from tsobs_pipelines.forecasting.scoring import tracked_version

MADRID, LONDON = Market("Europe/Madrid"), Market("Europe/London")
DAY_1 = date(2026, 5, 12)
HEADER = "date,hour,price_eur_per_mwh\n"


def source_of(
    text: str | bytes, directory: Path, market: Market = MADRID, name: str = "prices.csv"
) -> CsvPrices:
    (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return CsvPrices(str(directory / name), market)


def timed_file(timed: Sequence[tuple[datetime, float | str]]) -> str:
    rows = [f"{at.isoformat()},{price}\n" for at, price in timed]
    return "time,price_eur_per_mwh\n" + "".join(rows)


def instants(first: date, last: date, minutes: int, market: Market) -> list[datetime]:
    start, end = market.start_of(first), market.end_of(last)
    return [
        start + timedelta(minutes=minutes) * n for n in range((end - start) // timedelta(minutes=minutes))
    ]


# Spans.


@pytest.mark.parametrize("backwards", [False, True])
def test_hours_and_quarters_meet_at_midnight(tmp_path: Path, backwards: bool) -> None:
    before, after = date(2025, 9, 30), date(2025, 10, 1)
    spans = (15, 60) if backwards else (60, 15)
    times = [*instants(before, before, spans[0], MADRID), *instants(after, after, spans[1], MADRID)]
    source = source_of(timed_file([(at, at.minute + 1.0) for at in times]), tmp_path)
    for day, span in zip((before, after), spans, strict=True):
        found = source.fetch(day, day)
        assert judge_day(day, found, MADRID).complete
        assert {round(point.price * 1000, 6) for point in found} == ({1.0} if span == 60 else {23.5})


@pytest.mark.parametrize("minutes", [5, 10, 12, 15, 20, 30, 60])
@pytest.mark.parametrize("zone", ["Europe/London", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns"])
def test_any_span_that_divides_an_hour_is_averaged(tmp_path: Path, minutes: int, zone: str) -> None:
    market = Market(zone)
    for day in (date(2026, 3, 29), date(2026, 10, 25), DAY_1):
        times = instants(day, day, minutes, market)
        start = market.start_of(day)
        found = source_of(timed_file([(at, (at - start) / HOUR) for at in times]), tmp_path, market).fetch(
            day, day
        )
        assert judge_day(day, found, market).complete
        middle = (1 - minutes / 60) / 2
        expected = [(n + middle) / 1000 for n in range(len(market.hours_of(day)))]
        assert [point.price for point in found] == pytest.approx(expected)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["Europe/Madrid", "Asia/Kolkata", "Australia/Adelaide"]), st.data())
def test_an_hour_is_the_mean_of_all_its_parts_or_missing(zone: str, data: st.DataObject) -> None:
    market = Market(zone)
    first = data.draw(st.sampled_from([DAY_1, date(2026, 4, 4), date(2026, 10, 3), date(2026, 10, 24)]))
    minutes = data.draw(st.lists(st.sampled_from([15, 30, 60]), min_size=2, max_size=3))
    days = [first + DAY * step for step in range(len(minutes))]
    times = [at for day, span in zip(days, minutes, strict=True) for at in instants(day, day, span, market)]
    price = {at: (at - times[0]) / timedelta(minutes=1) for at in times}
    dropped = data.draw(st.sets(st.sampled_from(times), max_size=40))
    doubled = data.draw(st.lists(st.sampled_from(times), max_size=5))
    rows = data.draw(st.permutations([at for at in times if at not in dropped] + doubled))
    spans = dict(zip(days, minutes, strict=True))
    for point in hourly([(at, price[at]) for at in rows], market):
        span = spans[market.day_of(point.start)]
        parts = [point.start + timedelta(minutes=span) * n for n in range(60 // span)]
        assert point.price == pytest.approx(sum(price[part] for part in parts) / len(parts))


def test_a_slip_between_the_hours_costs_its_hour(tmp_path: Path) -> None:
    times = instants(DAY_1, DAY_1, 60, MADRID)
    times[7] += timedelta(minutes=7)
    found = source_of(timed_file([(at, 1) for at in times]), tmp_path).fetch(DAY_1, DAY_1)
    assert len(found) == 23


@pytest.mark.parametrize("minutes", [7, 25, 45, 90])
def test_a_span_that_does_not_divide_an_hour_is_named(tmp_path: Path, minutes: int) -> None:
    before = [(at, 1.0) for at in instants(DAY_1 - DAY, DAY_1 - DAY, 60, MADRID)]
    odd = [(at + timedelta(minutes=1), 1.0) for at in instants(DAY_1, DAY_1, minutes, MADRID)]
    said = f"price file, day 2026-05-12: prices every {minutes} minutes, expected a span that divides an hour"
    with pytest.raises(PriceSourceError, match=said):
        source_of(timed_file(odd), tmp_path).fetch(DAY_1, DAY_1)
    found = source_of(timed_file([*before, *odd]), tmp_path).fetch(DAY_1 - DAY, DAY_1)
    assert len(found) == 24
    assert [str(failure) for failure in found.failures] == [said]


def test_the_first_quarter_of_a_day_that_is_being_written_is_no_hour(tmp_path: Path) -> None:
    times = [*instants(DAY_1, DAY_1, 15, MADRID), MADRID.start_of(DAY_1 + DAY)]
    source = source_of(timed_file([(at, 1) for at in times]), tmp_path)
    assert source.fetch(DAY_1 + DAY, DAY_1 + DAY) == []
    assert len(source.fetch(DAY_1, DAY_1)) == 24


# Cells, lines, sizes.


def test_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    text = "fecha;date;hour;price_eur_per_mwh\nx;2026-05-12;0;1.041,5\nx;2026-05-12;1;-3,25;;\n;;;\n\n"
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert [point.price for point in found] == pytest.approx([1.0415, -0.00325])
    assert found.remarks == ()


@pytest.mark.parametrize(
    ("cell", "price"),
    [
        ("1.041,5", 1041.5),
        ("-1.041,50", -1041.5),
        (",5", 0.5),
        ("12.5", 12.5),
        ("nan", None),
        ("1,041.5", None),
        ("1.04,5", None),
        ("1,041,5", None),
    ],
)
def test_separators_of_thousands_are_left_out_and_never_guessed(
    tmp_path: Path, cell: str, price: float | None
) -> None:
    text = f"date;hour;price_eur_per_mwh\n2026-05-12;0;{cell}\n2026-05-12;1;7,5\n"
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    expected = [7.5] if price is None else [price, 7.5]
    assert [point.price * 1000 for point in found] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("delimiter", "cells", "prices"),
    [
        (";", ["98,50", "1.041,00", "1.041", "-1.200"], [98.5, 1041, 1041, -1200]),
        (";", ["98,50", "1,041"], [98.5, 1.041]),
        (";", ["0,104", "1,041"], [0.104, 1.041]),
        (";", ["98.50", "1.041", "1,041"], [98.5, 1.041, 1041]),
        ("\t", ["98.50", "1,041", "1,041.00", "1.041"], [98.5, 1041, 1041, 1.041]),
        ("\t", ["41.123", "52.250", ""], [41.123, 52.25]),
        (";", ["41,123", "52,250", "-"], [41.123, 52.25]),
        (";", ["98", "1.041"], [98, None]),
        (";", ["1.041", "1,041"], [None, None]),
        (";", ["98,50", "98.50", "1.041", "1,041"], [98.5, 98.5, None, None]),
        (";", ["98,5"] * 10 + ["98.5", "41,123"], [98.5] * 11 + [41.123]),
        (";", ["41,123"] * 20 + ["0", "98", "98.5"], [41.123] * 20 + [0, 98, 98.5]),
        (";", ["41,123"] * 3 + ["98.5"], [None] * 3 + [98.5]),
        (";", ["1.041.000", "98,5"], [None, 98.5]),
        (",", ["41.123"] * 20 + ['"98,5"'], [41.123] * 20 + [None]),
        (",", ["1.041", "98"], [1.041, 98]),
        (",", ['"98,50"', "1.041"], [None, None]),
        (",", ['"1,041"', "98.50"], [1041, 98.5]),
        (",", ['"1,041.00"', "98.50", "1.041"], [1041, 98.5, 1.041]),
        (",", ['"1,041"', "98"], [None, 98]),
    ],
)
@pytest.mark.parametrize("timed", [False, True])
def test_the_decimal_sign_is_found_from_all_cells(
    tmp_path: Path, delimiter: str, cells: list[str], prices: list[float | None], timed: bool
) -> None:
    hours = MADRID.hours_of(DAY_1)
    places = [f"{hours[n].isoformat()}" if timed else f"{DAY_1}{delimiter}{n}" for n in range(len(cells))]
    head = ["time"] if timed else ["date", "hour"]
    rows = [f"{place}{delimiter}{cell}" for place, cell in zip(places, cells, strict=True)]
    text = "\n".join([delimiter.join([*head, "price_eur_per_mwh"]), *rows, ""])
    known = {hour: price for hour, price in zip(hours, prices, strict=False) if price is not None}
    if not known:
        with pytest.raises(PriceSourceError, match="line 2: price"):
            source_of(text, tmp_path).fetch(DAY_1, DAY_1)
        return
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert {point.start: round(point.price * 1000, 6) for point in found} == known
    assert len(found.remarks) == sum(price is None for price in prices)


def test_a_number_with_two_readings_is_named(tmp_path: Path) -> None:
    text = "date;hour;price_eur_per_mwh\n2026-05-12;0;98\n2026-05-12;1;1.041\n"
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert "line 3: price '1.041', which may be 1.041 or 1041" in found.remarks[0]


def test_omie_s_thousands_follow_its_decimal_sign(tmp_path: Path) -> None:
    day = date(2024, 5, 12)
    cells = ["98,50", "1.041", *["5,5"] * 22]
    for text in (marginal(day, cells), report("12/05/2024", cells)):
        found = source_of(text, tmp_path).fetch(day, day)
        assert [point.price * 1000 for point in found][:3] == pytest.approx([98.5, 1041, 5.5])


@pytest.mark.parametrize("note", ['"a"b', '"a" ', '"a""b"c', '"x"y"z"'])
@pytest.mark.parametrize("at", [0, 3, 23])
def test_a_badly_quoted_cell_costs_its_row(tmp_path: Path, note: str, at: int) -> None:
    rows = "".join(f"2026-05-12,{hour},{hour},{note if hour == at else 'x'}\n" for hour in range(24))
    before = "".join(f"2026-05-11,{hour},{hour},x\n" for hour in range(24))
    text = HEADER.replace("\n", ",note\n") + before + rows
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert judge_day(DAY_1, found, MADRID).missing == (MADRID.hours_of(DAY_1)[at],)
    assert [f"line {26 + at}: " in remark for remark in found.remarks] == [True]


def test_a_quote_that_is_not_closed_on_its_line_refuses_the_file(tmp_path: Path) -> None:
    rows = [f"2026-05-12,{hour},{hour},x" for hour in range(24)]
    rows[3], rows[9] = '2026-05-12,3,3,"open', '2026-05-12,9,9,"x"'
    text = HEADER.replace("\n", ",note\n") + "\n".join(rows) + "\n"
    with pytest.raises(PriceSourceError, match="line 11: ',' expected after"):
        source_of(text, tmp_path).fetch(DAY_1, DAY_1)


@pytest.mark.parametrize("form", ["{:02}:00", "{}:00:00", "{}.0", " {:02} "])
@pytest.mark.parametrize("first", [0, 1])
def test_hours_written_as_clock_times_are_labels(tmp_path: Path, form: str, first: int) -> None:
    rows = "".join(f"2026-05-12,{form.format(hour + first)},{hour}\n" for hour in range(24))
    found = source_of(HEADER + rows, tmp_path).fetch(DAY_1, DAY_1)
    assert [point.start for point in found] == MADRID.hours_of(DAY_1)
    assert [point.price for point in found] == pytest.approx([hour / 1000 for hour in range(24)])


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
def test_every_line_end_is_one(tmp_path: Path, end: str) -> None:
    text = (HEADER + "".join(f"2026-05-12,{hour},{hour}\n" for hour in range(24))).replace("\n", end)
    assert len(source_of(text, tmp_path).fetch(DAY_1, DAY_1)) == 24


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("0001-01-01,3,1", "line 3: year 1, expected 1970 to 2200"),
        ("9999-12-31,3,1", "line 3: year 9999, expected 1970 to 2200"),
        ("2026-05-12,3,41,5", "line 3: 4 cells, expected 3"),
        ("2026-05-12,3", "line 3: 2 cells, expected 3"),
        ("2026-05-12,3,1_0", "line 3: price '1_0', expected a number"),
        ('2026-05-12,3,"12,5"', "line 3: price '12,5', expected a number"),
        ("2026-05-12,-1,1", "line 3: hour '-1', expected"),
        ("2026-05-12,25,1", "line 3: hour 25, expected 0 to 23 or 1 to 24"),
        ("2026-05-12,3.5,1", "line 3: hour '3.5', expected 0 to 23"),
        ("2026-05-12,03:30,1", "parts of an hour need a column time with an offset"),
        ("2026-13-45,3,1", "line 3: date '2026-13-45', expected YYYY-MM-DD"),
        ("12/05/2026,3,1", "line 3: date '12/05/2026', expected YYYY-MM-DD"),
    ],
)
def test_a_row_that_cannot_be_read_costs_itself_and_is_named(tmp_path: Path, row: str, said: str) -> None:
    found = source_of(f"{HEADER}2026-05-12,0,1\n{row}\n2026-05-12,4,1\n", tmp_path).fetch(DAY_1, DAY_1)
    assert len(found) == 2
    assert len(found.remarks) == 1
    assert said in found.remarks[0]
    assert str(tmp_path / "prices.csv") in found.remarks[0]


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-23:59"])
def test_times_at_the_ends_of_time_are_rows_that_cannot_be_read(tmp_path: Path, at: str) -> None:
    text = f"time,price_eur_per_mwh\n{at},1\n2026-05-12T00:00:00+02:00,1\n"
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert (len(found), len(found.remarks)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEADER}2026-05-12,0,1\n2026-05-12,1,{'9' * 200_000}\n", "line 3: field larger than field limit"),
        (f'{HEADER}2026-05-12,0,1\n2026-05-12,1,"12\n2026-05-12,2,1\n', "unexpected end of data"),
        ("\xff\xfedate".encode("latin-1"), "UTF-16, expected UTF-8"),
        (b"\x00" * 1000, "columns"),
        ("<!doctype html>\n<title>Log in</title>\n", "columns <!doctype html>; expected time"),
        ("x" * 1_000_000, "expected time"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(PriceSourceError) as error:
        source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert said in str(error.value)
    assert "prices.csv" in str(error.value)
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


def test_a_huge_file_is_refused_and_the_largest_allowed_one_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "prices.csv").open("wb") as file:
        file.truncate(csv_source.MAX_BYTES + 1)
    with pytest.raises(PriceSourceError, match=r"prices\.csv: more than 50 MB"):
        CsvPrices(str(tmp_path / "prices.csv"), MADRID).fetch(DAY_1, DAY_1)
    monkeypatch.setattr(csv_source, "MAX_BYTES", 2_000_000)
    packed = gzip.compress(b"date,hour" * 10_000_000, 1)
    with pytest.raises(PriceSourceError, match="more than 2 MB"):
        source_of(packed, tmp_path, name="prices.csv.gz").fetch(DAY_1, DAY_1)
    days = list(days_between(date(2020, 1, 1), date(2029, 12, 31)))
    text = HEADER + "".join(f"{day},{hour},41.5\n" for day in days for hour in range(24))
    source = source_of(text, tmp_path)
    monkeypatch.setattr(csv_source, "MAX_BYTES", 50_000_000)
    tracemalloc.start()
    source.fetch(DAY_1, DAY_1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < csv_source.MAX_BYTES + 12 * len(text), f"{peak} bytes for {len(text)}"


def test_packed_files_are_unpacked(tmp_path: Path) -> None:
    text = f"{HEADER}2026-05-12,0,1\n".encode()
    for name, data in (("p.csv.gz", gzip.compress(text)), ("p.csv.xz", lzma.compress(text))):
        assert len(source_of(data, tmp_path, name=name).fetch(DAY_1, DAY_1)) == 1
        with pytest.raises(PriceSourceUnavailableError, match="not whole"):
            source_of(data[:-9], tmp_path, name=name).fetch(DAY_1, DAY_1)


# Files that grow.


def test_a_half_written_last_row_is_not_read(tmp_path: Path) -> None:
    rows = "".join(f"2026-05-12,{hour},100\n" for hour in range(23))
    source = source_of(f"{HEADER}{rows}2026-05-12,23,12", tmp_path)
    found = source.fetch(DAY_1, DAY_1)
    assert len(found) == 23
    assert "prices.csv: the last row has no line end and is not read: the file changed at" in found.remarks[0]
    source_of(f"{HEADER}{rows}2026-05-12,23,123.45\n", tmp_path)
    assert source.fetch(DAY_1, DAY_1)[-1].price == pytest.approx(0.12345)


def test_a_last_row_without_a_line_end_is_read_once_the_file_has_come_to_rest(tmp_path: Path) -> None:
    source = source_of(f"{HEADER}2026-05-12,0,1\n2026-05-12,1,2", tmp_path)
    assert len(source.fetch(DAY_1, DAY_1)) == 1
    long_ago = time.time() - csv_source.GROWING.total_seconds() - 1
    os.utime(tmp_path / "prices.csv", (long_ago, long_ago))
    assert len(source.fetch(DAY_1, DAY_1)) == 2


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 24 * 20 + 40))
def test_a_file_cut_anywhere_has_no_wrong_price(cut: int) -> None:
    text = HEADER + "".join(f"2026-05-12,{hour},{100 + hour}.25\n" for hour in range(24))
    with TemporaryDirectory() as directory:
        try:
            found = source_of(text[:cut], Path(directory)).fetch(DAY_1, DAY_1)
        except PriceSourceError:
            found = Fetched()
    for point in found:
        assert point.price * 1000 == pytest.approx(100.25 + (point.start - MADRID.start_of(DAY_1)) / HOUR)


# OMIE.


def marginal(day: date, prices: Sequence[str], ended: bool = True) -> str:
    rows = "".join(f"{day:%Y;%m;%d};{n};9{price};{price};\n" for n, price in enumerate(prices, start=1))
    return f"MARGINALPDBC;\n{rows}" + ("*\n" if ended else "")


@pytest.mark.parametrize("day", [date(2024, 5, 12), date(2024, 3, 31), date(2024, 10, 27), DAY_1])
@pytest.mark.parametrize("comma", [",", "."])
def test_omie_hours(tmp_path: Path, day: date, comma: str) -> None:
    count = len(MADRID.hours_of(day))
    text = marginal(day, [f"{n}{comma}5" for n in range(count)])
    found = source_of(text, tmp_path, name=f"marginalpdbc_{day:%Y%m%d}.1").fetch(day, day)
    assert [point.start for point in found] == MADRID.hours_of(day)
    assert [point.price * 1000 for point in found] == pytest.approx([n + 0.5 for n in range(count)])
    portugal = CsvPrices(str(tmp_path / f"marginalpdbc_{day:%Y%m%d}.1"), Market("Europe/Lisbon"))
    assert portugal.fetch(day, day)[-1].price * 1000 == pytest.approx(float(f"9{count - 1}.5"))


@pytest.mark.parametrize("day", [DAY_1, date(2026, 3, 29), date(2026, 10, 25)])
def test_omie_quarters(tmp_path: Path, day: date) -> None:
    hours = len(MADRID.hours_of(day))
    text = marginal(day, [f"{n // 4},{n % 4}" for n in range(4 * hours)])
    found = source_of(text, tmp_path).fetch(day, day)
    assert [point.price * 1000 for point in found] == pytest.approx([n + 0.15 for n in range(hours)])
    torn = marginal(day, [f"{n // 4},{n % 4}" for n in range(24)], ended=False)
    assert len(source_of(torn, tmp_path).fetch(day, day)) == 6


def test_omie_files_of_many_days_and_both_spans_with_one_bad_row(tmp_path: Path) -> None:
    first, last = date(2025, 9, 29), date(2025, 10, 2)
    for day in days_between(first, last):
        periods = 24 if day < date(2025, 10, 1) else 96
        prices = ["cheap" if (day, n) == (first, 5) else "50" for n in range(periods)]
        (tmp_path / f"marginalpdbc_{day:%Y%m%d}.1").write_text(marginal(day, prices))
    found = CsvPrices(str(tmp_path / "marginalpdbc_*"), MADRID).fetch(first, last)
    assert len(found) == 4 * 24 - 1
    assert len(found.remarks) == 1
    assert "marginalpdbc_20250929.1, line 7" in found.remarks[0]


def test_omies_report_in_latin_1(tmp_path: Path) -> None:
    day = date(2024, 10, 27)
    values = ";".join(f"{n},25" for n in range(25))
    text = (
        "OMIE - Mercado de electricidad;Fecha Emisión :26/10/2024 - 13:34;;27/10/2024;Precio;;\n\n"
        f";{';'.join(map(str, range(1, 26)))};\n"
        f"Precio marginal en el sistema español (EUR/MWh);{values};\n"
        f"Precio marginal en el sistema portugués (EUR/MWh);{values.replace(',25', ',75')};\n"
        f"Energía total (MWh);{values};\n"
    )
    source = source_of(text.encode("latin-1"), tmp_path)
    assert [point.price * 1000 for point in source.fetch(day, day)] == pytest.approx(
        [n + 0.25 for n in range(25)]
    )
    portugal = CsvPrices(str(tmp_path / "prices.csv"), Market("Europe/Madrid", "PT"))
    assert portugal.fetch(day, day)[0].price * 1000 == pytest.approx(0.75)


def report(day: str, cells: Sequence[str], unit: str = "EUR/MWh") -> str:
    head = f"OMIE - Mercado de electricidad;Fecha Emisión :11/05/2026 - 13:34;;{day};Precio;;"
    return f"{head}\n\nPrecio marginal en el sistema español ({unit});{';'.join(cells)};\n"


@pytest.mark.parametrize("between", ["", "MARGINALPDBC;\n"])
def test_the_first_rows_of_a_torn_day_after_a_whole_one_are_quarters(tmp_path: Path, between: str) -> None:
    whole = marginal(DAY_1 - DAY, [f"{n // 4},{n % 4}" for n in range(96)])
    torn = marginal(DAY_1, [f"{n // 4},{n % 4}" for n in range(24)], ended=False)
    text = whole + torn.replace("MARGINALPDBC;\n", between)
    found = source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    assert [point.price * 1000 for point in found] == pytest.approx([n + 0.15 for n in range(6)])
    assert len(source_of(text, tmp_path).fetch(DAY_1 - DAY, DAY_1 - DAY)) == 24
    again = text + marginal(DAY_1, [f"{n // 4},{n % 4}" for n in range(96)])
    day = judge_day(DAY_1, source_of(again, tmp_path).fetch(DAY_1, DAY_1), MADRID)
    assert day.missing == (), "the day came again, whole"


@pytest.mark.parametrize("late", ["", "cheap"])
def test_quarters_without_a_price_do_not_make_hours_of_the_first_24(tmp_path: Path, late: str) -> None:
    prices = [f"{n // 4},{n % 4}" if n < 24 else late for n in range(96)]
    for text in (marginal(DAY_1, prices), report(f"{DAY_1:%d/%m/%Y}", prices), report("12/05/2024", prices)):
        day = date(2024, 5, 12) if "2024" in text else DAY_1
        found = source_of(text.replace("9cheap", "cheap"), tmp_path).fetch(day, day)
        assert [point.price * 1000 for point in found] == pytest.approx([n + 0.15 for n in range(6)])
        assert bool(found.remarks) == bool(late)
    hours = report("12/05/2024", [f"{n},5" for n in range(23)] + ["", "", ""])
    assert len(source_of(hours, tmp_path).fetch(date(2024, 5, 12), date(2024, 5, 12))) == 23


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (report("31/02/2026", ["5"] * 24), "line 1: day 2026-02-31, expected a year, a month and a day"),
        (report("01/02/0000", ["5"] * 24), "line 1: day 0000-02-01, expected a year"),
        (report("01/02/1900", ["5"] * 24), "line 1: year 1900, expected 1970 to 2200"),
        (report("12/05/2026", ["5"] * 24, "cts/kWh"), "line 3: unit 'cts/kWh', expected EUR/MWh or Cent/kWh"),
    ],
)
def test_a_report_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PriceSourceError, match=said):
        source_of(text, tmp_path).fetch(DAY_1, DAY_1)
    (tmp_path / "prices2.csv").write_text(marginal(DAY_1, ["5"] * 96))
    found = CsvPrices(str(tmp_path / "*.csv"), MADRID).fetch(DAY_1, DAY_1)
    assert (len(found), len(found.remarks)) == (24, 1)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2026;99999999999999999999;12;1;5;5;", "day 2026-99999999999999999999-12, expected a year"),
        (f"2026;05;12;{'9' * 5000};5;5;", "period 99999999999999999999, expected 1 to 96"),
        ("2026;05;12;97;5;5;", "period 97, expected 1 to 96"),
        ("2026;05", "2 cells, expected year;month;day;period;Portugal;Spain"),
        ("2026;05;12;7", "4 cells, expected year;month;day;period;Portugal;Spain"),
        ("2026;05;12;7;5;much;", "price 'much', expected a number"),
    ],
)
def test_an_omie_row_that_cannot_be_read_costs_itself(tmp_path: Path, row: str, said: str) -> None:
    rows = "".join(f"2026;05;12;{n};5;5;\n" for n in range(1, 97) if n != 7)
    found = source_of(f"MARGINALPDBC;\n{row}\n{rows}*\n", tmp_path).fetch(DAY_1, DAY_1)
    assert MADRID.hours_of(DAY_1)[1] not in {point.start for point in found}
    assert len(found) == 23
    assert len(found.remarks) == 1
    assert f"line 2: {said}" in found.remarks[0]


# Names and places.


@pytest.mark.parametrize(
    "place",
    [
        "precios españa 2026.csv",
        "https://host/x.csv?id=1",
        "s3://bucket/prices.csv",
        "/data/" + "x" * 240 + ".csv",
        "/data/*.1",
        "データ.csv",
        "a@b:c+d.csv",
        " .csv",
        "https://user:secret@host/",
    ],
)
def test_whatever_the_setting_accepts_is_a_legal_name_down_the_chain(place: str) -> None:
    name = CsvPrices(place, MADRID).name
    at = datetime(2026, 5, 12, tzinfo=UTC)
    row = MetricsRow(
        "prophet_price_forecast", tracked_version("9.abcdef", name), at - DAY, at, {"mae": 1.0}, at
    )
    assert row.version.partition("@")[2] == name
    assert len(Path(model_file("prophet_price_forecast", name, DAY_1)).parts[1]) < 200
    assert "secret" not in name


def test_files_of_one_name_in_two_places_are_two_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {CsvPrices(place, MADRID).name for place in ("spain/prices.csv", "france/prices.csv")}
    names |= {CsvPrices(f"https://host/x.csv?id={n}", MADRID).name for n in (1, 2)}
    assert len(names) == 4
    monkeypatch.chdir(tmp_path)
    absolute = CsvPrices(str(tmp_path / "spain" / "prices.csv"), MADRID).name
    assert (
        CsvPrices("spain/prices.csv", MADRID).name
        == CsvPrices("./spain/../spain/prices.csv", MADRID).name
        == absolute
    )
    (tmp_path / "newest.csv").symlink_to("2026.csv")
    before = CsvPrices("newest.csv", MADRID).name
    (tmp_path / "newest.csv").unlink()
    (tmp_path / "newest.csv").symlink_to("2027.csv")
    assert CsvPrices(f"file://{tmp_path}/newest.csv", MADRID).name == before
    with_user = CsvPrices("https://me:old@host/x.csv?id=1", MADRID).name
    assert with_user == CsvPrices("https://host/x.csv?id=1", MADRID).name
    assert CsvPrices("anywhere.csv", MADRID, name="prices").name == "csv:prices"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://bucket/x.csv", "s3fs"),
        ("nowhere://x.csv", "Protocol not known: nowhere"),
        ("https://h/x.csv", "aiohttp"),
    ],
)
def test_a_place_that_needs_a_package_names_it(
    place: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)  # the tests have it, by an extra of the package
    monkeypatch.delitem(sys.modules, "fsspec.implementations.http", raising=False)
    source = CsvPrices(place, MADRID)
    for ask in (lambda: source.fetch(DAY_1, DAY_1), lambda: source.probe(DAY_1, 1.0)):
        with pytest.raises(PriceSourceSetupError, match=said):
            ask()


class UnwellFileSystem(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A file system with errors of its own, as object stores have."""

    protocol = "unwell"

    def _open(self, path: str, *_args: object, **_kwargs: object) -> io.BytesIO:
        raise LookupError(f"no credentials for {path}, token=very-secret-token")


def test_errors_of_a_file_system_are_one_line_without_secrets() -> None:
    register_implementation("unwell", UnwellFileSystem, clobber=True)
    with pytest.raises(PriceSourceUnavailableError, match="LookupError: no credentials") as error:
        CsvPrices("unwell://bucket/x.csv?token=very-secret-token", MADRID).fetch(DAY_1, DAY_1)
    assert "very-secret-token" not in str(error.value)


# Places.


@pytest.fixture
def web() -> Iterator[Files]:
    with serving_files() as server:
        yield server


WHOLE = (HEADER + "".join(f"2026-05-12,{hour},{hour}\n" for hour in range(24))).encode()


@pytest.mark.parametrize(
    "path", ["/x.csv", "/x.csv?id=1", "/x.csv?id=*", "/precios%20espa%C3%B1a.csv?a=%26b"]
)
def test_a_file_of_a_web_server_is_read(web: Files, path: str) -> None:
    assert len(CsvPrices(web.put(path, WHOLE), MADRID).fetch(DAY_1, DAY_1)) == 24


@pytest.mark.parametrize("path", ["/x.csv.gz", "/x.csv.gz?id=1", "/x.csv?of=y.gz", "/get?file=x"])
def test_a_packed_file_of_a_web_server_is_unpacked_by_its_first_bytes(web: Files, path: str) -> None:
    for pack in (gzip.compress, lzma.compress, bz2.compress):
        place = web.put(path, pack(WHOLE))
        assert len(CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)) == 24
    # A server may also say so by Content-Encoding, and the client has unpacked it then.
    place = web.put(path, WHOLE)
    assert len(CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)) == 24


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (404, PriceSourceError, "HTTP 404: there is no such file"),
        (401, PriceSourceError, "HTTP 401: not allowed"),
        (403, PriceSourceError, "HTTP 403: not allowed"),
        (400, PriceSourceError, "HTTP 400"),
        (408, PriceSourceUnavailableError, "HTTP 408"),
        (429, PriceSourceUnavailableError, "HTTP 429"),
        (500, PriceSourceUnavailableError, "HTTP 500"),
        (503, PriceSourceUnavailableError, "HTTP 503"),
    ],
)
def test_a_web_server_s_status_tells_whether_another_try_helps(
    web: Files, status: int, error: type[PriceSourceError], said: str
) -> None:
    place = web.put("/x.csv?token=very-secret-token", b"no", status)
    with pytest.raises(PriceSourceError, match=f"^price file .*x.csv.*: {said}$") as caught:
        CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)
    assert type(caught.value) is error
    assert "very-secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://127.0.0.1:9/x.csv", "ConnectionRefusedError|Connect"),
        ("http://127.0.0.1:9/x*.csv", "ConnectionRefusedError|Connect"),
        ("ftp://no-such-host.invalid/x.csv", "gaierror"),
    ],
)
def test_no_connection_is_no_missing_file(place: str, said: str) -> None:
    with pytest.raises(PriceSourceUnreachableError, match=f"price file .*: ({said})"):
        CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)


def test_a_page_in_the_place_of_a_file_is_named(web: Files) -> None:
    for end in (b"", b"\n"):
        place = web.put("/x.csv", b"<html><body>Log in</body></html>" + end)
        with pytest.raises(PriceSourceError, match="columns <html><body>log in</body></html>; expected"):
            CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)


def test_a_cut_answer_of_a_web_server_is_tried_again(web: Files) -> None:
    place = web.put("/x.csv", WHOLE[:200], Content_Length="700")
    with pytest.raises(PriceSourceUnavailableError):
        CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)


def test_archives_that_are_absent_or_cut_off_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(PriceSourceError, match="there is no such file") as absent:
        CsvPrices(f"zip://a.csv::{tmp_path}/none.zip", MADRID).fetch(DAY_1, DAY_1)
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(PriceSourceUnavailableError, match="not whole: File is not a zip file"):
        CsvPrices(f"zip://a.csv::{tmp_path}/bad.zip", MADRID).fetch(DAY_1, DAY_1)
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.writestr("a.csv", WHOLE)
    assert len(CsvPrices(f"zip://a.csv::{tmp_path}/good.zip", MADRID).fetch(DAY_1, DAY_1)) == 24
    with pytest.raises(PriceSourceError, match="there is no such file") as member:
        CsvPrices(f"zip://b.csv::{tmp_path}/good.zip", MADRID).fetch(DAY_1, DAY_1)
    assert type(absent.value) is type(member.value) is PriceSourceError


def test_a_user_that_is_not_known_is_part_of_the_name() -> None:
    with pytest.raises(PriceSourceError, match="there is no such file"):
        CsvPrices("~nosuchuser/x.csv", MADRID).fetch(DAY_1, DAY_1)


@pytest.mark.parametrize("folder", ["q?z", "a[1]b", "50%"])
@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_only_a_star_stands_for_several_files(tmp_path: Path, folder: str, form: str) -> None:
    for name, price in ((folder, 7), ("qaz", 9), ("a1b", 9)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "p1.csv").write_text(f"{HEADER}2026-05-12,0,{price}\n2026-05-12,23,{price}\n")
    found = CsvPrices(form.format(tmp_path / folder / "p*.csv"), MADRID).fetch(DAY_1, DAY_1)
    assert {point.price * 1000 for point in found} == {7.0}


def test_the_time_of_change_is_taken_where_it_can_be_had(web: Files, tmp_path: Path) -> None:
    torn = WHOLE[:-1]
    now = datetime.now(UTC)
    old, new = (format_datetime(now - ago, usegmt=True) for ago in (2 * csv_source.GROWING, HOUR / 60))
    assert len(CsvPrices(web.put("/old.csv", torn, Last_Modified=old), MADRID).fetch(DAY_1, DAY_1)) == 24
    unknown = "when the file changed is not known"
    for place, said in (
        (web.put("/new.csv", torn, Last_Modified=new), "the file changed at 2"),
        (web.put("/none.csv", torn), unknown),
        (web.put("/odd.csv", torn, Last_Modified="yesterday"), unknown),
    ):
        found = CsvPrices(place, MADRID).fetch(DAY_1, DAY_1)
        assert len(found) == 23
        assert "the last row has no line end and is not read: " + said in found.remarks[0]
    for name, at, hours in (("old", (2026, 1, 1, 0, 0, 0), 24), ("new", now.timetuple()[:6], 23)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo("a.csv", at), torn)
        found = CsvPrices(f"zip://a.csv::{tmp_path}/{name}.zip", MADRID).fetch(DAY_1, DAY_1)
        assert (len(found), len(found.remarks)) == (hours, 24 - hours)
    os.utime(tmp_path / "new.zip", (1e9, 1e9))  # what is in an archive is not newer than that
    assert len(CsvPrices(f"zip://a.csv::{tmp_path}/new.zip", MADRID).fetch(DAY_1, DAY_1)) == 24


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PriceSourceError, match="IsADirectoryError") as error:
        CsvPrices(str(tmp_path), MADRID).fetch(DAY_1, DAY_1)
    assert not isinstance(error.value, PriceSourceUnavailableError)
    with pytest.raises(PriceSourceError) as error:
        CsvPrices("/" + "x" * 5000, MADRID).fetch(DAY_1, DAY_1)
    assert len(str(error.value)) < 600


def test_a_path_with_spaces_and_accents_is_read(tmp_path: Path) -> None:
    source = source_of(f"{HEADER}2026-05-12,0,1\n", tmp_path, name="precios españa 2026.csv")
    assert len(source.fetch(DAY_1, DAY_1)) == 1
    assert source.probe(DAY_1, 1.0).detail == f"{tmp_path}/precios españa 2026.csv can be read"
