"""The healing sensor: requests the days that have more in the journal than in the store.

Dagster runs only the latest missed tick of a schedule; this is what makes an outage of Dagster, of the store
or of the sidecar cost nothing, and what fills the history at the first start.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.ranges import LONGEST_SPAN, at_work, range_tags
from tsobs_pipelines.defs.common.resources import SettingsResource, SidecarResource, StoreResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.run_tags import backfill_tags
from tsobs_pipelines.tailnet.client import SidecarUnavailableError
from tsobs_pipelines.tailnet.collection import Journal, days_to_heal
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.spans import spans
from tsobs_pipelines.timeseries.store import StoreUnavailableError, TimeSeriesStore

INTERVAL_S = 60

LONGEST_PAUSE = timedelta(minutes=32)
_FAILURES_OF = timedelta(hours=2)

JOB = "heal_connections"
"""The job of the first tailnet; that of a further one has its name behind it."""


@dataclass(frozen=True, slots=True)
class Watched:
    """The days that are watched: from the first one to now."""

    first: date
    now: datetime


def healing_job(tailnet: Tailnet) -> AssetJob:
    """The job that collects whole days of a tailnet again."""
    return dg.define_asset_job(
        tailnet.suffixed(JOB),
        selection=TailnetKeys.of(tailnet).collected.without_checks(),
        executor_def=dg.in_process_executor,
        **shown(
            "tailnet", "Collects whole days again whose rounds are missing in the store.", backfill_tags()
        ),
    )


def healing_requests(job_name: str, reasons: Mapping[date, str], attempt: str) -> list[dg.RunRequest]:
    """One run for each span of days, the newest span first: today matters more than last month."""
    return [
        dg.RunRequest(
            run_key=f"{job_name}/{attempt}/{first}..{last}",
            job_name=job_name,
            tags=range_tags(first, last, reasons[last]),
        )
        for first, last in reversed(spans(sorted(reasons), LONGEST_SPAN))
    ]


def pause_until(failures: Sequence[datetime], now: datetime) -> datetime:
    """When to ask again after runs that failed (newest first): a minute after one, then twice as long each.

    A day that can't be collected must not have a failing run each minute.
    """
    if not failures:
        return now
    pause = timedelta(minutes=2 ** min(len(failures) - 1, 5))
    return failures[0] + min(pause, LONGEST_PAUSE)


def _failures(instance: dg.DagsterInstance, job_name: str, now: datetime) -> list[datetime]:
    """When the failed runs since the last success were created, newest first."""
    ended = dg.RunsFilter(
        job_name=job_name,
        statuses=[dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE],
        created_after=now - _FAILURES_OF,
    )
    found: list[datetime] = []
    for record in instance.get_run_records(ended, limit=10):
        if record.dagster_run.status == dg.DagsterRunStatus.SUCCESS:
            break
        found.append(record.create_timestamp.astimezone(UTC))
    return found


def what_to_heal(
    instance: dg.DagsterInstance, tailnet: Tailnet, journal: Journal, store: TimeSeriesStore, span: Watched
) -> list[dg.RunRequest] | str:
    """The runs that a tailnet needs, or why none is asked for now."""
    job_name, now = tailnet.suffixed(JOB), span.now
    keys = TailnetKeys.of(tailnet)
    if (busy := at_work(instance, [job_name], {keys.metrics, keys.summary})) is not None:
        return f"Under way: {busy}."
    pause = pause_until(_failures(instance, job_name, now), now)
    if now < pause:
        return f"The last healing runs failed: the next one is at {pause:%H:%M:%S} UTC."
    try:
        reasons = days_to_heal(journal.samples_index(), store, tailnet.name, span.first, now)
    except (SidecarUnavailableError, StoreUnavailableError) as error:
        return f"Can't compare journal and store now: {error}"
    if not reasons:
        return "The store has every round of the journal."
    return healing_requests(job_name, reasons, now.isoformat(timespec="seconds"))


def healing_sensor(jobs: Sequence[AssetJob], first: date) -> dg.SensorDefinition:
    """Checks every tailnet each minute, on by default; skips one whose days are being collected."""

    @dg.sensor(
        name="healing_sensor",
        jobs=jobs,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown(
            "tailnet", "Requests collections of days that have more rounds in the journal than in the store."
        ),
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        settings: SettingsResource,
        sidecar: SidecarResource,
        store: StoreResource,
    ) -> dg.SensorResult:
        config, now = settings.get(), utc_now()
        # What housekeeping has removed is not missing.
        kept = (now - timedelta(days=config.timeseries_retention_days - 1)).date()
        span = Watched(max(first, kept), now)
        requests: list[dg.RunRequest] = []
        reasons: list[str] = []
        for tailnet in config.tailnets:
            found = what_to_heal(context.instance, tailnet, sidecar.of(tailnet), store.get(), span)
            if isinstance(found, str):
                reasons.append(found if tailnet.first else f"{tailnet}: {found}")
            else:
                requests += found
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SensorResult(skip_reason=" ".join(reasons))

    return sensor
