"""Collects a journal day into the time-series store, whole or from where the last collection ended.

Each day has a row of ``COLLECTIONS``: how many journal lines its rows account for. It is written after the
rows, so that a crash between the two is noticed: whoever holds it against the sidecar's index and the rows
in the store (:func:`days_to_heal`) sees every day that lacks something.

A collection of what is new keeps account as well: when the journal grew by more lines than new rounds came
(a torn line, a clock that jumped back), the day is collected whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice
from typing import Literal, Protocol, TypeAlias

from tsobs_pipelines.tailnet.changes import ConnectionChange, connection_changes, daemon_changes
from tsobs_pipelines.tailnet.client import DayIndex
from tsobs_pipelines.tailnet.completeness import DayLines, storable
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.journal_lines import VERSIONS
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.rows import Collected, collect, interval_of_rounds
from tsobs_pipelines.timeseries.sampling import Sampling, sampling_at
from tsobs_pipelines.timeseries.schema import (
    COLLECTIONS,
    CONNECTIONS,
    KEYS,
    NETCHECK,
    CollectionRow,
    ConnectionRow,
)
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

Mode: TypeAlias = Literal["full", "incremental"]

_DAY = timedelta(days=1)

_PACE_ROUNDS = 8
"""Rounds at the beginning of a day that show how far back the first ones have to look."""


class Journal(Protocol):
    """What is asked of the sidecar."""

    def samples_index(self) -> Mapping[date, DayIndex]:
        """How many lines and bytes each day of the journal has."""
        ...

    def samples(self, day: date, after: datetime | None = None) -> Iterable[bytes]:
        """The day's journal as chunks of bytes, empty when the sidecar has no such day."""
        ...


@dataclass(frozen=True, slots=True)
class DayCollection:
    """What one collection of one day found and wrote; the rows themselves are in the store."""

    day: date
    mode: Mode
    rounds: int
    """Rounds of the whole day that have rows now."""
    rows_written: int = 0
    netchecks_written: int = 0
    first_round: datetime | None = None
    last_round: datetime | None = None
    latest: Mapping[str, ConnectionRow] = field(default_factory=dict)
    """The newest row of each node among those written."""
    changes: Sequence[ConnectionChange] = ()
    """What changed in the rounds that were new."""
    failed_rounds: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    ambiguous: Mapping[str, Sequence[str]] = field(default_factory=dict)
    own_node: str | None = None
    unstorable: int = 0
    """Rows that the store does not take: a name that is too long, a netcheck that says nothing."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Collects the days of one tailnet's journal."""

    journal: Journal
    store: TimeSeriesStore
    nodes: Sequence[str]
    tailnet: str

    def collect_day(self, day: date) -> DayCollection:
        """Replace everything the store has of ``day`` by what the journal has.

        A day that is not in the journal any more, or not yet, is left as it is.

        Raises:
            IncompleteDayError: what came is not the whole day; the store is left as it is, and the day is
                healed later.
        """
        announced = self.journal.samples_index().get(day)
        lines = DayLines(day)
        rounds = lines.rounds(self.journal.samples(day))
        first = list(islice(rounds, _PACE_ROUNDS))
        lookback = Sampling(interval_of_rounds(first) or self._interval(day)).lookback
        context = self._context_of_day(day, lookback)
        collected = self._storable(collect(chain(first, rounds), self.nodes, self.tailnet, context, lookback))
        written, counts = _rounds_of(collected), lines.counts
        if announced is not None or counts.lines:
            where = {"tailnet": self.tailnet}
            window = Window.of_day(day)
            lines.check(announced, self.store.count_times(CONNECTIONS, window, where).get(day, 0))
            self.store.replace(CONNECTIONS, window, collected.connections, where)
            self.store.replace(NETCHECK, window, collected.netchecks, where)
            self.store.replace(KEYS, window, collected.keys, where)
            lines.check_versions()
            # What the index counted before the read: lines that it never counts, such as torn ones, would
            # hide as many that come later, and a line that came between the two is only read once more.
            told = announced.rounds if announced else counts.lines
            interval = _seconds(collected.interval or self._interval(day))
            self._account(
                day,
                _Account(told, written, counts.skipped_total, counts.duplicates, max(VERSIONS), interval),
            )
        return _report(day, "full", written, counts, collected, ())

    def collect_new(self, day: date) -> DayCollection:
        """Add the rounds of ``day`` since the last collection; the whole day if the counts do not match."""
        account = self._account_of(day)
        before = self.store.latest(CONNECTIONS, Window.of_day(day), {"tailnet": self.tailnet})
        if account is None or not before:
            return self.collect_day(day)
        last = max(row.time for row in before)
        announced = self.journal.samples_index().get(day)
        lines = DayLines(day)
        start = last - account.sampling.lookback
        found = list(lines.rounds(self.journal.samples(day, start)))
        sampling = Sampling(interval_of_rounds(found) or account.sampling.interval)
        new = [this for this in found if this.at > last]
        if len(new) < (announced.rounds if announced else 0) - account.lines:
            return self.collect_day(day)
        context = [this for this in found if this.at <= last]
        if start < Window.of_day(day).start:
            context += self._context_of_day(day, sampling.lookback)
        collected = self._storable(collect(new, self.nodes, self.tailnet, context, sampling.lookback))
        rounds = account.rounds + _rounds_of(collected)
        if new:
            self.store.write(CONNECTIONS, collected.connections)
            self.store.write(NETCHECK, collected.netchecks)
            self.store.write(KEYS, collected.keys)
            told, interval = account.lines + len(new), _seconds(sampling.interval)
            self._account(day, replace(account, lines=told, rounds=rounds, interval=interval))
        changes = [*daemon_changes(new, context), *connection_changes(collected.connections, before)]
        return _report(day, "incremental", rounds, lines.counts, collected, changes)

    def _context_of_day(self, day: date, lookback: timedelta) -> list[Round]:
        """The rounds of the day before that the first rounds of ``day`` are measured from."""
        start = Window.of_day(day).start
        before = self.journal.samples(day - _DAY, start - lookback)
        return list(read_rounds(before, JournalCounts(), day - _DAY))

    def _interval(self, day: date) -> timedelta:
        return sampling_at(self.store, self.tailnet, Window.of_day(day).end).interval

    def _storable(self, collected: Collected) -> Collected:
        """The rows that the store takes; the others are counted."""
        connections, bad = storable(CONNECTIONS, collected.connections)
        netchecks, bad_netchecks = storable(NETCHECK, collected.netchecks)
        keys, bad_keys = storable(KEYS, collected.keys)
        bad += bad_netchecks + bad_keys
        return replace(collected, connections=connections, netchecks=netchecks, keys=keys, unstorable=bad)

    def _account_of(self, day: date) -> _Account | None:
        rows = self.store.read(COLLECTIONS, Window.of_day(day), {"tailnet": self.tailnet})
        return _Account.of(rows[0]) if rows else None

    def _account(self, day: date, account: _Account) -> None:
        row = CollectionRow(Window.of_day(day).start, self.tailnet, **asdict(account))
        self.store.write(COLLECTIONS, [row])


@dataclass(frozen=True, slots=True)
class _Account:
    lines: int
    rounds: int
    skipped: int
    duplicates: int
    reader: int = 0
    """The newest version of the journal's line that was known when the lines were read."""
    interval: int = 0
    """The sampler's, in seconds; 0 where it is not known."""

    @property
    def sampling(self) -> Sampling:
        """The pace of the newest rounds, as far as it is known."""
        return Sampling.of_seconds(self.interval)

    @classmethod
    def of(cls, row: CollectionRow) -> _Account:
        return cls(
            lines=row.lines or 0,
            rounds=row.rounds or 0,
            skipped=row.skipped or 0,
            duplicates=row.duplicates or 0,
            reader=row.reader or 0,
            interval=row.interval or 0,
        )


def _seconds(interval: timedelta) -> int:
    return max(1, round(interval.total_seconds()))


def _report(
    day: date,
    mode: Mode,
    rounds: int,
    counts: JournalCounts,
    collected: Collected,
    changes: Sequence[ConnectionChange],
) -> DayCollection:
    rows = collected.connections
    return DayCollection(
        day=day,
        mode=mode,
        rounds=rounds,
        rows_written=len(rows),
        netchecks_written=len(collected.netchecks),
        first_round=rows[0].time if rows else None,
        last_round=rows[-1].time if rows else None,
        latest={row.hostname: row for row in rows},
        changes=changes,
        failed_rounds=collected.failed_rounds,
        skipped={str(reason): count for reason, count in counts.skipped.items()},
        duplicates=counts.duplicates,
        ambiguous=dict(collected.ambiguous),
        own_node=collected.own_node,
        unstorable=collected.unstorable,
    )


def _rounds_of(collected: Collected) -> int:
    return len({row.time for row in collected.connections})


def days_to_heal(
    index: Mapping[date, DayIndex], store: TimeSeriesStore, tailnet: str, first: date, now: datetime
) -> dict[date, str]:
    """The days since ``first`` of which the journal has more than the store, oldest first, each with why.

    Today and, for its first ten minutes, yesterday are left to the 5-minute collection, unless they were
    never collected or rows are gone.
    """
    wanted = {day: found.rounds for day, found in index.items() if day >= first and found.rounds}
    if not wanted:
        return {}
    window = Window(Window.of_day(min(wanted)).start, Window.of_day(max(wanted)).end)
    where = {"tailnet": tailnet}
    accounts = {row.time.date(): _Account.of(row) for row in store.read(COLLECTIONS, window, where)}
    stored = store.count_times(CONNECTIONS, window, where)
    settled = (now.astimezone(UTC) - timedelta(minutes=10)).date()
    reasons: dict[date, str] = {}
    for day, lines in sorted(wanted.items()):
        account = accounts.get(day)
        if account is None:
            reasons[day] = "never collected"
        elif stored.get(day, 0) < account.rounds:
            reasons[day] = f"{account.rounds - stored.get(day, 0)} rounds are gone from the store"
        elif account.skipped and account.reader < max(VERSIONS):
            reasons[day] = "lines were skipped that this version may read"
        elif day < settled and account.lines < lines:
            reasons[day] = f"{lines - account.lines} journal lines were not collected"
    return reasons
