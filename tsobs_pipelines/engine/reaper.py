"""Ends the runs that a dead worker left behind, so that Dagster can retry them.

What belongs here: which runs of a queue nobody works on any more. What does not: a pool process that died
under a living worker, whose task Celery itself marks as failed and Dagster's run monitoring finds.

When a whole worker dies its run stays STARTED, because the task's state stays STARTED. The worker that
takes its place has the same node name, and there is only one of that name: a task that the result backend
says was started by this name is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator

from celery import Celery
from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from tsobs_pipelines.engine.queues import DEFAULT_QUEUE, QUEUE_TAG, TASK_TAG, Queue

_UNDER_WAY = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]


def reap(instance: DagsterInstance, app: Celery, queue: Queue, node: str) -> Iterator[str]:
    """End each run of ``queue`` whose task was started by an earlier worker named ``node``; give its id.

    A run that was being cancelled ends as cancelled, any other as failed, which ``run_retries`` answers
    with another attempt.
    """
    for run in instance.get_runs(RunsFilter(statuses=_UNDER_WAY)):
        if run.tags.get(QUEUE_TAG, DEFAULT_QUEUE) == queue and _started_by(app, run, node):
            _end(instance, run)
            yield run.run_id


def _started_by(app: Celery, run: DagsterRun, node: str) -> bool:
    task_id = run.tags.get(TASK_TAG)
    if task_id is None:
        return False
    result = app.AsyncResult(task_id)
    information = result.info
    return result.state == "STARTED" and isinstance(information, dict) and information.get("hostname") == node


def _end(instance: DagsterInstance, run: DagsterRun) -> None:
    if run.status == DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, "The run worker died while the run was being cancelled.")
        return
    instance.report_run_failed(run, "The run worker died under this run.")
