"""A run worker with its folder broker: runs are executed, ended by a person, and survive their worker."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.monitoring import run_monitoring

from tests.support.engine_workers import Workers, workers
from tests.support.running import children, eventually
from tsobs_pipelines.engine.launcher import RunLauncher
from tsobs_pipelines.engine.queues import TASK_TAG
from tsobs_pipelines.engine.starting import look_at_starting_runs

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Workers]:
    with workers(tmp_path / "var") as started:
        yield started


def ended(engine: Workers, run_id: str, seconds: float = 60) -> str:
    eventually(lambda: engine.status(run_id) in ENDED, seconds, "the run has ended")
    return engine.status(run_id)


def started(engine: Workers, job: str, seconds: float = 120) -> str:
    run_id = engine.launch(job, seconds=seconds)
    eventually(lambda: engine.status(run_id) == "STARTED", 60, "the run has started")
    return run_id


def test_a_terminated_run_ends_as_cancelled_and_its_process_goes_on(engine: Workers) -> None:
    worker = engine.start("ticks")
    run_id = started(engine, "sleeping_job")
    pool = children(worker.pid)
    assert engine.instance.run_launcher.terminate(run_id)
    assert ended(engine, run_id, 10) == "CANCELED"
    assert ended(engine, engine.launch("no_op_job")) == "SUCCESS"
    assert children(worker.pid) == pool
    assert not engine.instance.run_launcher.terminate(run_id), "it has ended already"


def test_a_run_that_was_declared_dead_stops_working(engine: Workers) -> None:
    engine.start("ticks")
    run_id = started(engine, "sleeping_job")
    run = engine.instance.get_run_by_id(run_id)
    assert run is not None
    engine.instance.report_run_failed(run, "somebody thinks so")
    assert ended(engine, engine.launch("no_op_job"), 15) == "SUCCESS", "the worker is free again"
    assert engine.status(run_id) == "FAILURE"


def test_a_pool_process_that_has_grown_gives_way_to_a_small_one(engine: Workers) -> None:
    worker = engine.start("backfills")
    assert ended(engine, engine.launch("no_op_job", "backfills")) == "SUCCESS"
    small = children(worker.pid)
    assert ended(engine, engine.launch("no_op_job", "backfills")) == "SUCCESS"
    assert children(worker.pid) == small
    assert ended(engine, engine.launch("large_job", "backfills")) == "SUCCESS"
    eventually(lambda: children(worker.pid) not in ([], small), 20, "another process has taken its place")
    assert ended(engine, engine.launch("no_op_job", "backfills")) == "SUCCESS"


def test_pool_processes_that_are_killed_at_rest_cost_nothing(engine: Workers) -> None:
    worker = engine.start("ticks")
    assert ended(engine, engine.launch("no_op_job")) == "SUCCESS"
    for _ in range(2):
        (idle,) = children(worker.pid)
        os.kill(idle, signal.SIGKILL)
        eventually(lambda dead=idle: children(worker.pid) not in ([], [dead]), 20, "another takes its place")  # type: ignore[misc]
        assert ended(engine, engine.launch("no_op_job")) == "SUCCESS"


def test_a_run_that_is_done_and_does_not_look_like_it_is_done(engine: Workers) -> None:
    engine.start("ticks")
    run_id = engine.launch("no_op_job")
    assert ended(engine, run_id) == "SUCCESS"
    as_if_started(engine, run_id)
    assert health(engine, run_id) == WorkerStatus.SUCCESS
    assert engine.status(run_id) == "SUCCESS"


def test_a_run_that_is_done_is_done_although_its_machine_is_gone(
    engine: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.start("ticks")
    run_id = engine.launch("no_op_job")
    assert ended(engine, run_id) == "SUCCESS"
    as_if_started(engine, run_id)
    started_there = {"hostname": "ticks-1f0c9a2b@gone"}
    launcher(engine).celery.backend.store_result(task_of(engine, run_id), started_there, "STARTED")
    monkeypatch.setattr("tsobs_pipelines.engine.launcher.SILENT_FOR_S", 0.0)
    assert health(engine, run_id) == WorkerStatus.SUCCESS
    assert engine.status(run_id) == "SUCCESS"


def test_a_run_whose_task_ended_without_it_is_dead(engine: Workers) -> None:
    run_id = engine.launch("no_op_job")
    as_if_started(engine, run_id)
    launcher(engine).celery.backend.mark_as_done(task_of(engine, run_id), 1)
    assert health(engine, run_id) == WorkerStatus.FAILED


def test_run_monitoring_ends_a_run_whose_process_died_before_it_had_started(
    engine: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_monitoring, "monitor_starting_run", run_monitoring.monitor_starting_run)
    look_at_starting_runs()
    run_id = engine.launch("no_op_job")
    with WorkspaceProcessContext(engine.instance, EmptyWorkspaceTarget()) as context:

        def look() -> str:
            list(run_monitoring.execute_run_monitoring_iteration(context, logging.getLogger("monitoring")))
            return engine.status(run_id)

        assert look() == "STARTING", "it waits for a worker"
        launcher(engine).celery.backend.mark_as_failure(task_of(engine, run_id), RuntimeError("died"))
        assert look() == "FAILURE"
    assert run_of(engine, run_id).tags["dagster/will_retry"] == "true"


def run_of(engine: Workers, run_id: str) -> dg.DagsterRun:
    run = engine.instance.get_run_by_id(run_id)
    assert run is not None
    return run


def as_if_started(engine: Workers, run_id: str) -> None:
    """The state of a run whose process was killed before it could say that it has ended."""
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="no_op_job")
    engine.instance.run_storage.handle_run_event(run_id, event)
    assert engine.status(run_id) == "STARTED"


def task_of(engine: Workers, run_id: str) -> str:
    return run_of(engine, run_id).tags[TASK_TAG]


def health(engine: Workers, run_id: str) -> WorkerStatus:
    return launcher(engine).check_run_worker_health(run_of(engine, run_id)).status


def launcher(engine: Workers) -> RunLauncher:
    found = engine.instance.run_launcher
    assert isinstance(found, RunLauncher)
    return found


def test_a_run_that_does_not_listen_ends_with_its_process(engine: Workers) -> None:
    worker = engine.start("ticks")
    run_id = started(engine, "stubborn_job")
    pool = children(worker.pid)
    engine.instance.run_launcher.terminate(run_id)
    assert ended(engine, run_id, 25) == "CANCELED"
    assert ended(engine, engine.launch("no_op_job")) == "SUCCESS"
    assert children(worker.pid) != pool


def test_the_next_worker_ends_the_runs_of_a_killed_one_and_does_what_it_had_taken(engine: Workers) -> None:
    first = engine.start("ticks")
    running = started(engine, "sleeping_job")
    waiting = engine.launch("no_op_job")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert engine.status(running) == "STARTED"
    engine.start("ticks")
    assert ended(engine, running) == "FAILURE"
    assert ended(engine, waiting) == "SUCCESS"
    left = [path for path in (engine.settings.state_dir / "broker" / "taken").rglob("*") if path.is_file()]
    eventually(lambda: not [path for path in left if path.exists()], 10, "no message is left over")


def test_a_living_worker_keeps_its_run_when_a_second_one_starts(engine: Workers) -> None:
    engine.start("ticks")
    run_id = started(engine, "sleeping_job", seconds=8)
    engine.start("ticks")
    assert ended(engine, engine.launch("no_op_job")) == "SUCCESS", "the second worker does it meanwhile"
    assert ended(engine, run_id) == "SUCCESS"
