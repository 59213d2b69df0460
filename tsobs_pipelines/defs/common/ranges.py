"""Runs over ranges of partitions: their tags, their length, and whether one is in progress."""

from collections.abc import Collection
from collections.abc import Set as AbstractSet
from datetime import date, timedelta

import dagster as dg

from tsobs_pipelines.defs.common.partitions import DAYS_A_RUN

LONGEST_SPAN = timedelta(days=DAYS_A_RUN)
"""A long gap is healed by several runs, the newest days first; workers of several machines share them."""

_START_TAG = "dagster/asset_partition_range_start"
_END_TAG = "dagster/asset_partition_range_end"
_REASON_TAG = "tsobs/healing"

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
"""Of a run that has not ended."""


def range_tags(first: date, last: date, reason: str = "") -> dict[str, str]:
    """The tags of a run over the partitions of these days, both included, and why it is asked for."""
    tags = {_START_TAG: first.isoformat(), _END_TAG: last.isoformat()}
    return tags | {_REASON_TAG: reason} if reason else tags


def at_work(
    instance: dg.DagsterInstance, job_names: Collection[str], keys: AbstractSet[dg.AssetKey]
) -> str | None:
    """A queued or running run of one of these jobs, or one that a person started for these assets.

    What such a run will bring is still missing: who asked for what is missing now would ask twice.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY)):
        if run.job_name in job_names:
            return run.job_name
        if keys & (run.asset_selection or frozenset()):
            return "a run that was started by hand"
    return None
