"""A run worker with its folder broker: runs are executed, ended by a person, and survive their worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import children, eventually
from tests.engine_workers import Workers, workers

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
