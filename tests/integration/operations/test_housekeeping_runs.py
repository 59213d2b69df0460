"""Old runs are deleted from Dagster's SQLite storage with all that belongs to them, and nothing else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.support import history_contract as contract
from tsobs_pipelines.dagster_storage.run_history import shard_directory
from tsobs_pipelines.defs.operations.housekeeping import sqlite_files, tidy_runs
from tsobs_pipelines.upkeep.sqlite import compact

pytestmark = pytest.mark.long


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with contract.sqlite_instance(tmp_path) as made:
        yield made


def files_of(instance: dg.DagsterInstance, run_id: str, home: Path) -> list[Path]:
    return list(home.rglob(f"*{run_id}*"))


def test_partition_status_survives(instance: dg.DagsterInstance) -> None:
    contract.check_status_survives(instance)


def test_rows_level_off(instance: dg.DagsterInstance) -> None:
    contract.check_rows_level_off(instance)


def test_orphans_go(instance: dg.DagsterInstance) -> None:
    contract.check_orphans_go(instance)


def test_looks_go(instance: dg.DagsterInstance) -> None:
    contract.check_looks_go(instance)


def test_no_file_of_a_removed_run_is_left(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    history = contract.make_history(instance)
    victim, survivor = history.superseded[0], history.recent
    for run_id in (victim, survivor):
        captured = tmp_path / "storage" / run_id / "compute_logs"
        captured.mkdir(parents=True, exist_ok=True)
        (captured / "step.out").write_text("said")
    assert len(files_of(instance, victim, tmp_path)) >= 2
    tidy_runs(instance, contract.settings(), contract.NOW)
    assert files_of(instance, victim, tmp_path) == []
    assert len(files_of(instance, survivor, tmp_path)) >= 2
    shards = shard_directory(instance)
    assert shards is not None
    assert {path.stem for path in shards.glob("?*.db")} - {"index", "runs"} == history.staying


def test_a_file_of_events_without_a_run_goes(instance: dg.DagsterInstance) -> None:
    shards = shard_directory(instance)
    assert shards is not None
    contract.make_history(instance)
    (shards / "gone.db").write_bytes(b"")
    os.utime(shards / "gone.db", (0, 0))
    tidy_runs(instance, contract.settings(), contract.NOW)
    assert not (shards / "gone.db").exists()


def test_runs_that_are_under_way_stay_however_old(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(
        contract.DEFS.resolve_job_def("summary_job"), status=dg.DagsterRunStatus.STARTED
    )
    contract.age(instance, run.run_id, contract.NOW.replace(year=2025))
    tidy_runs(instance, contract.settings(), contract.NOW)
    assert instance.get_run_ids() == [run.run_id]


def test_compacting_stops_no_writer(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsobs_pipelines.upkeep.sqlite.WORTH_BYTES", 0)
    monkeypatch.setattr("tsobs_pipelines.upkeep.sqlite.WORTH_SHARE", 0)
    contract.make_history(instance)
    tidy_runs(instance, contract.settings(), contract.NOW)
    before = contract.status(instance)
    failures: list[Exception] = []
    done: list[str] = []
    until = time.monotonic() + 3

    def work() -> None:
        try:
            while time.monotonic() < until:
                done.append(contract.run(instance, "summary_job", None, 0))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            failures.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    whats = set()
    while worker.is_alive():
        whats |= {compact(file).what for file in sqlite_files(instance, contract.settings())}
    worker.join()
    assert failures == []
    assert "compacted" in whats
    assert set(done) <= set(instance.get_run_ids())
    assert contract.status(instance) | {"latest": None} == before | {"latest": None}
