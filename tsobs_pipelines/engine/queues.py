"""The two queues of runs: ticks never wait behind a backfill."""

from __future__ import annotations

from typing import Literal, TypeAlias

Queue: TypeAlias = Literal["ticks", "backfills"]

QUEUES: tuple[Queue, ...] = ("ticks", "backfills")

QUEUE_TAG = "dagster-celery/queue"
"""The run tag by which ``CeleryRunLauncher`` chooses the queue (``dagster_celery.tags``)."""

TASK_TAG = "dagster-celery/task_id"
"""The run tag in which the launcher keeps the Celery task."""

DEFAULT_QUEUE: Queue = "backfills"
"""Where a run without the tag goes: the UI's backfills and materialisations by hand carry none."""


def tick_tags(max_runtime_s: int = 240) -> dict[str, str]:
    """Tags of a job that a schedule or sensor starts every few minutes."""
    return {QUEUE_TAG: "ticks", "dagster/max_runtime": str(max_runtime_s)}


def backfill_tags(max_runtime_s: int = 3600) -> dict[str, str]:
    """Tags of a run over many partitions."""
    return {QUEUE_TAG: "backfills", "dagster/max_runtime": str(max_runtime_s)}
