"""Ends the runs that a dead worker left behind, so that Dagster can retry them.

What belongs here: the runs that a worker which is known to be dead had begun. What does not: a pool process
that died under a living worker, whose task Celery itself marks as failed; a worker that died with its whole
machine, whose heart stops (``launcher.py``): both are found by Dagster's run monitoring.

When a whole worker dies its run stays STARTED, because the task's state stays STARTED, by a name that no
other worker ever has.
"""

from __future__ import annotations

from collections.abc import Iterator

from celery import Celery
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from tsobs_pipelines.engine.endings import settle
from tsobs_pipelines.engine.launcher import started_by
from tsobs_pipelines.engine.queues import TASK_TAG

_UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def reap(instance: DagsterInstance, app: Celery, dead: str) -> Iterator[str]:
    """End each run whose task was started by the worker named ``dead``; give its id.

    A run that was being cancelled ends as cancelled, any other as failed, which ``run_retries`` answers
    with another attempt.
    """
    for run in instance.get_runs(RunsFilter(statuses=_UNDER_WAY)):
        if TASK_TAG in run.tags and started_by(app.AsyncResult(run.tags[TASK_TAG])) == dead:
            _end(instance, run)
            yield run.run_id


def _end(instance: DagsterInstance, run: DagsterRun) -> None:
    if settle(instance, run):
        return
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The run worker died while the run was being cancelled.")
        return
    instance.report_run_failed(run, "The run worker died under this run.")
