"""Collecting the journal into a real SQLite store: nothing lost or duplicated, in any order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.journals import NODES, MemoryJournal, minutes, round_line
from tsobs_pipelines.tailnet import collection, completeness
from tsobs_pipelines.tailnet.collection import Collector, days_to_heal
from tsobs_pipelines.tailnet.completeness import IncompleteDayError
from tsobs_pipelines.timeseries.schema import COLLECTIONS, CONNECTIONS, Row
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

DAY = date(2026, 11, 20)
START = datetime(2026, 11, 20, tzinfo=UTC)
WHERE = {"tailnet": "default"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TimeSeriesStore]:
    opened = SqlStore(f"sqlite:///{tmp_path / 'store.db'}")
    yield opened
    opened.close()


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def collector(journal: MemoryJournal, store: TimeSeriesStore) -> Collector:
    return Collector(journal, store, NODES, "default")


def rows_of(store: TimeSeriesStore, day: date = DAY) -> list[Row]:
    return store.read(CONNECTIONS, Window.of_day(day), WHERE)


def test_a_day_collected_ten_times_is_the_same_day(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START, 30))
    collector.collect_day(DAY)
    once = rows_of(store)
    assert len(once) == 90
    for _ in range(9):
        collector.collect_day(DAY)
    assert rows_of(store) == once


@pytest.mark.parametrize("step", [1, 5, 7, 60])
def test_collected_in_steps_it_equals_the_whole(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore, step: int
) -> None:
    times = minutes(START - timedelta(minutes=20), 140)
    journal.take([at for at in times if at < START])
    todays = [at for at in times if at >= START]
    for place in range(0, len(todays), step):
        journal.take(todays[place : place + step])
        collector.collect_new(DAY)
    in_steps = rows_of(store)
    collector.collect_day(DAY)
    assert in_steps == rows_of(store)
    assert len(in_steps) == 3 * len(todays)
    assert in_steps[0]["tx_delta"] == 60  # measured from the last round of the day before


def test_a_tick_reads_only_what_is_new(collector: Collector, journal: MemoryJournal) -> None:
    journal.take(minutes(START, 300))
    collector.collect_new(DAY)
    journal.take(minutes(START + timedelta(minutes=300), 5))
    journal.reads.clear()
    report = collector.collect_new(DAY)
    assert (report.mode, report.rows_written, report.rounds) == ("incremental", 15, 305)
    assert journal.reads == [(DAY, START + timedelta(minutes=299 - 15))]


def test_nothing_new_writes_nothing(collector: Collector, journal: MemoryJournal) -> None:
    journal.take(minutes(START, 3))
    collector.collect_new(DAY)
    report = collector.collect_new(DAY)
    assert (report.mode, report.rows_written, report.rounds, report.last_round) == ("incremental", 0, 3, None)


def test_odd_lines_are_skipped_and_counted(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START, 2))
    late = round_line(START + timedelta(minutes=5))
    journal.append(b'{"v":1,"at":"2026-11-20T00:0\n', late.replace(b'"v":1', b'"v":9'), late, day=DAY)
    journal.append(b"x" * (20 << 20) + b"\n", b'{"v":1,"at":"2026-11', day=DAY)
    report = collector.collect_day(DAY)
    assert report.rounds == 3
    assert sum(report.skipped.values()) == 4
    assert report.skipped["too-long"] == report.skipped["version"] == 1
    assert len(rows_of(store)) == 9


def test_a_line_that_is_none_hides_no_round(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START + timedelta(minutes=60), 3))
    journal.append(b'{"v":1,"at":"20\n', b"\0\0\n", b"x" * (5 << 20) + b"\n", day=DAY)
    collector.collect_day(DAY)
    journal.take(minutes(START + timedelta(minutes=63), 1))
    assert collector.collect_new(DAY).mode == "incremental"
    journal.take(minutes(START, 1))  # the clock was set back: its time is not later than the last
    tomorrow = START + timedelta(days=1, hours=1)
    assert list(days_to_heal(journal.samples_index(), store, "default", DAY, tomorrow)) == [DAY]
    assert collector.collect_new(DAY).mode == "full"
    assert len(rows_of(store)) == 15


def test_a_clock_that_jumped_back_loses_nothing(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START + timedelta(minutes=60), 5))
    collector.collect_new(DAY)
    journal.take(minutes(START + timedelta(minutes=30), 5))
    report = collector.collect_new(DAY)
    assert report.mode == "full"
    assert len(rows_of(store)) == 30


def test_a_day_that_left_the_journal_keeps_its_rows(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START, 3))
    collector.collect_day(DAY)
    journal.days.clear()
    collector.collect_day(DAY)
    assert len(rows_of(store)) == 9


def test_two_collections_at_once_leave_each_row_once(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START, 200))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: collector.collect_day(DAY), range(6)))
    assert len(rows_of(store)) == 600


class TestHealing:
    NOW = START + timedelta(days=1, hours=3)

    def test_a_day_never_collected_is_asked_for(self, journal: MemoryJournal, store: TimeSeriesStore) -> None:
        journal.take(minutes(START, 3))
        assert days_to_heal(journal.samples_index(), store, "default", DAY, self.NOW) == {
            DAY: "never collected"
        }

    def test_a_whole_day_is_left_alone(
        self, collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
    ) -> None:
        journal.take(minutes(START, 3))
        journal.append(b"torn", day=DAY)
        collector.collect_day(DAY)
        assert days_to_heal(journal.samples_index(), store, "default", DAY, self.NOW) == {}

    def test_lines_that_came_later_are_noticed(
        self, collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
    ) -> None:
        journal.take(minutes(START, 3))
        collector.collect_day(DAY)
        journal.take(minutes(START + timedelta(hours=23), 2))
        reasons = days_to_heal(journal.samples_index(), store, "default", DAY, self.NOW)
        assert reasons == {DAY: "2 journal lines were not collected"}

    def test_today_is_left_to_the_ticks(
        self, collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
    ) -> None:
        journal.take(minutes(START, 3))
        collector.collect_day(DAY)
        journal.take(minutes(START + timedelta(minutes=3), 5))
        assert (
            days_to_heal(journal.samples_index(), store, "default", DAY, START + timedelta(minutes=8)) == {}
        )

    def test_rows_that_left_the_store_are_noticed(
        self, collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
    ) -> None:
        journal.take(minutes(START, 10))
        collector.collect_day(DAY)
        store.delete(CONNECTIONS, Window(START, START + timedelta(minutes=4)), WHERE)
        reasons = days_to_heal(journal.samples_index(), store, "default", DAY, self.NOW)
        assert reasons == {DAY: "4 rounds are gone from the store"}

    def test_a_crash_before_the_account_was_written_is_noticed(
        self, collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
    ) -> None:
        journal.take(minutes(START, 10))
        collector.collect_day(DAY)
        store.delete(COLLECTIONS, Window.of_day(DAY), WHERE)
        assert list(days_to_heal(journal.samples_index(), store, "default", DAY, self.NOW)) == [DAY]

    def test_days_before_the_first_partition_are_nobodys(
        self, journal: MemoryJournal, store: TimeSeriesStore
    ) -> None:
        journal.take(minutes(START, 3))
        first = DAY + timedelta(days=1)
        assert days_to_heal(journal.samples_index(), store, "default", first, self.NOW) == {}


HTML = b"<!doctype html>\n<html>\n" + b"<p>Please sign in</p>\n" * 40


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "announced 10 lines, 0 came"),
        ([HTML], "no rounds of a journal"),
        ([line + b"\n" for line in HTML.splitlines()], "no rounds of a journal"),
        ([round_line(at) for at in minutes(START, 9)], "announced 10 lines, 9 came"),
        ([round_line(at).replace(b'"v":1', b'"v":9') for at in minutes(START, 10)], "upgrade it"),
        ([round_line(at) for at in minutes(START, 5)] * 2, "has 5 rounds, the store 10 and keeps them"),
    ],
    ids=["empty", "html", "html by line", "cut", "newer version", "fewer rounds"],
)
def test_a_day_is_replaced_only_by_what_was_announced(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore, lines: list[bytes], said: str
) -> None:
    journal.take(minutes(START, 10))
    collector.collect_day(DAY)
    whole, index = rows_of(store), dict(journal.samples_index())
    books = store.read(COLLECTIONS, Window.of_day(DAY), WHERE)
    journal.days[DAY] = lines
    journal.samples_index = lambda: index  # type: ignore[method-assign]
    with pytest.raises(IncompleteDayError, match=said):
        collector.collect_day(DAY)
    assert rows_of(store) == whole
    assert store.read(COLLECTIONS, Window.of_day(DAY), WHERE) == books


@pytest.mark.parametrize("broken", [[HTML], [round_line(START).replace(b'"v":1', b'"v":9')] * 10])
def test_a_day_that_could_not_be_read_is_healed_later(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore, broken: list[bytes]
) -> None:
    journal.take(minutes(START, 10))
    whole, index = journal.days[DAY], dict(journal.samples_index())
    journal.days[DAY] = broken
    journal.samples_index = lambda: index  # type: ignore[method-assign]
    with pytest.raises(IncompleteDayError):
        collector.collect_new(DAY)
    tomorrow = START + timedelta(days=1, hours=1)
    assert list(days_to_heal(index, store, "default", DAY, tomorrow)) == [DAY]
    journal.days[DAY] = whole
    collector.collect_day(DAY)
    assert len(rows_of(store)) == 30
    assert days_to_heal(index, store, "default", DAY, tomorrow) == {}


def test_the_newest_lines_in_an_unknown_version_fail_it_and_what_is_known_is_kept(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START, 5))
    collector.collect_new(DAY)
    journal.append(*(round_line(at).replace(b'"v":1', b'"v":9') for at in minutes(START, 8)[5:]), day=DAY)
    with pytest.raises(IncompleteDayError, match="newest 3 lines"):
        collector.collect_new(DAY)
    assert len(rows_of(store)) == 15
    tomorrow = START + timedelta(days=1, hours=1)
    assert list(days_to_heal(journal.samples_index(), store, "default", DAY, tomorrow)) == [DAY]


def test_lines_that_an_older_version_skipped_are_collected_after_an_upgrade(
    collector: Collector,
    journal: MemoryJournal,
    store: TimeSeriesStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal.take(minutes(START, 3))
    newer = round_line(START + timedelta(minutes=3)).replace(b'"v":1', b'"v":9')
    journal.append(newer, round_line(START + timedelta(minutes=4)), day=DAY)
    collector.collect_day(DAY)
    tomorrow = START + timedelta(days=1, hours=1)
    assert days_to_heal(journal.samples_index(), store, "default", DAY, tomorrow) == {}
    monkeypatch.setattr(collection, "VERSIONS", (1, 2, 9))
    assert list(days_to_heal(journal.samples_index(), store, "default", DAY, tomorrow)) == [DAY]
    collector.collect_day(DAY)
    assert days_to_heal(journal.samples_index(), store, "default", DAY, tomorrow) == {}


@pytest.mark.parametrize("netcheck", [{}, {"RegionLatency": {}}, []])
def test_a_netcheck_that_says_nothing_costs_itself(
    collector: Collector, journal: MemoryJournal, store: TimeSeriesStore, netcheck: object
) -> None:
    journal.take(minutes(START, 2))
    odd = json.loads(round_line(START + timedelta(minutes=2))) | {"netcheck": netcheck}
    journal.append(json.dumps(odd).encode() + b"\n", day=DAY)
    report = collector.collect_day(DAY)
    assert (report.rounds, report.rows_written) == (3, 9)
    assert report.unstorable == (0 if netcheck == [] else 1)
    assert len(rows_of(store)) == 9


def test_a_name_that_no_store_takes_costs_its_own_rows(
    journal: MemoryJournal, store: TimeSeriesStore
) -> None:
    journal.take(minutes(START, 4))
    report = Collector(journal, store, (*NODES, "n" * 300), "default").collect_day(DAY)
    assert (report.rows_written, report.unstorable) == (12, 4)


def test_an_endless_day_is_cut_off(
    collector: Collector, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completeness, "MOST_ROUNDS", 50)
    journal.take(minutes(START, 60))
    with pytest.raises(IncompleteDayError, match="more than 50 rounds"):
        collector.collect_day(DAY)
