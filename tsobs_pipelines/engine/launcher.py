"""The run launcher: dagster-celery's, which also ends runs and knows which workers are alive.

What belongs here: what ``CeleryRunLauncher`` lacks: a run that a person terminates in the UI, and a worker
that died with its machine. What does not: how runs are launched.
"""

import time
import warnings

from celery.exceptions import DuplicateTaskNameWarning
from celery.result import AsyncResult
from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher

import tsobs_pipelines.engine.broker  # noqa: F401 - makes the transport known to kombu
from tsobs_pipelines.engine.presence import SILENT_FOR_S, Pulse
from tsobs_pipelines.engine.queues import TASK_TAG

# dagster-celery declares its task anew at each launch.
warnings.filterwarnings("ignore", category=DuplicateTaskNameWarning)


class RunLauncher(CeleryRunLauncher):
    """``CeleryRunLauncher``, under which a terminated run ends as cancelled and a dead worker is noticed."""

    _pulse: Pulse | None = None

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
        """What the task's state says; "running" only while the heart of its worker beats."""
        if TASK_TAG not in run.tags:
            # The launcher writes the tag after it sent the task: this run was just launched.
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        said: CheckRunHealthResult = super().check_run_worker_health(run)
        worker = started_by(self.celery.AsyncResult(run.tags[TASK_TAG]))
        if said.status != WorkerStatus.RUNNING or worker is None:
            return said
        self._pulse = self._pulse or Pulse(self.celery.backend)
        silent = self._pulse.silent_for(worker, time.monotonic())
        if silent < SILENT_FOR_S:
            return said
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"The run worker {worker} has shown no sign of life for {silent:.0f} s."
        )


def started_by(result: AsyncResult) -> str | None:
    """The name of the worker whose task is under way."""
    information = result.info
    if result.state != "STARTED" or not isinstance(information, dict):
        return None
    hostname = information.get("hostname")
    return hostname if isinstance(hostname, str) else None
