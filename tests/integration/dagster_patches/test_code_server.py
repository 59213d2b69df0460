"""Runs of the code server: forks that can be terminated, and that end with it or as their last event says."""

from __future__ import annotations

import os
import re
import signal
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
from tsobs_pipelines.dagster_patches.code_server import end_run
from tsobs_pipelines.processes.probes import accepts_connections

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}


@dataclass
class Served:
    """A code server of ``run_jobs.py`` that is a fork, and the instance."""

    family: Family
    socket: Path
    instance: dg.DagsterInstance

    def launch(self, job: str, seconds: float = 120) -> str:
        """Launch a run of a job whose op takes so long; its id."""
        ops = {"sleeping_job": "sleep", "stubborn_job": "stubborn"}
        config = {"ops": {ops[job]: {"config": {"seconds": seconds}}}} if job in ops else {}
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

    def started(self, job: str, seconds: float = 120) -> str:
        run_id = self.launch(job, seconds)
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


def test_a_run_is_a_fork_of_the_fork_server_and_can_be_terminated(served: Served) -> None:
    run_id = served.started("sleeping_job")
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


def test_a_run_that_is_done_and_does_not_look_like_it_is_done(served: Served) -> None:
    run_id = served.launch("no_op_job")
    assert served.ended(run_id, 30) == "SUCCESS"
    # As if its process had been killed between the last event and the status.
    event = dg.DagsterEvent(event_type_value="PIPELINE_START", job_name="no_op_job")
    served.instance.run_storage.handle_run_event(run_id, event)
    assert served.status(run_id) == "STARTED"
    end_run(served.instance, run_id, "gone")
    assert served.status(run_id) == "SUCCESS"
    end_run(served.instance, run_id, "gone")
    assert served.status(run_id) == "SUCCESS"
