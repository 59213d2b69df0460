"""Dagster's code server: runs are forks of the fork server, and end with the code server.

Dagster starts each run in a new interpreter, which imports everything again. It looks after the processes
that it started itself; those of a code server that was killed go on without anybody who could end them, or
who would notice their end. Here no run outlives its code server, and the next one ends what it finds under
way, so that Dagster tries it again.

A process that is killed between a run's last event and its status leaves a run that is done and looks as if
it were under way. Dagster would call it failed; here it gets the status that its last event says.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event
from pathlib import Path

from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.launcher import DefaultRunLauncher
from dagster._grpc import server
from dagster._grpc.impl import start_run_in_subprocess
from dagster._grpc.server import DagsterApiServer
from dagster._time import datetime_from_timestamp

from tsobs_pipelines.dagster_storage.sqlite import EventLogStorage
from tsobs_pipelines.database import close_engines
from tsobs_pipelines.temporary import remove_left_behind, use_own_folder

INTERRUPT_GRACE_S = 12.0
"""How long a run that was terminated may take to end before its process is killed."""

_LOOK_EVERY_S = 1.0
_UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
_ENDINGS = {DagsterEventType.RUN_SUCCESS, DagsterEventType.RUN_CANCELED}
"""Not failures: those have to be reported once more, to be tried again."""


def apply() -> None:
    """Use :class:`CodeServer`, and :func:`execute_run` for runs, wherever Dagster makes a code server."""
    server.DagsterApiServer = CodeServer  # type: ignore[misc]
    server.start_run_in_subprocess = execute_run  # type: ignore[attr-defined]


class CodeServer(DagsterApiServer):
    """Dagster's code server, with forks for runs; it also ends the runs that its predecessor left."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._left_under_way: Sequence[str] = []
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._mp_ctx = multiprocessing.get_context("forkserver")  # type: ignore[assignment]
        if isinstance(self._instance.run_launcher, DefaultRunLauncher):
            self._left_under_way = self._instance.get_run_ids(RunsFilter(statuses=_UNDER_WAY))

    def _check_for_orphaned_runs(self) -> None:
        """End the runs whose process is gone; called every half second, from a thread of its own."""
        with self._execution_lock:
            dead = [run_id for run_id, (process, _) in self._executions.items() if not process.is_alive()]
            # Not before this server answers: the retry that a failure leads to would be given up.
            left = [run_id for run_id in self._left_under_way if run_id not in self._executions]
            self._left_under_way = []
        if dead or left:
            remove_left_behind(Path(tempfile.gettempdir()))
        for run_id in (*dead, *left):
            end_run(self._instance, run_id, "The process that executed this run is gone.")
        super()._check_for_orphaned_runs()


def end_run(instance: DagsterInstance, run_id: str, reason: str) -> None:
    """End a run without a process: with the status of its last event, else failed or cancelled."""
    run = instance.get_run_by_id(run_id)
    if run is None or run.is_finished or _ended_by_its_last_event(instance, run):
        return
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, reason)
    else:
        instance.report_run_failed(run, reason)


def _ended_by_its_last_event(instance: DagsterInstance, run: DagsterRun) -> bool:
    said = instance.all_logs(run.run_id, of_type=_ENDINGS)
    if not said:
        return False
    event, at = said[-1].get_dagster_event(), datetime_from_timestamp(said[-1].timestamp)
    instance.run_storage.handle_run_event(run.run_id, event, at)
    return True


def execute_run(arguments: str, job: ReconstructableJob, events: object, termination: Event) -> None:
    """Execute a run in this process, which ends with the code server, and soon after it was terminated.

    What it puts into the temporary folder is removed by the code server when the process has ended.
    """
    use_own_folder()
    threading.Thread(target=_end_in_time, args=(termination,), name="end-in-time", daemon=True).start()
    EventLogStorage.keeps_runs_open = True
    try:
        start_run_in_subprocess(arguments, job, events, termination)  # type: ignore[no-untyped-call]
    finally:
        close_engines()


def _end_in_time(termination: Event) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - for the type checker: this is a child
    while not termination.is_set() and not wait([parent.sentinel], _LOOK_EVERY_S):
        pass
    if termination.is_set():
        time.sleep(INTERRUPT_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
