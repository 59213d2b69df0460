"""The sensors that watch the watcher: rounds that stop, runs that fail, and the heartbeat.

What belongs here: sensors whose evidence is the present instead of a materialisation. They send by
themselves, because the run engine may be what ails. What does not: rules and state (``alerting/``).
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg
import httpx

from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.evaluation import Observe, Observed, evaluate, observe_instant
from tsobs_pipelines.alerting.machine import Status, Verdict
from tsobs_pipelines.alerting.rules import (
    COLLECTION_SILENCE,
    FAILED_RUNS,
    SILENT_AFTER,
    RunEnd,
    freshness_signal,
    run_signals,
)
from tsobs_pipelines.alerting.store import AlertBook, Progress
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.alerting.text import clean
from tsobs_pipelines.database import DatabaseUnavailableError
from tsobs_pipelines.defs.alerts.assets import alert_engine, tailnet_book, tailnet_source
from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnets import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import StoreError, TimeSeriesStore, Window

INTERVAL_S = 60
SEND_IN_A_TICK = 2
HEARTBEAT_TIMEOUT_S = 5.0
_LOOK_BACK = SILENT_AFTER + timedelta(minutes=2)
_OVERLAP = timedelta(minutes=2)
_WILL_RETRY_TAG = "dagster/will_retry"
_BY_HAND = "__ASSET_JOB"
_MOST_RUNS = 500

log = logging.getLogger(__name__)


def newest_round(store: TimeSeriesStore, tailnet: str, now: datetime) -> tuple[datetime | None, str]:
    """The newest round with a result, if it is fresh, and what is known about why there is none."""
    try:
        window = Window(now - _LOOK_BACK, now + timedelta(minutes=1))
        rows = store.read(CONNECTIONS, window, {"tailnet": tailnet})
    except StoreError as error:
        return None, f"the store can't be read ({clean(str(error), 200)})"
    known = [
        time
        for row in rows
        if row["connection_type"] != "unknown" and isinstance(time := row["time"], datetime)
    ]
    newest = max(known, default=None)
    if newest is not None and now - newest <= SILENT_AFTER:
        return newest, ""
    if len(rows) > len(known):
        return newest, "rounds arrive, but every probe fails: is tailscaled running beside the sidecar?"
    return newest, "nothing is collected: look at the sidecar and at the runs of collect_connections"


def last_known_round(book: AlertBook, now: datetime) -> datetime:
    """When the newest round was that an earlier look saw; the watch begins ``now`` when there was none."""
    state = book.states(COLLECTION_SILENCE).get(COLLECTION_SILENCE.topic(""))
    if state is None or state.last is None or state.value is None:
        return now
    if state.status is Status.FIRING and state.since is not None:
        return state.since
    return state.last - timedelta(minutes=state.value)


def look_at_freshness(settings: Settings, tailnet: Tailnet, store: TimeSeriesStore, now: datetime) -> Verdict:
    """Bring the silence of a tailnet's collection up to now."""
    book, source = tailnet_book(settings, tailnet), tailnet_source(settings, tailnet)
    newest, reason = newest_round(store, tailnet.name, now)
    signal = freshness_signal(newest or last_known_round(book, now), now, reason)
    evaluate(book, COLLECTION_SILENCE, observe_instant("", signal), source, now)
    book.remind(COLLECTION_SILENCE, source, now)
    return signal.verdict if not reason else Verdict.BAD


def send_heartbeat(url: str) -> str:
    """Tell somebody else that the watch goes on; what came of it."""
    try:
        answer = httpx.get(url, timeout=HEARTBEAT_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("the heartbeat was not sent: %s", type(error).__name__)
        return f"heartbeat not sent ({type(error).__name__})"
    if answer.is_error:
        log.warning("the heartbeat was answered with %s", answer.status_code)
    return f"heartbeat answered with {answer.status_code}"


def silence_sensor() -> dg.SensorDefinition:
    """No fresh round for 15 minutes; and the heartbeat while all is well."""

    @dg.sensor(
        name="silence_sensor",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="No fresh round of any node for 15 minutes. Sends by itself: runs may be what ails.",
    )
    def sensor(settings: SettingsResource, store: StoreResource) -> dg.SkipReason:
        config, now = settings.get(), utc_now()
        try:
            verdicts = {
                tailnet.name: look_at_freshness(config, tailnet, store.get(), now)
                for tailnet in config.tailnets
            }
            send_own(config, "collection")
        except DatabaseUnavailableError as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")
        silent = [name for name, verdict in verdicts.items() if verdict is not Verdict.GOOD]
        if silent:
            return dg.SkipReason(f"No fresh round of tailnet {', '.join(silent)}.")
        said = f"; {send_heartbeat(config.heartbeat_url)}" if config.heartbeat_url else ""
        return dg.SkipReason(f"Rounds are fresh{said}.")

    return sensor


def send_own(settings: Settings, rule: str) -> None:
    """Send at once if there is something of this rule; older messages go first."""
    engine = alert_engine(settings)
    if any(message.tries == 0 for message in outbox.pending(engine, rule)):
        outbox.deliver(engine, Telegram.from_settings(settings), utc_now, SEND_IN_A_TICK)


def observe_runs(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Observe:
    """How the rule of failed runs reads on; it begins with what ended in the last 30 minutes."""

    def observe(before: Progress | None) -> Observed:
        start = before.evaluated_until if before else now - timedelta(minutes=30)
        records = instance.get_run_records(
            dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS],
                # What ended just before the last look may have been written just after it.
                updated_after=start - _OVERLAP,
            ),
            limit=_MOST_RUNS,
            order_by="update_timestamp",
            ascending=True,
        )
        until = records[-1].update_timestamp.astimezone(UTC) if len(records) == _MOST_RUNS else now
        return Observed(start, max(start, until), run_signals(list(_run_ends(instance, settings, records))))

    return observe


def _run_ends(
    instance: dg.DagsterInstance, settings: Settings, records: Iterable[dg.RunRecord]
) -> Iterable[RunEnd]:
    for record in records:
        run = record.dagster_run
        succeeded = run.status is dg.DagsterRunStatus.SUCCESS
        if record.end_time is None or (not succeeded and run.tags.get(_WILL_RETRY_TAG) == "true"):
            continue
        job = "started_by_hand" if run.job_name == _BY_HAND else run.job_name
        reason = "" if succeeded else _why(instance, settings, run.run_id)
        yield RunEnd(job, datetime.fromtimestamp(record.end_time, UTC), succeeded, reason)


def _why(instance: dg.DagsterInstance, settings: Settings, run_id: str) -> str:
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    failures = failures or instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    message = next((entry.dagster_event.message for entry in failures if entry.dagster_event), None) or ""
    for secret in settings.secrets():
        message = message.replace(secret, "***")
    return clean(
        f"run {run_id[:8]}: {message.strip().splitlines()[0] if message.strip() else 'no reason'}", 200
    )


def run_failure_sensor() -> dg.SensorDefinition:
    """Runs that failed for good (those that Dagster retries are left to it), until one succeeds."""

    @dg.sensor(
        name="run_failure_sensor",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="A job's run failed for good; over when one of its runs succeeds. Sends by itself.",
    )
    def sensor(context: dg.SensorEvaluationContext, settings: SettingsResource) -> dg.SkipReason:
        config, now = settings.get(), utc_now()
        # Runs belong to no tailnet: they are kept with the first one.
        book, source = tailnet_book(config, config.home), tailnet_source(config, config.home)
        try:
            done = evaluate(book, FAILED_RUNS, observe_runs(context.instance, config, now), source, now)
            book.remind(FAILED_RUNS, source, now)
            send_own(config, "runs")
        except DatabaseUnavailableError as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")
        return dg.SkipReason(f"{len(done.changes)} jobs began to fail or to succeed.")

    return sensor
