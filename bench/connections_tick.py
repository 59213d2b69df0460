"""One tick of a full day: what collecting costs, for 3 and 200 nodes, with and without dead ones.

Beside it the work as the request describes it: the job pings each node in turn, five times a second apart; a
dead node takes five time-outs of two seconds. That part needs no measurement of code but of the clock, and is
taken on the demo tailnet's own text pings only where every node answers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import machine, peak_mb, table, timed
from tests.journals import NODES, MemoryJournal, round_line
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.timeseries.sql import SqlStore

START = datetime(2026, 11, 20, tzinfo=UTC)
ROUNDS = 1440
NEW = 5
PINGS = 5
PAUSE_S = 1.0
TIMEOUT_S = 2.0


def one_tick(directory: Path, nodes: Sequence[str], dead: Sequence[str] = ()) -> tuple[float, float]:
    """Median wall and CPU of collecting five new rounds onto a day that is almost full."""
    journal = MemoryJournal()
    alive = [node for node in nodes if node not in dead]
    times = [START + timedelta(minutes=minute) for minute in range(ROUNDS)]
    journal.append(*(round_line(at, nodes=alive) for at in times[: ROUNDS - 6 * NEW]), day=START.date())
    store = SqlStore(f"sqlite:///{directory / f'{len(nodes)}-{len(dead)}.db'}")
    collector = Collector(journal, store, nodes, "default")
    collector.collect_day(START.date())
    coming = iter(times[ROUNDS - 6 * NEW :])

    def tick() -> None:
        journal.append(*(round_line(next(coming), nodes=alive) for _ in range(NEW)), day=START.date())
        report = collector.collect_new(START.date())
        assert (report.mode, report.rows_written) == ("incremental", NEW * len(nodes))

    return timed(tick)


def full_day(directory: Path, nodes: Sequence[str]) -> tuple[float, float]:
    """Median wall and CPU of collecting a whole day again."""
    journal = MemoryJournal()
    times = [START + timedelta(minutes=minute) for minute in range(ROUNDS)]
    journal.append(*(round_line(at, nodes=nodes) for at in times), day=START.date())
    store = SqlStore(f"sqlite:///{directory / f'full-{len(nodes)}.db'}")
    collector = Collector(journal, store, nodes, "default")
    return timed(lambda: collector.collect_day(START.date()), times=3)


def main() -> None:
    """Print the table."""
    print(f"{machine()}\n")
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        three = one_tick(directory, NODES)
        rows.append(("5 new rounds, 3 nodes", f"{three[0]:.3f}", f"{three[1]:.3f}"))
        dead = one_tick(directory, NODES, dead=NODES[:1])
        rows.append(("the same, 1 of 3 nodes dead", f"{dead[0]:.3f}", f"{dead[1]:.3f}"))
        naive = 2 * PINGS * PAUSE_S + PINGS * TIMEOUT_S
        rows.append(("as requested: ping in the job, 1 of 3 dead (by its own time-outs)", f"{naive:.1f}", ""))
        day = full_day(directory, NODES)
        rows.append(("a whole day again, 3 nodes", f"{day[0]:.2f}", f"{day[1]:.2f}"))
        many = tuple(f"node-{number}" for number in range(200))
        large = one_tick(directory, many)
        rows.append(("5 new rounds, 200 nodes", f"{large[0]:.2f}", f"{large[1]:.2f}"))
    print(table(["work", "wall s", "CPU s"], rows))
    print(f"\npeak memory of all of it, the 200-node journal included: {peak_mb():.0f} MB")


if __name__ == "__main__":
    main()
