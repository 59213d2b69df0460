"""The sensor that asks for the first housekeeping and the first look at the disk.

Their schedules may come hours after the first start, and until then both stand as never materialised, with
the check on the disk never executed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.ranges import UNDER_WAY
from tsobs_pipelines.defs.common.resources import SettingsResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.run_tags import BACKFILLS, QUEUE_TAG

INTERVAL_S = 120


def first_requests(
    instance: dg.DagsterInstance, metrics: Sequence[dg.AssetKey], jobs: Mapping[dg.AssetKey, str]
) -> list[dg.RunRequest] | str:
    """A run of each job (by its asset) whose asset was never materialised, or why none is asked for.

    They wait until the history is filled, so that the first figures are those of a whole installation.
    """
    never = [key for key in jobs if instance.get_latest_materialization_event(key) is None]
    if not never:
        return "Housekeeping and disk use have run."
    if not any(instance.get_latest_materialization_event(key) for key in metrics):
        return "Waiting for the first rounds."
    filling = dg.RunsFilter(statuses=UNDER_WAY, tags={QUEUE_TAG: BACKFILLS})
    if instance.get_runs_count(filling):
        return "Waiting until the history is filled."
    # A run that fails is left to the schedule: the key is the same each time.
    return [dg.RunRequest(run_key=f"first {jobs[key]}", job_name=jobs[key]) for key in never]


def first_day_sensor(jobs: Mapping[dg.AssetKey, AssetJob]) -> dg.SensorDefinition:
    """Looks every two minutes, on by default; ``jobs`` are those of upkeep, by their asset."""
    names = {key: job.name for key, job in jobs.items()}

    @dg.sensor(
        name="first_upkeep_sensor",
        jobs=list(jobs.values()),
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown(
            "operations", "Requests the first housekeeping and look at the disk after the first filling."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, settings: SettingsResource) -> dg.SensorResult:
        metrics = [TailnetKeys.of(tailnet).metrics for tailnet in settings.get().tailnets]
        found = first_requests(context.instance, metrics, names)
        if isinstance(found, str):
            return dg.SensorResult(skip_reason=found)
        return dg.SensorResult(run_requests=found)

    return sensor
