"""The run launcher: dagster-celery's, which also ends runs and knows which workers are alive.

What belongs here: what ``CeleryRunLauncher`` lacks: a run that a person terminates in the UI, a worker that
died with its machine, a message that is gone. What does not: how runs are launched.
"""

import time
import warnings

from celery.exceptions import DuplicateTaskNameWarning
from celery.result import AsyncResult
from celery.states import READY_STATES
from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher

import tsobs_pipelines.engine.broker  # noqa: F401 - makes the transport known to kombu
from tsobs_pipelines.engine.endings import settle
from tsobs_pipelines.engine.presence import SILENT_FOR_S, Pulse
from tsobs_pipelines.engine.queues import QUEUE_TAG, TASK_TAG
from tsobs_pipelines.engine.waiting import Waiting

# dagster-celery declares its task anew at each launch.
warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning)


class RunLauncher(CeleryRunLauncher):
    """``CeleryRunLauncher``, under which a terminated run ends as cancelled and a dead worker is noticed."""

    _pulse: Pulse | None = None
    _waiting: Waiting | None = None

    def terminate(self, run_id: str) -> bool:
        """Mark the run as being cancelled: the process that executes it looks for this (``execution.py``).

        Revoking the task instead, as ``CeleryRunLauncher`` does, tells Dagster nothing, whose run monitoring
        would find a run without a worker, mark it as failed and have it tried again.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """What the task's state says; "running" only while the heart of its worker beats.

        A task that has ended under a run that has not, ends it.
        """
        if TASK_TAG not in run.tags:
            # The launcher writes the tag after it sent the task: this run was just launched.
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        said: CheckRunHealthResult = super().check_run_worker_health(run)
        if said.status in {WorkerStatus.SUCCESS, WorkerStatus.FAILED}:
            return self._ended(run, said)
        worker = started_by(self.celery.AsyncResult(run.tags[TASK_TAG]))
        if said.status != WorkerStatus.RUNNING or worker is None:
            return said
        self._pulse = self._pulse or Pulse(self.celery.backend)
        silent = self._pulse.silent_for(worker, time.monotonic())
        if silent < SILENT_FOR_S:
            return said
        reason = f"The run worker {worker} has shown no sign of life for {silent:.0f} s."
        return self._ended(run, CheckRunHealthResult(WorkerStatus.FAILED, reason))

    def _ended(self, run: DagsterRun, said: CheckRunHealthResult) -> CheckRunHealthResult:
        now = self._instance.get_run_by_id(run.run_id)
        if now is None or now.is_finished or settle(self._instance, now):
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        return CheckRunHealthResult(
            WorkerStatus.FAILED, said.msg or "The run's task ended, and the run did not."
        )

    def why_never(self, run: DagsterRun, now: float) -> str | None:
        """Why a run that was launched will not start, ``None`` if it may; ``now`` is the monotonic clock's.

        Its process died between taking the task and telling Dagster, or its worker died when it had taken the
        message from Redis and not begun: there a message that is taken is nobody's.
        """
        if TASK_TAG not in run.tags:
            return None
        task: str = run.tags[TASK_TAG]
        state = self.celery.AsyncResult(task).state
        if state in READY_STATES:
            return "The run worker's process died before the run had started."
        if state == "STARTED":
            health = self.check_run_worker_health(run)
            return health.msg if health.status == WorkerStatus.FAILED else None
        self._waiting = self._waiting or Waiting(self.celery)
        gone = self._waiting.gone_for(task, run.tags.get(QUEUE_TAG, self.default_queue), now)
        if gone < SILENT_FOR_S:
            return None
        return f"The run's message was taken {gone:.0f} s ago and nobody works on it."


def started_by(result: AsyncResult) -> str | None:
    """The name of the worker whose task is under way."""
    information = result.info
    if result.state != "STARTED" or not isinstance(information, dict):
        return None
    hostname = information.get("hostname")
    return hostname if isinstance(hostname, str) else None
