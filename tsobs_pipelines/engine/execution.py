"""The Celery task that executes a run, and ends it when somebody else has ended it.

What belongs here: one run in a pool process. What does not: launching (``launcher.py``) and the worker
(``worker.py``).

dagster-celery's own task has to be revoked to be stopped, which needs Celery's remote control, and kills the
process before Dagster knows about it. Here the pool process asks Dagster once a second what became of its
run: when it is being cancelled, or was declared dead, the run is interrupted where it is, as by Ctrl-C, and
Dagster itself records its end. Code that can't be interrupted is ended with its process.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import threading
from collections.abc import Iterator

from celery import Celery
from dagster import DagsterInstance, DagsterRunStatus
from dagster._cli.api import _execute_run_command_body
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import unpack_value
from dagster_celery.config import TASK_EXECUTE_JOB_NAME
from dagster_shared.serdes.serdes import JsonSerializableValue

LOOK_EVERY_S = 1.0
INTERRUPT_EVERY_S = 4.0
INTERRUPTS = 3
"""So often the run is asked to end, and then its process is killed."""

_ENDED_BY_OTHERS = frozenset(
    {DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED, DagsterRunStatus.FAILURE}
)

log = logging.getLogger(__name__)


def register(app: Celery) -> None:
    """Give ``app`` the task under the name by which ``CeleryRunLauncher`` calls it."""

    @app.task(name=TASK_EXECUTE_JOB_NAME, track_started=True)  # type: ignore[untyped-decorator]  # no types
    def execute_job(execute_job_args_packed: JsonSerializableValue) -> int:
        arguments = unpack_value(execute_job_args_packed, as_type=ExecuteRunArgs)
        return execute(instance_of_this_process(os.getpid()), arguments.run_id)


@functools.cache
def instance_of_this_process(pid: int) -> DagsterInstance:
    """The instance, opened once in each process: connections must not be shared across a fork."""
    del pid
    return DagsterInstance.get()


def execute(instance: DagsterInstance, run_id: str) -> int:
    """Execute the run; 0 when it succeeded."""
    with _signals_restored(), interrupted_when_ended(instance, run_id):
        return _execute_run_command_body(
            run_id=run_id,
            instance=instance,
            write_stream_fn=lambda _event: None,
            set_exit_code_on_failure=True,
        )


@contextlib.contextmanager
def _signals_restored() -> Iterator[None]:
    """Dagster leaves SIGTERM with the handler of SIGINT, which a pool process ignores: it would live on."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupted_when_ended(instance: DagsterInstance, run_id: str) -> Iterator[None]:
    """Watch the run from a thread for as long as the block lasts."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(instance, run_id, over), name="run-watch", daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(instance: DagsterInstance, run_id: str, over: threading.Event) -> None:
    while not over.wait(LOOK_EVERY_S):
        try:
            ended = _ended_by_others(instance, run_id)
        except Exception:
            log.exception("can't look up the run that is being executed", extra={"run_id": run_id})
            continue
        if ended:
            _interrupt(instance, run_id, over)
            return


def _ended_by_others(instance: DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.status in _ENDED_BY_OTHERS


def _interrupt(instance: DagsterInstance, run_id: str, over: threading.Event) -> None:
    for _ in range(INTERRUPTS):
        # A signal to the process: Python runs its handler, Dagster's, in the main thread.
        os.kill(os.getpid(), signal.SIGINT)
        if over.wait(INTERRUPT_EVERY_S):
            return
    log.error("the run does not end; ending its process", extra={"run_id": run_id})
    run = instance.get_run_by_id(run_id)
    if run is not None and run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The run did not react; its process was ended.")
    os.kill(os.getpid(), signal.SIGKILL)
