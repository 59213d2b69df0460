"""Ninety days in fast motion: disk and row growth, UI response times, and partition status.

Dagster's real SQLite storage as ``make up`` lays it out, the project's own definitions, the demo tailnet, and
the project's own housekeeping at each simulated night. Each day has ``--real`` runs of the 5-minute job that
are really executed in this process; the rest of the 288 are **copies** of the day's real runs, row by row and
file by file, with ids and times of their own, because 26,000 real runs take hours. One run a day fails. The
storage's times are set to the simulated day after each run: Dagster itself knows only the real clock.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from bench.harness import machine, table

CYCLES = 288
KEEP_HOUSE_AT = timedelta(days=1, hours=3, minutes=40)
EVENT_TABLES = ("event_logs", "asset_check_executions", "asset_event_tags")
RUN_TABLES = ("runs", "run_tags")


@dataclass(frozen=True)
class Sample:
    """What one simulated night found, after housekeeping."""

    day: int
    rows: dict[str, int]
    files: int
    dagster_mb: float
    sql_mb: float
    runs_ms: float
    asset_ms: float
    house_s: float
    partitions: int


def main() -> int:
    """Simulate, print a table, and fail when something grew, slowed down or was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--real", type=int, default=2, help="runs a day that are really executed")
    parser.add_argument("--place", type=Path, help="where the state goes (default: the temporary directory)")
    arguments = parser.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        first = datetime.now(UTC).date() - timedelta(days=arguments.days - 1)
        os.environ |= {
            "TSOBS_STATE_DIR": f"{place}/var",
            "TSOBS_MODELS_DIR": f"{place}/models",
            "TSOBS_START_DATE": str(first),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        }
        samples = list(simulate(first, arguments.days, arguments.real))
    return report(samples, arguments.days, arguments.real)


def simulate(first: date, days: int, real: int) -> Iterator[Sample]:
    """Day after day; a sample at each night."""
    import dagster as dg  # noqa: PLC0415 - after the environment

    from tsobs_pipelines.dagster_storage.configuration import write_home  # noqa: PLC0415
    from tsobs_pipelines.dagster_storage.initialise import initialise_instance  # noqa: PLC0415
    from tsobs_pipelines.definitions import build_defs  # noqa: PLC0415
    from tsobs_pipelines.settings import load_settings  # noqa: PLC0415
    from tsobs_pipelines.state_directory import prepare_state  # noqa: PLC0415
    from tsobs_pipelines.timeseries.open import open_store  # noqa: PLC0415

    settings = load_settings()
    prepare_state(settings, first)
    write_home(settings)
    initialise_instance(settings)
    store = open_store(settings)
    job = build_defs(settings).resolve_job_def("collect_connections")
    storage = settings.state_dir / "dagster" / "storage"
    with dg.DagsterInstance.get() as instance:
        from tsobs_pipelines.defs.operations.housekeeping import keep_house  # noqa: PLC0415

        for number in range(days):
            day = first + timedelta(days=number)
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            begun = [midnight + timedelta(minutes=5 * cycle) for cycle in range(CYCLES)]
            originals = [
                job.execute_in_process(
                    instance=instance, partition_key=str(day), tags={"tsobs/scheduled_at": str(begun[-1])}
                ).run_id
                for _ in range(real)
            ]
            with Copier(storage) as copier:
                for at, run_id in zip(begun, originals, strict=False):
                    copier.set_time(run_id, at)
                for cycle, at in enumerate(begun[real:]):
                    copier.copy(originals[cycle % real], at, failed=cycle == CYCLES // 2)
                # What is really executed is the newest of its day, as the last tick is.
            house = time.perf_counter()
            _, failures = keep_house(instance, settings, lambda: store, midnight + KEEP_HOUSE_AT)
            assert not failures, failures
            yield look(instance, number + 1, storage, time.perf_counter() - house)


class Copier:
    """Copies runs in Dagster's SQLite files, as if they had been executed again at another time."""

    def __init__(self, storage: Path) -> None:
        self._shards = storage / "history" / "runs"
        self._runs = sqlite3.connect(storage / "history" / "runs.db", isolation_level=None)
        self._index = sqlite3.connect(self._shards / "index.db", isolation_level=None)

    def __enter__(self) -> Copier:
        for connection in (self._runs, self._index):
            connection.execute("BEGIN IMMEDIATE")
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._runs, self._index):
            connection.execute("COMMIT")
            connection.close()

    def set_time(self, run_id: str, at: datetime) -> None:
        """Let a run have been at that time."""
        text = f"{at:%Y-%m-%d %H:%M:%S}.000000"
        self._runs.execute(
            "UPDATE runs SET create_timestamp = ?, update_timestamp = ?, start_time = ?, end_time = ?"
            " WHERE run_id = ?",
            (text, text, at.timestamp(), at.timestamp() + 1, run_id),
        )
        self._index.execute("UPDATE event_logs SET timestamp = ? WHERE run_id = ?", (text, run_id))

    def copy(self, original: str, at: datetime, *, failed: bool) -> None:
        """Write the rows and the file of a run once more."""
        run_id = str(uuid.uuid4())

        def replaced(value: object) -> object:
            return value.replace(original, run_id) if isinstance(value, str) else value

        for connection, name in (
            *((self._runs, name) for name in RUN_TABLES),
            (self._index, "asset_check_executions"),
        ):
            self._again(connection, name, original, replaced)
        events = self._index.execute(
            "SELECT * FROM event_logs WHERE run_id = ? ORDER BY id", (original,)
        ).fetchall()
        for event in events:
            values = [replaced(value) for value in event[1:]]
            marks = ", ".join("?" * len(values))
            number = self._index.execute(f"INSERT INTO event_logs VALUES (NULL, {marks})", values).lastrowid  # noqa: S608
            self._index.execute(
                "INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)"
                " SELECT ?, asset_key, key, value, event_timestamp FROM asset_event_tags WHERE event_id = ?",
                (number, event[0]),
            )
        self.set_time(run_id, at)
        if failed:
            self._runs.execute("UPDATE runs SET status = 'FAILURE' WHERE run_id = ?", (run_id,))
        shutil.copyfile(self._shards / f"{original}.db", self._shards / f"{run_id}.db")

    @staticmethod
    def _again(
        connection: sqlite3.Connection, name: str, original: str, replaced: Callable[[object], object]
    ) -> None:
        for row in connection.execute(f"SELECT * FROM {name} WHERE run_id = ?", (original,)).fetchall():  # noqa: S608
            values = [replaced(value) for value in row[1:]]
            connection.execute(f"INSERT INTO {name} VALUES (NULL, {', '.join('?' * len(values))})", values)  # noqa: S608


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        yield connection


def look(instance: object, day: int, storage: Path, house_s: float) -> Sample:
    """Count, weigh, and ask what the UI asks."""
    import dagster as dg  # noqa: PLC0415

    from tsobs_pipelines.upkeep.disk import sizes  # noqa: PLC0415

    assert isinstance(instance, dg.DagsterInstance)
    asset = dg.AssetKey("connection_metrics")
    checks = [dg.AssetCheckKey(asset, name) for name in ("latency_within_limit", "journal_is_fresh")]

    def runs_page() -> object:
        return instance.get_run_records(limit=25), instance.get_runs_count()

    def asset_page() -> object:
        return (
            instance.get_materialized_partitions(asset),
            instance.fetch_materializations(asset, limit=100).records,
            instance.event_log_storage.get_latest_asset_check_execution_by_key(checks),
        )

    rows = {}
    for path, names in (
        (storage / "history" / "runs.db", RUN_TABLES),
        (storage / "history" / "runs" / "index.db", EVENT_TABLES),
    ):
        with _opened(path) as connection:
            for name in names:
                rows[name] = connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]  # noqa: S608
    state = storage.parents[1]
    found = sizes({"dagster": storage, "sql": state / "tsobs.db"})
    return Sample(
        day,
        rows,
        found["dagster"][1],
        found["dagster"][0] / 1e6,
        found["sql"][0] / 1e6,
        _median_ms(runs_page),
        _median_ms(asset_page),
        house_s,
        len(instance.get_materialized_partitions(asset)),
    )


def _median_ms(work: Callable[[], object]) -> float:
    work()
    spans = []
    for _ in range(7):
        begun = time.perf_counter()
        work()
        spans.append((time.perf_counter() - begun) * 1000)
    return statistics.median(spans)


def report(samples: Sequence[Sample], days: int, real: int) -> int:
    """The table, and whether everything levelled off."""
    print(
        f"{len(samples)} of {days} days, {CYCLES} runs each, {real} of them executed and the others copied\n"
    )
    shown = [one for one in samples if one.day in {1, 2, 4, 7, 8, 9, 14, 31, 32, 45, 60, 75, len(samples)}]
    header = [
        "day",
        "runs",
        "events",
        "check rows",
        "files",
        "Dagster MB",
        "SQL MB",
        "runs page ms",
        "asset page ms",
        "house s",
        "partitions",
    ]
    cells = [
        [
            one.day,
            one.rows["runs"],
            one.rows["event_logs"],
            one.rows["asset_check_executions"],
            one.files,
            f"{one.dagster_mb:.0f}",
            f"{one.sql_mb:.1f}",
            f"{one.runs_ms:.1f}",
            f"{one.asset_ms:.1f}",
            f"{one.house_s:.1f}",
            one.partitions,
        ]
        for one in shown
    ]
    print(table(header, cells))
    third = max(1, len(samples) // 3)
    middle, last = samples[third : 2 * third], samples[2 * third :]
    growth = {
        "Dagster MB a day, last third": (last[-1].dagster_mb - last[0].dagster_mb) / max(1, len(last) - 1),
        "runs page, last third / middle third": _of(last, "runs_ms") / _of(middle, "runs_ms"),
        "asset page, last third / middle third": _of(last, "asset_ms") / _of(middle, "asset_ms"),
    }
    for name, value in growth.items():
        print(f"{name}: {value:.2f}")
    lost = [one.day for one in samples if one.partitions != one.day]
    print(f"nights on which a partition's status was missing: {lost or 'none'}")
    return 1 if lost else 0


def _of(samples: Sequence[Sample], name: str) -> float:
    return float(statistics.median(getattr(one, name) for one in samples))


if __name__ == "__main__":
    raise SystemExit(main())
