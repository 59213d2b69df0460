"""Files with ``date`` and ``hour``: a labelling is read or refused by name, and no price is shifted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsobs_pipelines.forecasting.delivery import DAY, Market, days_between
from tsobs_pipelines.forecasting.prices.csv_source import CsvPrices
from tsobs_pipelines.forecasting.prices.source import Fetched, PriceSourceError

MADRID = Market("Europe/Madrid")
ORDINARY, SPRING, AUTUMN = date(2026, 5, 12), date(2026, 3, 29), date(2026, 10, 25)

Row = tuple[date, int, float | None]


def fetch(rows: Sequence[Row], first: date, last: date | None = None, market: Market = MADRID) -> Fetched:
    """What a file of these rows has for the days."""
    lines = [f"{day},{hour},{'' if price is None else price}" for day, hour, price in rows]
    with TemporaryDirectory() as directory:
        file = Path(directory, "prices.csv")
        file.write_text("\n".join(["date,hour,price_eur_per_mwh", *lines]) + "\n")
        return CsvPrices(str(file), market).fetch(first, last or first)


def read(rows: Sequence[Row], day: date, market: Market = MADRID) -> list[str]:
    """The day's prices as ``02:00+0200 3``, in the order of time."""
    return [
        f"{point.start.astimezone(market.zone):%H:%M%z} {point.price * 1000:g}"
        for point in fetch(rows, day, market=market)
    ]


def labelled(day: date, labels: Sequence[int], prices: Sequence[float | None] | None = None) -> list[Row]:
    """Rows of one day, by default with the place in the file as price."""
    return list(
        zip([day] * len(labels), labels, prices or [float(n) for n in range(len(labels))], strict=True)
    )


def whole(day: date) -> list[str]:
    """Every hour of the day in order."""
    return [f"{h.astimezone(MADRID.zone):%H:%M%z} {n}" for n, h in enumerate(MADRID.hours_of(day))]


def test_an_autumn_day_with_its_repeated_label_has_25_hours_in_their_order() -> None:
    day = date(2025, 10, 26)
    labels = [0, 1, 2, 2, *range(3, 24)]
    assert read(labelled(day, labels), day) == whole(day)
    assert read(labelled(day, labels, [float(label) for label in labels]), day)[2:4] == [
        "02:00+0200 2",
        "02:00+0100 2",
    ]
    assert read(labelled(day, [label + 1 for label in labels]), day) == whole(day)
    assert read(list(reversed(labelled(day, labels))), day) == whole(day)


def test_an_empty_last_hour_on_the_spring_day_costs_that_hour_alone() -> None:
    found = read(labelled(SPRING, range(24), [*map(float, range(23)), None]), SPRING)
    assert found == [
        "00:00+0100 0",
        "01:00+0100 1",
        *(f"{hour:02}:00+0200 {hour}" for hour in range(3, 23)),
    ]


def test_an_empty_hour_24_leaves_the_others_where_they_are() -> None:
    rows = labelled(ORDINARY, range(1, 25), [*map(float, range(23)), None])
    assert read(rows, ORDINARY) == whole(ORDINARY)[:23]


def test_labels_of_other_days_tell_how_a_day_is_labelled() -> None:
    partial = labelled(ORDINARY, range(2, 23))
    from_1 = labelled(ORDINARY - DAY, range(1, 25))
    from_0 = labelled(ORDINARY - DAY, range(24))
    assert read([*from_1, *partial], ORDINARY)[0] == "01:00+0200 0"
    assert read([*from_0, *partial], ORDINARY)[0] == "02:00+0200 0"
    with pytest.raises(PriceSourceError, match="day 2026-05-12: hours 2 to 22 in 21 rows can be read in two"):
        read(partial, ORDINARY)


def test_a_clock_change_that_can_be_read_in_two_ways_is_refused_and_the_other_days_are_read() -> None:
    before = labelled(SPRING - DAY, range(24))
    rows = [*before, *labelled(SPRING, range(23))]
    found = fetch(rows, SPRING - DAY, SPRING)
    assert len(found) == 24
    assert [str(failure) for failure in found.failures] == [
        (
            "price file, day 2026-03-29: hours 0 to 22 in 23 rows can be read in two ways; "
            "a column time with an offset is never in doubt"
        )
    ]
    # An autumn day says which it is: 25 labels in order, or 24 by the clock with a spring day that skips one.
    counted = labelled(date(2025, 10, 26), range(25))
    assert read([*counted, *rows], SPRING) == whole(SPRING)
    skipping = labelled(date(2025, 3, 30), [0, 1, *range(3, 24)])
    assert read([*skipping, *labelled(AUTUMN, range(24))], AUTUMN)[1:5] == [
        "01:00+0200 1",
        "02:00+0200 2",
        "02:00+0100 2",
        "03:00+0100 3",
    ]


def test_one_of_two_repeated_hours_does_not_stand_for_both() -> None:
    year_before = labelled(date(2025, 10, 26), [0, 1, 2, 2, *range(3, 24)])
    found = read([*year_before, *labelled(AUTUMN, range(24))], AUTUMN)
    assert found == [line for line in whole(AUTUMN - DAY) if not line.startswith("02:00")][:2] + [
        f"{hour:02}:00+0100 {hour}" for hour in range(3, 24)
    ]


def test_days_in_a_file_that_mixes_labellings_are_read_where_they_speak_for_themselves() -> None:
    rows = [
        *labelled(ORDINARY, range(24)),
        *labelled(ORDINARY + DAY, range(1, 25)),
        *labelled(ORDINARY + 2 * DAY, range(5, 9)),
    ]
    found = fetch(rows, ORDINARY, ORDINARY + 2 * DAY)
    assert len(found) == 48
    assert [failure.first for failure in found.failures] == [ORDINARY + 2 * DAY]


def written(rows: Sequence[tuple[date, str]], first: date, last: date | None = None) -> Fetched:
    """What a file with these hour cells has for the days; the price is the place in the file."""
    lines = [f"{day},{hour},{place}" for place, (day, hour) in enumerate(rows)]
    with TemporaryDirectory() as directory:
        file = Path(directory, "prices.csv")
        file.write_text("\n".join(["date,hour,price_eur_per_mwh", *lines]) + "\n")
        return CsvPrices(str(file), MADRID).fetch(first, last or first)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([str(n) for n in range(1, 97)], "hours 1 to 96 in 96 rows are of parts of hours"),
        ([str(n) for n in range(96)], "hours 0 to 95 in 96 rows are of parts of hours"),
        ([str(n) for n in range(1, 49)], "hours 1 to 48 in 48 rows are of parts of hours"),
        ([str(n) for n in range(1, 26)], "hours 1 to 25 in 25 rows are of parts of hours"),
        ([f"{h:02}:{m:02}" for h in range(24) for m in (0, 15, 30, 45)], "hours 00:15, 00:30, 00:45, … are"),
        ([str(n / 2) for n in range(48)], "hours 0.5, 1.5, 2.5, … are of parts of hours"),
        ([f"{h}:{m}:00" for h in range(3) for m in ("00", "30")], "hours 0:30:00, 1:30:00, 2:30:00, … are"),
    ],
)
def test_a_day_whose_labels_are_of_parts_of_hours_is_refused_by_name(labels: list[str], said: str) -> None:
    rows = [(ORDINARY, label) for label in labels]
    with pytest.raises(PriceSourceError, match=f"day 2026-05-12: {said}"):
        written(rows, ORDINARY)
    hours = [(ORDINARY - DAY, str(hour)) for hour in range(24)]
    found = written([*hours, *rows], ORDINARY - DAY, ORDINARY)
    assert {MADRID.day_of(point.start) for point in found} == {ORDINARY - DAY}
    assert len(found) == 24
    assert [failure.first for failure in found.failures] == [ORDINARY]


def test_the_first_parts_of_the_newest_day_are_no_hours() -> None:
    parts = [(ORDINARY, str(n)) for n in range(1, 97)]
    newest = [(ORDINARY + DAY, str(n)) for n in range(1, 25)]
    with pytest.raises(PriceSourceError, match="may be of parts of hours, as on the day before"):
        written([*parts, *newest], ORDINARY + DAY)
    after = [(ORDINARY + 2 * DAY, str(n)) for n in range(1, 25)]
    assert len(written([*parts, *newest, *after], ORDINARY + DAY)) == 24, "the market went back to hours"


def test_an_hour_that_has_another_part_is_missing() -> None:
    rows = [(ORDINARY, str(hour)) for hour in range(24)]
    found = written([*rows[:4], (ORDINARY, "03:30"), *rows[4:]], ORDINARY)
    assert MADRID.hours_of(ORDINARY)[3] not in {point.start for point in found}
    assert len(found) == 23
    assert "line 6: hour '03:30'" in found.remarks[0]


def test_a_day_of_which_no_row_can_be_read_leaves_the_others() -> None:
    rows = [(ORDINARY, str(hour)) for hour in range(24)]
    found = written([*rows, (ORDINARY + DAY, "noon")], ORDINARY, ORDINARY + DAY)
    assert len(found) == 24
    assert not found.failures


@pytest.mark.parametrize(
    ("zone", "spring"),
    [
        ("Africa/Cairo", date(2026, 4, 24)),
        ("America/Havana", date(2026, 3, 8)),
        ("Atlantic/Azores", date(2026, 3, 29)),
        ("America/Santiago", date(2026, 9, 6)),
        ("Asia/Beirut", date(2026, 3, 29)),
    ],
)
def test_where_the_clock_skips_midnight_labels_from_1_to_23_do_not_tell_where_days_begin(
    zone: str, spring: date
) -> None:
    market = Market(zone)
    assert len(market.hours_of(spring)) == 23
    skipping = labelled(spring, range(1, 24))
    if market.hours_of(spring)[0].astimezone(market.zone).hour == 1:
        assert [point.price * 1000 for point in fetch(skipping, spring, market=market)] == pytest.approx(
            range(23)
        )
    after = spring + DAY
    with pytest.raises(PriceSourceError, match="hours 1 to 5 in 5 rows can be read in two ways"):
        fetch([*skipping, *labelled(after, range(1, 6))], after, market=market)
    for first in (0, 1):
        known = labelled(after + DAY, range(first, first + 24))
        found = fetch([*skipping, *labelled(after, range(1, 6)), *known], after, market=market)
        assert [point.start for point in found] == market.hours_of(after)[1 - first : 6 - first]


@pytest.mark.parametrize("cell", ["NULL", "n/a", "-", "", "null", "N/A", "cheap"])
def test_a_value_that_is_none_costs_its_hour(tmp_path: Path, cell: str) -> None:
    file = tmp_path / "p.csv"
    rows = [f"{ORDINARY},{hour},{cell if hour == 5 else hour}" for hour in range(24)]
    file.write_text("\n".join(["date,hour,price_eur_per_mwh", *rows]) + "\n")
    found = CsvPrices(str(file), MADRID).fetch(ORDINARY, ORDINARY)
    assert len(found) == 23
    assert MADRID.hours_of(ORDINARY)[5] not in {point.start for point in found}
    assert bool(found.remarks) == (cell == "cheap")
    if found.remarks:
        assert "line 7: price 'cheap', expected a number" in found.remarks[0]


# Whatever becomes of the rows, a price that is read is the price of its hour.

CONVENTIONS = ("clock", "clock, 24 rows", "in order")


def true_price(hour: datetime) -> float:
    """A price for each hour that no other hour has."""
    return (hour - datetime(2020, 1, 1, tzinfo=UTC)) / timedelta(hours=1)


def rows_of(day: date, first: int, convention: str, market: Market) -> list[Row]:
    """The day as a file of that convention has it."""
    hours = market.hours_of(day)
    shown = [hour.astimezone(market.zone).hour for hour in hours]
    if convention == "in order":
        labels: list[int] = list(range(len(hours)))
    else:
        labels = shown
    rows: list[Row] = [
        (day, label + first, true_price(hour)) for label, hour in zip(labels, hours, strict=True)
    ]
    if convention == "clock, 24 rows":
        given = {label: price for _, label, price in reversed(rows)}
        return [(day, label + first, given.get(label + first, 0.5)) for label in range(24)]
    return rows


@st.composite
def spoilt_files(draw: st.DrawFn) -> tuple[Market, list[Row], list[date]]:
    """A file around a clock change, labelled somehow, with rows emptied, dropped, doubled and shuffled."""
    market = Market(
        draw(
            st.sampled_from(
                [
                    "Europe/Madrid",
                    "Europe/London",
                    "Australia/Adelaide",
                    "America/New_York",
                    "Africa/Cairo",
                    "America/Havana",
                    "America/Santiago",
                ]
            )
        )
    )
    change = draw(
        st.sampled_from(
            [
                day
                for day in days_between(date(2025, 1, 1), date(2026, 12, 31))
                if len(market.hours_of(day)) != 24
            ]
        )
    )
    days = [change + DAY * step for step in range(-draw(st.integers(0, 2)), draw(st.integers(1, 3)))]
    first, convention = draw(st.sampled_from([0, 1])), draw(st.sampled_from(CONVENTIONS))
    rows = [row for day in days for row in rows_of(day, first, convention, market)]
    places = st.lists(
        st.integers(0, len(rows) - 1), max_size=draw(st.sampled_from([0, 1, 3, 30])), unique=True
    )
    empty, dropped = set(draw(places)), set(draw(places))
    kept: list[Row] = []
    for place, (day, label, price) in enumerate(rows):
        if place not in dropped:
            kept.append((day, label, None if place in empty else price))
    # One row more, as when a file is written twice; never of a repeated hour, which it would imitate.
    times = Counter((day, label) for day, label, _ in rows)
    again = [row for row in kept if times[row[:2]] == 1]
    kept += draw(st.lists(st.sampled_from(again), max_size=1)) if again else []
    in_order = st.just(kept) | st.permutations(kept).map(list)
    return market, draw(in_order), days


def is_of_the_clock(point_price: float, hour: datetime, market: Market) -> bool:
    """Whether the price is of an hour that the clock shows alike: a file of 24 rows has one for both."""
    other = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(hours=round(2 * point_price) / 2)
    return other.astimezone(market.zone).replace(tzinfo=None, fold=0) == hour.astimezone(market.zone).replace(
        tzinfo=None, fold=0
    )


@settings(max_examples=200, deadline=None)
@given(spoilt_files())
def test_no_price_is_ever_shifted(case: tuple[Market, list[Row], list[date]]) -> None:
    market, rows, days = case
    try:
        found = fetch(rows, days[0], days[-1], market) if rows else Fetched()
    except PriceSourceError:
        return  # refused, by name: see the examples above
    for point in found:
        assert is_of_the_clock(point.price * 1000, point.start, market), (point, rows)
    refused = {failure.first for failure in found.failures}
    assert refused <= set(days)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0, 1]), st.sampled_from(CONVENTIONS), st.randoms())
def test_two_years_in_any_order_of_days_are_read_whole(first: int, convention: str, chance: object) -> None:
    days = [
        *days_between(date(2025, 3, 28), date(2025, 4, 1)),
        *days_between(date(2025, 10, 24), date(2025, 10, 28)),
    ]
    chance.shuffle(days)  # type: ignore[attr-defined]
    rows = [row for day in days for row in rows_of(day, first, convention, MADRID)]
    found = fetch(rows, min(days), max(days))
    assert not found.failures
    expected = {hour for day in days for hour in MADRID.hours_of(day)}
    assert {point.start for point in found} == expected
    assert all(is_of_the_clock(point.price * 1000, point.start, MADRID) for point in found)
