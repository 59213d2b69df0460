"""A backfill of 90 days by one run worker and by two: how much faster the second one makes it.

As on several machines: Redis and Postgres (the lab's) between them, the rows in Postgres as well, the journal
from a sidecar that this program plays (288 rounds a day of 3 nodes, 77,760 rows in all). The backfill is
asked for as the UI does it and becomes nine runs; the time is that from the first run's creation to the last
one's end. One and two take turns, each on databases of its own. All of it shares this machine's cores.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import Meter, machine, meter, table
from tests.support.daemon_turns import CONNECTIONS, Daemon, daemon
from tests.support.engine_workers import workers
from tests.support.growing_sidecar import GrowingSidecar
from tests.support.lab.databases import Postgres, Redis, running_postgres, running_redis
from tests.support.lab.runs import new_run
from tests.support.running import children, eventually
from tests.support.sidecars import served
from tsobs_pipelines.defs.common.partitions import DAYS_A_RUN

DAYS, ROUNDS_A_DAY = 90, 288
QUEUE = "backfills"
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
WITHIN_S = 900


@dataclass(frozen=True)
class Servers:
    """What the workers share."""

    redis: Redis
    postgres: Postgres
    sidecar: GrowingSidecar


@contextlib.contextmanager
def servers() -> Iterator[Servers]:
    """All of them at work."""
    sidecar = GrowingSidecar()
    for age in range(DAYS, 0, -1):
        start = TODAY - timedelta(days=age)
        sidecar.take(start + timedelta(minutes=5 * number) for number in range(ROUNDS_A_DAY))
    with new_run() as run, running_redis(run) as redis, running_postgres(run) as postgres, served(sidecar):
        yield Servers(redis, postgres, sidecar)


def trial(shared: Servers, count: int, number: int) -> tuple[float, float]:
    """Seconds that so many workers took, and the CPU seconds that they used."""
    settings = {
        "TSOBS_BROKER_URL": shared.redis.url,
        "TSOBS_DAGSTER_DATABASE_URL": shared.postgres.new_database(f"dagster_{number}"),
        "TSOBS_DATABASE_URL": shared.postgres.new_database(f"rows_{number}"),
        "TSOBS_SIDECAR_URL": shared.sidecar.url,
        "TSOBS_START_DATE": f"{TODAY - timedelta(days=DAYS):%Y-%m-%d}",
    }
    with (
        tempfile.TemporaryDirectory() as directory,
        meter(f"workers-{number}") as measured,
        workers(Path(directory) / "var", **settings) as engine,
        daemon(engine.instance) as turns,
    ):
        measured.join()
        started = [engine.start(QUEUE) for _ in range(count)]
        Meter(measured.group.parent).join()
        try:
            eventually(lambda: all(children(each.pid) for each in started), 120, "the workers are ready")
            time.sleep(2)
            before = measured.seconds()
            seconds = backfill(turns)
            return seconds, measured.seconds() - before
        finally:
            end(started, measured)


def backfill(turns: Daemon) -> float:
    """Ask for the backfill and wait for its end; the seconds from its first run to its last one's end."""
    days = [f"{TODAY - timedelta(days=age):%Y-%m-%d}" for age in range(DAYS, 0, -1)]
    asked = turns.request(CONNECTIONS, days)
    wanted = DAYS // DAYS_A_RUN

    def launched() -> bool:
        turns.turn()
        return len(turns.runs_of(asked)) == wanted

    eventually(launched, 60, "all runs are launched")
    eventually(lambda: all(run.is_finished for run in turns.runs_of(asked)), WITHIN_S, "all runs have ended")
    records = [turns.instance.get_run_record_by_id(run.run_id) for run in turns.runs_of(asked)]
    found = [record for record in records if record is not None]
    assert all(record.dagster_run.is_success for record in found)
    begun = min(record.create_timestamp.timestamp() for record in found)
    return max(record.end_time or 0.0 for record in found) - begun


def end(started: list[subprocess.Popen[bytes]], measured: Meter) -> None:
    """Kill the workers, which have nothing to do any more, so that their group can go."""
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    eventually(lambda: not (measured.group / "cgroup.procs").read_text(), 20, "the workers have ended")


def main() -> None:
    """Take turns and print the ratio of each pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    print(machine())
    rows, ratios = [], []
    with servers() as shared:
        for pair in range(pairs):
            # First one worker, then two, and the other way round the next time.
            order = (1, 2) if pair % 2 == 0 else (2, 1)
            found = {count: trial(shared, count, 2 * pair + at) for at, count in enumerate(order)}
            ratios.append(found[1][0] / found[2][0])
            rows.append(
                (
                    pair + 1,
                    *(f"{found[count][0]:.1f} ({found[count][1]:.1f})" for count in (1, 2)),
                    f"{ratios[-1]:.2f}",
                    f"{os.getloadavg()[0]:.1f}",
                )
            )
            print(" | ".join(map(str, rows[-1])), flush=True)
    print(table(("pair", "one worker: s (CPU-s)", "two workers: s (CPU-s)", "ratio", "load"), rows))
    print(f"\nmedian ratio {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
