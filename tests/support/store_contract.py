"""The contract of every store: run against SQLite, Postgres and InfluxDB 2.

A class that derives from :class:`StoreContract` brings the fixture ``store``, an empty one for each test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tsobs_pipelines.timeseries.schema import (
    CONNECTIONS,
    MEASUREMENTS,
    FieldUnit,
    Identity,
    Measurement,
    Row,
    SchemaError,
    Tag,
    Value,
)
from tsobs_pipelines.timeseries.store import Aggregate, Downsampled, TimeSeriesStore, Window

START = datetime(2026, 11, 20, tzinfo=UTC)
DAY = Window.of_day(START.date())
LONG = Window(START - timedelta(days=400), START + timedelta(days=400))
MINUTE = timedelta(minutes=1)


class SampleRow(Row, frozen=True):
    """A row with each type of column."""

    place: Identity
    kind: Tag
    level: Annotated[float | None, FieldUnit("m")] = None
    count: Annotated[int | None, FieldUnit("drops")] = None
    note: Annotated[str | None, FieldUnit("text")] = None


SAMPLE = Measurement("contract_sample", SampleRow)

HOSTILE = (
    "plain",
    'a"b',
    "a'b",
    "back\\slash",
    "ends in \\",
    "\\",
    "a b",
    " ",
    "a,b=c",
    "a\nb",
    "a\r\n\tb",
    "\\n",
    "100%25",
    "%0A",
    '" or true) |> drop() //',
    "'; DROP TABLE contract_sample; --",
    "${bucket}",
    'a" AND _measurement="x',
    "España 中文 🐌",
    "\u2028\x85",
    "#comment",
    "NULL",
)

few = settings(
    max_examples=25,
    deadline=None,
    # A store is emptied by each example itself, and several classes run the same methods.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    derandomize=True,
)
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
) | st.sampled_from(HOSTILE)
numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(2**63), 2**63 - 1)
moments = st.integers(0, 86_400_000_000 - 1).map(lambda micros: START + timedelta(microseconds=micros))
rows_of_sample = st.builds(
    lambda time, place, kind, level, count, note: SAMPLE.conform(
        {"time": time, "place": place, "kind": kind, "level": level, "count": count, "note": note}
    ),
    moments,
    texts,
    texts,
    st.none() | numbers,
    integers,
    st.none() | texts,
)


def sample(
    minute: float, place: str = "a", kind: str = "direct", level: float | None = 1.0, count: int | None = 1
) -> SampleRow:
    """A row, ``minute`` minutes after the start."""
    time = START + minute * MINUTE
    return SAMPLE.conform({"time": time, "place": place, "kind": kind, "level": level, "count": count})


def in_order(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The last row of each key, in the order of time and identity."""
    by_key = {(row.time, row.place): row for row in rows}
    return [by_key[key] for key in sorted(by_key)]


class StoreContract:
    """The contract of ``TimeSeriesStore``."""

    def test_every_measurement_keeps_a_row_with_all_and_one_with_few_values(
        self, store: TimeSeriesStore
    ) -> None:
        for measurement in MEASUREMENTS:
            tags = {tag: f"some {tag}" for tag in measurement.tags}
            full: dict[str, Value] = {"time": START, **tags}
            for number, field in enumerate(measurement.fields):
                values: dict[str, Value] = {"float": number + 0.5, "int": number, "str": f"text {number}"}
                full[field.name] = values[field.type]
            first = measurement.fields[0].name
            sparse: dict[str, Value] = {"time": START + MINUTE, **tags, first: full[first]}
            store.write(measurement, [sparse, full])
            assert store.read(measurement, DAY) == [measurement.conform(full), measurement.conform(sparse)]

    def test_a_store_without_rows_answers_with_nothing(self, store: TimeSeriesStore) -> None:
        assert store.read(SAMPLE, DAY) == []
        assert store.latest(SAMPLE, DAY) == []
        assert store.count_times(SAMPLE, DAY) == {}
        assert store.downsample(SAMPLE, DAY, MINUTE, [Aggregate("level", "mean", "level")]) == []
        store.delete(SAMPLE, DAY)
        store.write(SAMPLE, [])
        store.replace(SAMPLE, DAY, [])
        assert store.read(SAMPLE, DAY) == []

    @few
    @given(written=st.lists(rows_of_sample, max_size=12))
    def test_what_is_written_is_read(self, store: TimeSeriesStore, written: list[SampleRow]) -> None:
        store.delete(SAMPLE, LONG)
        store.write(SAMPLE, written)
        assert store.read(SAMPLE, DAY) == in_order(written)

    @few
    @given(old=st.lists(rows_of_sample, max_size=8), new=st.lists(rows_of_sample, max_size=8))
    def test_a_replacement_leaves_the_new_rows_alone(
        self, store: TimeSeriesStore, old: list[SampleRow], new: list[SampleRow]
    ) -> None:
        store.delete(SAMPLE, LONG)
        store.write(SAMPLE, old)
        store.replace(SAMPLE, DAY, new)
        assert store.read(SAMPLE, DAY) == in_order(new)

    @pytest.mark.parametrize("text", HOSTILE)
    def test_a_hostile_tag_finds_and_removes_its_own_rows_only(
        self, store: TimeSeriesStore, text: str
    ) -> None:
        mine, other = sample(0, place=text, kind=text), sample(0, place="other")
        store.write(SAMPLE, [mine, other])
        assert store.read(SAMPLE, DAY, {"place": text, "kind": text}) == [mine]
        assert store.latest(SAMPLE, DAY, {"place": text}) == [mine]
        assert store.count_times(SAMPLE, DAY, {"kind": text}) == {START.date(): 1}
        count = [Aggregate("level", "count", "n")]
        assert store.downsample(SAMPLE, DAY, MINUTE, count, {"place": text}) == [Downsampled(START, {"n": 1})]
        changed = sample(0, place=text, kind="changed")
        store.write(SAMPLE, [changed])
        assert store.read(SAMPLE, DAY, {"place": text}) == [changed]
        store.delete(SAMPLE, DAY, {"place": text})
        assert store.read(SAMPLE, DAY) == [other]

    def test_a_changed_tag_leaves_one_row(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(minute, kind="direct") for minute in range(5)])
        store.write(SAMPLE, [sample(2, kind="relay"), sample(3, kind="relay")])
        kinds = [row["kind"] for row in store.read(SAMPLE, DAY)]
        assert kinds == ["direct", "direct", "relay", "relay", "direct"]
        assert store.count_times(SAMPLE, DAY) == {START.date(): 5}

    def test_a_row_written_again_loses_the_values_that_it_has_no_more(self, store: TimeSeriesStore) -> None:
        before = [sample(minute, level=5.0, count=7) for minute in range(4)]
        store.write(SAMPLE, before)
        after = [sample(1, level=None, count=8), sample(2, level=6.0, count=None)]
        store.write(SAMPLE, after)
        assert store.read(SAMPLE, DAY) == [before[0], *after, before[3]]
        store.replace(SAMPLE, DAY, [sample(3, level=None)])
        assert store.read(SAMPLE, DAY) == [sample(3, level=None)]

    def test_of_rows_with_the_same_key_the_last_one_stays(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(0, kind="a", count=1), sample(0, kind="b", count=2)])
        assert store.read(SAMPLE, DAY) == [sample(0, kind="b", count=2)]

    def test_ten_replacements_leave_what_one_does(self, store: TimeSeriesStore) -> None:
        rows = [
            sample(minute, place, "relay" if minute % 7 == 0 else "direct", None if minute % 5 == 0 else 0.1)
            for minute in range(200)
            for place in ("a", "b")
        ]
        for _ in range(10):
            store.replace(SAMPLE, DAY, rows)
            assert store.read(SAMPLE, DAY) == rows

    def test_a_replacement_touches_neither_the_edges_nor_other_tags(self, store: TimeSeriesStore) -> None:
        last = 24 * 60 - 1 / 60_000_000
        before, end = sample(-1 / 60_000_000), sample(24 * 60)
        first, latest, other = sample(0), sample(last), sample(5, place="b")
        store.write(SAMPLE, [before, first, latest, end, other])
        assert store.read(SAMPLE, DAY) == [first, other, latest]
        store.replace(SAMPLE, DAY, [sample(7)], {"place": "a"})
        assert store.read(SAMPLE, LONG) == [before, other, sample(7), end]
        store.replace(SAMPLE, DAY, [], {"place": "a"})
        assert store.read(SAMPLE, LONG) == [before, other, end]

    def test_a_replacement_by_a_tag_that_changes_takes_the_row_over(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(0, kind="direct"), sample(1, kind="direct"), sample(2, kind="relay")])
        store.replace(SAMPLE, DAY, [sample(0, kind="relay")], {"kind": "relay"})
        assert store.read(SAMPLE, DAY) == [sample(0, kind="relay"), sample(1, kind="direct")]

    def test_a_replacement_refuses_rows_that_it_would_not_find_again(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(0)])
        with pytest.raises(SchemaError, match="outside"):
            store.replace(SAMPLE, DAY, [sample(24 * 60)])
        with pytest.raises(SchemaError, match="place='b'"):
            store.replace(SAMPLE, DAY, [sample(1, place="b")], {"place": "a"})
        assert store.read(SAMPLE, LONG) == [sample(0)]

    def test_a_bad_row_stops_the_write_of_all(self, store: TimeSeriesStore) -> None:
        rows = [sample(minute) for minute in range(6_000)]
        with pytest.raises(SchemaError):
            store.write(SAMPLE, [*rows, structs.asdict(sample(1)) | {"count": 0.5}])
        assert store.read(SAMPLE, LONG) == []

    def test_two_replacements_at_once_leave_one_of_them(self, store: TimeSeriesStore) -> None:
        ways = [
            [sample(minute, kind="direct") for minute in range(300)],
            [sample(minute, kind="relay", level=None) for minute in range(0, 300, 2)],
        ]
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(store.replace, SAMPLE, DAY, ways[n % 2]) for n in range(12)]:
                done.result()
        assert store.read(SAMPLE, DAY) in ways

    def test_writers_of_different_rows_do_not_disturb_one_another(self, store: TimeSeriesStore) -> None:
        places = [f"place {number}" for number in range(8)]
        with ThreadPoolExecutor(8) as pool:
            for done in [
                pool.submit(store.write, SAMPLE, [sample(minute, place) for minute in range(50)])
                for place in places
            ]:
                done.result()
        assert len(store.read(SAMPLE, DAY)) == 400

    def test_whole_numbers_stay_exact_and_fields_keep_their_type(self, store: TimeSeriesStore) -> None:
        counts = [2**53 + 1, 2**63 - 1, -(2**63), 0, 5]
        store.write(SAMPLE, [sample(n, count=count, level=float(n)) for n, count in enumerate(counts)])
        store.write(SAMPLE, [structs.asdict(sample(9)) | {"level": 3, "count": 4.0}])
        rows = store.read(SAMPLE, DAY)
        assert [row["count"] for row in rows] == [*counts, 4]
        assert {type(row["count"]) for row in rows} == {int}
        assert {type(row["level"]) for row in rows} == {float}

    @few
    @given(
        values=st.lists(
            st.tuples(
                st.integers(0, 7200),
                st.sampled_from("abc"),
                st.none() | st.floats(-1e6, 1e6),
                st.integers(-1000, 2**53),
            ),
            min_size=1,
            max_size=40,
        ),
        every=st.sampled_from([1, 60, 90, 1296, 3600, 86_400]),
        start=st.integers(0, 600),
    )
    def test_downsampling_agrees_with_plain_arithmetic(
        self, store: TimeSeriesStore, values: list[tuple[int, str, float | None, int]], every: int, start: int
    ) -> None:
        store.delete(SAMPLE, LONG)
        rows = in_order([sample(second / 60, place, place, level, n) for second, place, level, n in values])
        store.write(SAMPLE, rows)
        window = Window(START + timedelta(seconds=start), START + timedelta(hours=1))
        wanted = [
            Aggregate(field, function, f"{field}_{function}")
            for field in ("level", "count")
            for function in ("min", "max", "mean", "sum", "count")
        ]
        found = store.downsample(SAMPLE, window, timedelta(seconds=every), wanted)
        expected = plain_downsample(rows, window, every)
        assert [row.time for row in found] == list(expected)
        for row in found:
            for name, value in expected[row.time].items():
                assert row[name] == (value if value is None else pytest.approx(value, rel=1e-9, abs=1e-6)), (
                    name
                )
                assert type(row[name]) is type(value), name

    def test_downsampling_refuses_what_it_can_not_mean(self, store: TimeSeriesStore) -> None:
        level = Aggregate("level", "mean", "level")
        for every in (timedelta(0), timedelta(milliseconds=1500)):
            with pytest.raises(ValueError, match="whole seconds"):
                store.downsample(SAMPLE, DAY, every, [level])
        with pytest.raises(SchemaError, match="speed"):
            store.downsample(SAMPLE, DAY, MINUTE, [Aggregate("speed", "mean", "speed")])
        with pytest.raises(SchemaError, match="note"):
            store.downsample(SAMPLE, DAY, MINUTE, [Aggregate("note", "max", "note")])
        with pytest.raises(ValueError, match="different names"):
            store.downsample(SAMPLE, DAY, MINUTE, [level, level])
        with pytest.raises(SchemaError, match="colour"):
            store.read(SAMPLE, DAY, {"colour": "red"})

    def test_the_latest_row_of_each_identity_is_whole(self, store: TimeSeriesStore) -> None:
        newest = sample(9, "a", "relay", level=None, count=3)
        store.write(
            SAMPLE,
            [sample(8, "a", level=7.0), newest, sample(3, "b"), sample(4, "b", "x"), sample(5000, "b")],
        )
        assert store.latest(SAMPLE, DAY) == [newest, sample(4, "b", "x")]
        assert store.latest(SAMPLE, DAY, {"place": "b", "kind": "direct"}) == [sample(3, "b")]
        assert store.latest(SAMPLE, Window(START, START + 4 * MINUTE)) == [sample(3, "b")]

    def test_times_are_counted_once_for_each_day(self, store: TimeSeriesStore) -> None:
        rows = [sample(minute, place) for minute in range(-3, 5) for place in ("a", "b", "c")]
        store.write(SAMPLE, [*rows, sample(2.5, "c", level=None), sample(24 * 60)])
        day = START.date()
        assert store.count_times(SAMPLE, LONG) == {
            day - timedelta(days=1): 3,
            day: 6,
            day + timedelta(days=1): 1,
        }
        assert store.count_times(SAMPLE, LONG, {"place": "a"})[day] == 6 - 1
        assert list(store.count_times(SAMPLE, LONG)) == sorted(store.count_times(SAMPLE, LONG))
        assert all(type(day) is date for day in store.count_times(SAMPLE, LONG))

    def test_a_deletion_ends_before_the_end(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(minute, place) for minute in range(4) for place in ("a", "b")])
        store.delete(SAMPLE, Window(START + MINUTE, START + 3 * MINUTE), {"place": "a"})
        left = [(row["time"], row["place"]) for row in store.read(SAMPLE, DAY)]
        kept = [(0, "a"), (0, "b"), (1, "b"), (2, "b"), (3, "a"), (3, "b")]
        assert left == [(START + minute * MINUTE, place) for minute, place in kept]

    def test_an_empty_window_has_nothing(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(0)])
        nothing = Window(START, START)
        assert store.read(SAMPLE, nothing) == []
        assert store.latest(SAMPLE, nothing) == []
        assert store.count_times(SAMPLE, nothing) == {}
        store.delete(SAMPLE, nothing)
        store.replace(SAMPLE, nothing, [])
        assert store.read(SAMPLE, DAY) == [sample(0)]

    def test_measurements_are_kept_apart(self, store: TimeSeriesStore) -> None:
        store.write(SAMPLE, [sample(0)])
        store.replace(CONNECTIONS, DAY, [])
        store.delete(CONNECTIONS, DAY)
        assert store.read(SAMPLE, DAY) == [sample(0)]

    def test_the_store_says_who_it_is(self, store: TimeSeriesStore) -> None:
        assert len(store.ping().split()) >= 2


def plain_downsample(
    rows: Sequence[SampleRow], window: Window, every: int
) -> dict[datetime, dict[str, float | int | None]]:
    """The aggregates ``<field>_<function>`` of each bucket, computed in the plainest way."""
    buckets: dict[datetime, list[SampleRow]] = {}
    for row in rows:
        time = row.time
        if window.start <= time < window.end:
            start = datetime.fromtimestamp(time.timestamp() // every * every, UTC)
            buckets.setdefault(start, []).append(row)
    result: dict[datetime, dict[str, float | int | None]] = {}
    for start, members in sorted(buckets.items()):
        result[start] = {}
        for field in ("level", "count"):
            values = [value for row in members if isinstance(value := row[field], (int, float))]
            total = math.fsum(values) if field == "level" else sum(values)
            result[start] |= {
                f"{field}_min": min(values, default=None),
                f"{field}_max": max(values, default=None),
                f"{field}_sum": total if values else None,
                f"{field}_mean": total / len(values) if values else None,
                f"{field}_count": len(values),
            }
    return result
