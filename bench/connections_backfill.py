"""Thirty days of three nodes in one run (129,600 rows), to SQLite and to a real InfluxDB 2.

Each backend in a process of its own, so that its memory is its own. InfluxDB is the lab's.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import dagster as dg

from bench.harness import machine, peak_mb, table
from tests.support.lab.influx import running_influx
from tests.support.lab.runs import new_run
from tsobs_pipelines.definitions import build_defs
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.open import open_store
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

DAYS = 30
TRIALS = 5


def backfill(environment: dict[str, str], answer: Connection) -> None:
    """One run over 30 days, in process; sends rows, seconds and megabytes."""
    os.environ.update(environment)
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=DAYS), today - timedelta(days=1)
    os.environ["TSOBS_START_DATE"] = str(first)
    logging.disable(logging.WARNING)
    defs = build_defs()
    with dg.DagsterInstance.ephemeral() as instance:
        begun = time.perf_counter()
        result = defs.resolve_job_def("heal_connections").execute_in_process(
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last),
            },
        )
        seconds = time.perf_counter() - begun
    assert result.success
    answer.send((count_rows(first, last), seconds, peak_mb()))


def count_rows(first: date, last: date) -> int:
    """Rows that the store has now."""
    window = Window(Window.of_day(first).start, Window.of_day(last).end)
    return 3 * sum(open_store(load_settings()).count_times(CONNECTIONS, window).values())


def trial(environment: dict[str, str]) -> tuple[int, float, float]:
    """One backfill in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=backfill, args=(environment, theirs))
    process.start()
    found: tuple[int, float, float] = ours.recv()
    process.join()
    return found


def main() -> None:
    """Print the table; SQLite and InfluxDB in turn."""
    print(f"{machine()}\n")
    rows = []
    with new_run() as run, running_influx(run) as influx, tempfile.TemporaryDirectory() as name:
        results: dict[str, list[tuple[int, float, float]]] = {"SQLite": [], "InfluxDB 2": []}
        for number in range(TRIALS):
            state = {"TSOBS_STATE_DIR": str(Path(name) / str(number)), "DAGSTER_DISABLE_TELEMETRY": "1"}
            results["SQLite"].append(trial(state))
            results["InfluxDB 2"].append(trial(state | influx.environment))
        for backend, found in results.items():
            seconds = sorted(second for _, second, _ in found)
            peak = max(memory for _, _, memory in found)
            middle, span = seconds[TRIALS // 2], f"{seconds[0]:.1f} to {seconds[-1]:.1f}"
            rows.append((backend, found[0][0], f"{middle:.1f}", span, f"{peak:.0f}"))
    print(table(["store", "rows", "median s", "range", "peak MB"], rows))


if __name__ == "__main__":
    main()
