"""The tick's schedule, and tags of jobs: priorities, concurrency limits and timeouts of their runs.

The limits that go with them are in Dagster's configuration (``dagster_storage/configuration.py``).
"""

from __future__ import annotations

TICK_SCHEDULE = "collect_every_5_minutes"
"""The schedule that collects the tailnet's rounds."""

QUEUE_TAG = "tsobs/queue"
TICKS = "ticks"
BACKFILLS = "backfills"

PRIORITY_TAG = "dagster/priority"
MAX_RUNTIME_TAG = "dagster/max_runtime"
RETRY_STRATEGY_TAG = "dagster/retry_strategy"


def tick_tags(max_runtime_s: int = 240) -> dict[str, str]:
    """Tags of a job that a schedule or sensor starts every few minutes: the highest priority."""
    return {QUEUE_TAG: TICKS, PRIORITY_TAG: "10", **_bounds(max_runtime_s)}


def backfill_tags(max_runtime_s: int = 3600) -> dict[str, str]:
    """Tags of a job over many partitions: one at a time."""
    return {QUEUE_TAG: BACKFILLS, **_bounds(max_runtime_s)}


def _bounds(max_runtime_s: int) -> dict[str, str]:
    # FROM_FAILURE, Dagster's default, has no step left for a run that was killed after its last one.
    return {MAX_RUNTIME_TAG: str(max_runtime_s), RETRY_STRATEGY_TAG: "ALL_STEPS"}
