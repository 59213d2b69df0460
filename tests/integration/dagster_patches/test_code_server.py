"""Runs of the code server: forks that can be terminated, and that end with it or as their last event says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget

from tests.support import run_jobs
from tests.support.forks import Family, forked, is_running
from tests.support.running import children, eventually
from tsobs_pipelines.dagster_storage.run_history import shard_directory
from tsobs_pipelines.processes.probes import accepts_connections

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass
class Served:
    """A code server of ``run_jobs.py`` that is a fork, and the instance."""

    family: Family
    socket: Path
    instance: dg.DagsterInstance

    def launch(self, job: str, seconds: float = 120, **more: str) -> str:
        """Launch a run of a job whose op takes so long; its id."""
        ops = {
            "sleeping_job": "sleep",
            "retrying_job": "sleep",
            "stubborn_job": "stubborn",
            "littering_job": "litter",
        }
        config = {"ops": {ops[job]: {"config": {"seconds": seconds, **more}}}} if job in ops else {}
        target = GrpcServerTarget("localhost", None, str(self.socket), "tests")
        with WorkspaceProcessContext(self.instance, target) as process:
            context = process.create_request_context()
            found = context.get_code_location("tests").get_repository("__repository__").get_full_job(job)
            run = self.instance.create_run_for_job(
                run_jobs.defs.resolve_job_def(job),
                run_config=config,
                remote_job_origin=found.get_remote_origin(),
                job_code_origin=found.get_python_origin(),
            )
            self.instance.launch_run(run.run_id, context)
        return run.run_id

    def started(self, job: str, seconds: float = 120, **more: str) -> str:
        run_id = self.launch(job, seconds, **more)
        begun = dg.DagsterEventType.STEP_START
        eventually(lambda: self.instance.all_logs(run_id, of_type=begun), 30, "its step has started")
        return run_id

    def status(self, run_id: str) -> str:
        return self.run(run_id).status.value

    def run(self, run_id: str) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found

    def ended(self, run_id: str, seconds: float) -> str:
        eventually(lambda: self.status(run_id) in ENDED, seconds, "the run has ended")
        return self.status(run_id)

    def is_to_be_retried(self, run_id: str) -> bool:
        return self.run(run_id).tags.get("dagster/will_retry") == "true"

    def process_of(self, run_id: str) -> int:
        said = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        (pid,) = re.findall(
            r"Started process for run \(pid: (\d+)\)", " ".join(each.message for each in said)
        )
        return int(pid)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("code")
    socket = place / "tests.sock"
    with ExitStack() as stack:
        family = stack.enter_context(forked(place, "serve_code", str(socket)))
        instance = stack.enter_context(dg.DagsterInstance.get())
        eventually(lambda: accepts_connections(str(socket)), 30, "the code server answers")
        yield Served(family, socket, instance)


@pytest.mark.parametrize("job", ["sleeping_job", "retrying_job"])
def test_a_run_is_a_fork_of_the_fork_server_and_can_be_terminated(served: Served, job: str) -> None:
    run_id = served.started(job)
    process = served.process_of(run_id)
    assert process in children(served.family.server)
    assert served.instance.run_launcher.terminate(run_id)
    assert served.ended(run_id, 5) == "CANCELED"
    eventually(lambda: not is_running(process), 10, "its process has ended")


def test_a_run_that_does_not_listen_ends_with_its_process(served: Served) -> None:
    run_id = served.started("stubborn_job")
    process = served.process_of(run_id)
    served.instance.run_launcher.terminate(run_id)
    assert is_running(process)
    assert served.ended(run_id, 30) == "CANCELED"
    eventually(lambda: not is_running(process), 10, "its process has ended")


def test_a_killed_run_is_to_be_tried_again(served: Served) -> None:
    run_id = served.started("sleeping_job")
    os.kill(served.process_of(run_id), signal.SIGKILL)
    assert served.ended(run_id, 10) == "FAILURE"
    eventually(lambda: served.is_to_be_retried(run_id), 5, "it is to be tried again")


def test_a_run_ends_with_its_code_server_and_the_next_one_says_so(served: Served) -> None:
    cancelled, failed = served.started("stubborn_job"), served.started("sleeping_job")
    processes = [served.process_of(cancelled), served.process_of(failed)]
    served.instance.report_run_canceling(served.run(cancelled))
    os.kill(served.family.first, signal.SIGKILL)
    eventually(lambda: not any(is_running(pid) for pid in processes), 5, "no run outlives its code server")
    served.family.first = served.family.next_fork()
    assert served.ended(failed, 30) == "FAILURE"
    assert served.ended(cancelled, 30) == "CANCELED"
    eventually(lambda: served.is_to_be_retried(failed), 5, "it is to be tried again")
    assert served.ended(served.launch("no_op_job"), 30) == "SUCCESS"


@pytest.mark.parametrize("ending", ["success", "failure", "exit", "kill", "terminate", "code server"])
def test_nothing_in_the_temporary_folder_outlives_the_run_that_made_it(served: Served, ending: str) -> None:
    place = Path(os.environ["TMPDIR"])
    assert place == served.socket.parent / "var" / "tmp"
    run_id = served.started(
        "littering_job", 120 if ending in {"kill", "terminate", "code server"} else 0.5, ending=ending
    )
    eventually(lambda: len(list(place.glob("*/*"))) == 2, 10, "its files are there")
    if ending == "kill":
        os.kill(served.process_of(run_id), signal.SIGKILL)
    elif ending == "terminate":
        assert served.instance.run_launcher.terminate(run_id)
    elif ending == "code server":
        os.kill(served.family.first, signal.SIGKILL)
        served.family.first = served.family.next_fork()
    served.ended(run_id, 30)
    eventually(lambda: not list(place.iterdir()), 5, "nothing is left")


def test_a_run_that_ends_leaves_its_events_in_one_file(served: Served) -> None:
    run_id = served.started("sleeping_job", 0.5)
    process = served.process_of(run_id)
    assert served.ended(run_id, 30) == "SUCCESS"
    eventually(lambda: not is_running(process), 10, "its process has ended")
    directory = shard_directory(served.instance)
    assert directory is not None
    # Write-ahead logs would be left beside it by a process that ends without closing the file.
    assert [path.name for path in directory.glob(f"{run_id}*")] == [f"{run_id}.db"]


def test_a_run_killed_between_its_last_event_and_its_status_gets_the_status(served: Served) -> None:
    run_id = served.started("sleeping_job", 1)
    assert served.status(run_id) == "STARTED"
    process = served.process_of(run_id)
    with contextlib.closing(sqlite3.connect(runs_file(served.instance), isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        # Its events go to a file of their own; its status waits for the one that is locked.
        done = dg.DagsterEventType.RUN_SUCCESS
        eventually(lambda: served.instance.all_logs(run_id, of_type=done), 30, "its last event is written")
        assert is_running(process)
        os.kill(process, signal.SIGKILL)
        eventually(lambda: not is_running(process), 5, "it is gone")
        assert served.status(run_id) == "STARTED"
        held.execute("ROLLBACK")
    assert served.ended(run_id, 30) == "SUCCESS"
    assert not served.is_to_be_retried(run_id)


def runs_file(instance: dg.DagsterInstance) -> Path:
    """The SQLite file with the status of each run."""
    shards = shard_directory(instance)
    assert shards is not None
    return shards.parent / "runs.db"
