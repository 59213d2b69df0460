"""Our storage classes on Dagster's SQLite files: the same content, without a new engine for each call."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    TickData,
    TickStatus,
)
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import URL, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry, Pool
from sqlalchemy.sql.compiler import SQLCompiler

from tsobs_pipelines.dagster_storage.sqlite import EventLogStorage
from tsobs_pipelines.database import close_engines, sqlite_engine


@dg.job
def empty_job() -> None:
    """Does nothing, and leaves a run."""


@contextmanager
def opened(place: Path, config: dict[str, object]) -> Iterator[dg.DagsterInstance]:
    """An instance on the files in ``place``, as ``dagster.yaml`` with this ``storage`` would open it."""
    overrides = {"storage": config, "telemetry": {"enabled": False}}
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(place), overrides=overrides)) as instance:
        yield instance


Config = Callable[[Path], dict[str, object]]


def stock(place: Path) -> dict[str, object]:
    return {"sqlite": {"base_dir": str(place / "storage")}}


def ours(place: Path) -> dict[str, object]:
    return {
        "custom": {
            "module": "tsobs_pipelines.dagster_storage.sqlite",
            "class": "SqliteStorage",
            "config": {"base_dir": str(place / "storage")},
        }
    }


def sensor_state(status: InstigatorStatus) -> InstigatorState:
    """A sensor's state; the same sensor each time."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("tsobs"), "__repository__")
    origin = RemoteInstigatorOrigin(repository_origin=repository, instigator_name="a_sensor")
    return InstigatorState(origin, InstigatorType.SENSOR, status)


def tick(instance: dg.DagsterInstance, at: float) -> InstigatorTick:
    """Record a tick of the sensor."""
    state = sensor_state(InstigatorStatus.RUNNING)
    data = TickData(
        instigator_origin_id=state.instigator_origin_id,
        instigator_name="a_sensor",
        instigator_type=InstigatorType.SENSOR,
        status=TickStatus.SKIPPED,
        timestamp=at,
        selector_id=state.selector_id,
    )
    return instance.create_tick(data)


@pytest.mark.parametrize(("writer", "reader"), [(stock, ours), (ours, stock)])
def test_both_read_what_the_other_wrote(tmp_path: Path, writer: Config, reader: Config) -> None:
    with opened(tmp_path, writer(tmp_path)) as instance:
        run = empty_job.execute_in_process(instance=instance)
        instance.add_instigator_state(sensor_state(InstigatorStatus.RUNNING))
        tick(instance, 1_000.0)
    with opened(tmp_path, reader(tmp_path)) as instance:
        assert instance.get_run_ids() == [run.run_id]
        assert len(instance.all_logs(run.run_id)) == len(run.all_events)
        state = sensor_state(InstigatorStatus.RUNNING)
        found = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
        assert found is not None
        assert found.status is InstigatorStatus.RUNNING
        instance.update_instigator_state(sensor_state(InstigatorStatus.STOPPED))
        (seen,) = instance.get_ticks(state.instigator_origin_id, state.selector_id)
        assert (seen.timestamp, seen.status) == (1_000.0, TickStatus.SKIPPED)
        instance.purge_ticks(state.instigator_origin_id, state.selector_id, before=2_000.0)
    with opened(tmp_path, writer(tmp_path)) as instance:
        found = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
        assert found is not None
        assert found.status is InstigatorStatus.STOPPED
        assert instance.get_ticks(state.instigator_origin_id, state.selector_id) == []


@contextmanager
def connections() -> Iterator[list[DBAPIConnection]]:
    """Every connection that is opened to a database while the block lasts."""
    opened: list[DBAPIConnection] = []

    def note(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        opened.append(connection)

    event.listen(Pool, "connect", note)
    try:
        yield opened
    finally:
        event.remove(Pool, "connect", note)


def test_a_tick_opens_no_file_again(tmp_path: Path) -> None:
    with opened(tmp_path, ours(tmp_path)) as instance:

        def look(at: float) -> None:
            tick(instance, at)
            instance.update_instigator_state(sensor_state(InstigatorStatus.RUNNING))
            instance.get_runs()
            instance.event_log_storage.get_maximum_record_id()

        instance.add_instigator_state(sensor_state(InstigatorStatus.RUNNING))
        look(1_000.0)
        with connections() as made:
            for at in range(5):
                look(1_001.0 + at)
    assert made == []


def test_the_storage_is_made_once_for_a_process(tmp_path: Path) -> None:
    with opened(tmp_path, ours(tmp_path)) as instance:
        run = empty_job.execute_in_process(instance=instance)
    with connections() as made, opened(tmp_path, ours(tmp_path)) as instance:
        assert instance.get_run_ids() == [run.run_id]
    assert made == []


def test_the_events_of_a_run_are_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(url: URL, timeout_s: float, pool: type[Pool]) -> Engine:
        made.append(Path(url.database or "").stem)
        return sqlite_engine(url, timeout_s, pool)

    monkeypatch.setattr("tsobs_pipelines.dagster_storage.sqlite.sqlite_engine", counted)
    with opened(tmp_path, ours(tmp_path)) as instance:
        run = empty_job.execute_in_process(instance=instance)
    assert made == [run.run_id]


def test_the_file_of_a_run_is_as_dagster_makes_it(tmp_path: Path) -> None:
    stock_log, our_log = SqliteEventLogStorage(str(tmp_path)), EventLogStorage(str(tmp_path))
    with stock_log.run_connection("stock"), our_log.run_connection("ours"):
        pass
    one, other = (content(stock_log.path_for_shard(name)) for name in ("stock", "ours"))
    assert other == one
    assert "PRAGMA journal_mode: wal" in one


def test_a_file_that_was_left_half_made_is_completed(tmp_path: Path) -> None:
    log = EventLogStorage(str(tmp_path))
    with log.run_connection("whole"):
        pass
    with closing(sqlite3.connect(log.path_for_shard("half"))) as half:
        half.execute("CREATE TABLE event_logs (id INTEGER PRIMARY KEY)")
    with closing(sqlite3.connect(log.path_for_shard("nearly"))) as nearly:
        nearly.executescript("\n".join(content(log.path_for_shard("whole"))[1:]))
        nearly.execute("DELETE FROM alembic_version")
        nearly.commit()
    for name in ("half", "nearly"):
        with log.run_connection(name) as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1


def test_writers_that_make_the_same_file_at_once_make_it_once(tmp_path: Path) -> None:
    logs = [EventLogStorage(str(tmp_path)) for _ in range(8)]

    def write(log: EventLogStorage) -> None:
        with log.run_connection("shared") as connection:
            connection.exec_driver_sql("INSERT INTO event_logs (run_id, event) VALUES ('shared', '{}')")

    with ThreadPoolExecutor(len(logs)) as pool:
        list(pool.map(write, logs))
    with logs[0].run_connection("shared") as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM event_logs").scalar() == len(logs)
        assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar() == 1


def test_what_was_compiled_for_one_file_is_compiled_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with opened(one, ours(one)) as instance:
        empty_job.execute_in_process(instance=instance)
    compiled: list[object] = []
    init = SQLCompiler.__init__

    def noted(self: SQLCompiler, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - SQLAlchemy's
        compiled.append(args[1])
        init(self, *args, **kwargs)

    with opened(two, ours(two)) as instance:
        instance.get_runs()
        monkeypatch.setattr(SQLCompiler, "__init__", noted)
        empty_job.execute_in_process(instance=instance)
    assert compiled == []


def content(path: str) -> list[str]:
    """What a SQLite file has: how it keeps its journal, then the SQL that would make it."""
    with closing(sqlite3.connect(path)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        return [f"PRAGMA journal_mode: {mode}", *connection.iterdump()]


def test_where_a_run_is_executed_its_file_stays_open_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventLogStorage, "keeps_runs_open", True)
    with opened(tmp_path, ours(tmp_path)) as instance:
        run = empty_job.execute_in_process(instance=instance)
        (kept,) = [path for path in open_files(tmp_path) if path.endswith(f"{run.run_id}.db")]
    close_engines()
    assert not open_files(tmp_path)
    assert sorted(path.name for path in Path(kept).parent.glob(f"{run.run_id}*")) == [f"{run.run_id}.db"]


def open_files(place: Path) -> list[str]:
    """The files below ``place`` that this process has open."""
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return [str(target) for link in links if (target := link.resolve()).is_relative_to(place)]


def test_a_fork_takes_no_open_file_along(tmp_path: Path) -> None:
    with opened(tmp_path, ours(tmp_path)) as instance:
        instance.get_runs()
        assert open_files(tmp_path)
        child = os.fork()
        if child == 0:
            os._exit(len(open_files(tmp_path)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert instance.get_runs() == []
