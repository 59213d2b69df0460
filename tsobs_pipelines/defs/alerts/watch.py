"""Sensors about tsobs itself: stopped collection, failed runs, and the heartbeat.

Their evidence is no materialisation, and they send by themselves: runs may be what does not work.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg
import httpx

from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channels import channel_names, channels_of
from tsobs_pipelines.alerting.depth import refusals, told_refusals
from tsobs_pipelines.alerting.evaluation import Observe, Observed, evaluate, observe_instant
from tsobs_pipelines.alerting.evidence import QueryEvidence, RunEnd, RunEvidence
from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.rules import rules_by
from tsobs_pipelines.alerting.store import Progress
from tsobs_pipelines.alerting.text import clean
from tsobs_pipelines.database import DatabaseUnavailableError
from tsobs_pipelines.defs.alerts.scopes import (
    SEND_IN_A_TICK,
    alert_engine,
    tailnet_alert_store,
    tailnet_source,
)
from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.store import TimeSeriesStore

INTERVAL_S = 60
HEARTBEAT_TIMEOUT_S = 5.0
_OVERLAP = timedelta(minutes=2)
_WILL_RETRY_TAG = "dagster/will_retry"
_TAGGED_WITHIN = timedelta(seconds=10)
"""Dagster writes that tag some milliseconds after the run's status."""
_BY_HAND = "__ASSET_JOB"
_MOST_RUNS = 500

log = logging.getLogger(__name__)


def evaluate_tailnet(
    settings: Settings, tailnet: Tailnet, store: TimeSeriesStore, now: datetime
) -> list[Signal]:
    """Bring each rule about a tailnet as a whole up to now; their signals."""
    alert_store, source = tailnet_alert_store(settings, tailnet), tailnet_source(settings, tailnet)
    signals = []
    for rule, evidence in rules_by(QueryEvidence):
        signal = evidence.signal(store, tailnet, alert_store.states(rule).get(rule.topic("")), now)
        evaluate(alert_store, rule, observe_instant("", signal), source, now)
        alert_store.remind(rule, source, now)
        signals.append(signal)
    return signals


def _is_well(signal: Signal) -> bool:
    """Whether nothing is wrong: what is wrong is noted before it has lasted long enough to be bad."""
    return signal.verdict is Verdict.GOOD and not signal.detail


def send_heartbeat(url: str) -> str:
    """Fetch the heartbeat URL; returns the result."""
    try:
        answer = httpx.get(url, timeout=HEARTBEAT_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        log.warning("the heartbeat was not sent: %s", type(error).__name__)
        return f"heartbeat not sent ({type(error).__name__})"
    if answer.is_error:
        log.warning("the heartbeat was answered with %s", answer.status_code)
    return f"heartbeat answered with {answer.status_code}"


def silence_sensor() -> dg.SensorDefinition:
    """No fresh round for 15 minutes; and the heartbeat while rounds are fresh and messages arrive."""

    @dg.sensor(
        name="silence_sensor",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown(
            "alerts", "No fresh round of any node for 15 minutes. Sends directly, since runs may be failing."
        ),
    )
    def sensor(settings: SettingsResource, store: StoreResource) -> dg.SkipReason:
        config, now = settings.get(), utc_now()
        try:
            seen = {
                tailnet.name: evaluate_tailnet(config, tailnet, store.get(), now)
                for tailnet in config.tailnets
            }
            send_own(config, QueryEvidence)
            # Only the heartbeat depends on it.
            asked = channel_names(config) if config.heartbeat_url is not None else []
            refused = refusals(alert_engine(config), asked)
        except DatabaseUnavailableError as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")
        silent = [name for name, signals in seen.items() if not all(map(_is_well, signals))]
        if silent:
            return dg.SkipReason(f"No fresh round of tailnet {', '.join(silent)}.")
        if config.heartbeat_url is None:
            return dg.SkipReason("Rounds are fresh.")
        if refused:
            return dg.SkipReason(f"Rounds are fresh; no heartbeat. {told_refusals(refused)}")
        return dg.SkipReason(f"Rounds are fresh; {send_heartbeat(config.heartbeat_url.get_secret_value())}.")

    return sensor


def send_own(settings: Settings, kind: type[QueryEvidence | RunEvidence]) -> None:
    """Send at once if the rules with this evidence have messages; older messages go first."""
    engine, keys = alert_engine(settings), {rule.key for rule, _ in rules_by(kind)}
    if any(not message.tried and message.rule in keys for message in outbox.pending(engine)):
        outbox.deliver(engine, channels_of(settings), utc_now, SEND_IN_A_TICK)


def observe_runs(
    instance: dg.DagsterInstance, settings: Settings, evidence: RunEvidence, now: datetime
) -> Observe:
    """How a rule about the ends of runs reads on; it begins with what ended in the last 30 minutes."""

    def observe(before: Progress | None) -> Observed:
        start = before.evaluated_until if before else now - timedelta(minutes=30)
        records = instance.get_run_records(
            dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS],
                # A run that ended just before the last evaluation may have been recorded just after it.
                updated_after=start - _OVERLAP,
            ),
            limit=_MOST_RUNS,
            order_by="update_timestamp",
            ascending=True,
        )
        until = records[-1].update_timestamp.astimezone(UTC) if len(records) == _MOST_RUNS else now
        ends = list(_run_ends(instance, settings, records, now))
        return Observed(start, max(start, until), evidence.signals(ends))

    return observe


def _run_ends(
    instance: dg.DagsterInstance, settings: Settings, records: Iterable[dg.RunRecord], now: datetime
) -> Iterable[RunEnd]:
    for record in records:
        run = record.dagster_run
        if record.end_time is None:
            continue
        ended = datetime.fromtimestamp(record.end_time, UTC)
        succeeded = run.status is dg.DagsterRunStatus.SUCCESS
        if not succeeded and not _failed_for_good(instance, run, ended, now):
            continue
        job = "started_by_hand" if run.job_name == _BY_HAND else run.job_name
        reason = "" if succeeded else _why(instance, settings, run.run_id)
        yield RunEnd(job, ended, succeeded, reason)


def _failed_for_good(
    instance: dg.DagsterInstance, run: dg.DagsterRun, ended: datetime, now: datetime
) -> bool:
    """Whether Dagster leaves this failed run at that; not yet while that may still be written."""
    will_retry = run.tags.get(_WILL_RETRY_TAG)
    if will_retry is None and instance.run_retries_enabled:
        return now - ended >= _TAGGED_WITHIN
    return will_retry != "true"


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
        **shown(
            "alerts",
            "A job's run failed for good; resolved when one of its runs succeeds. Sends directly.",
        ),
    )
    def sensor(context: dg.SensorEvaluationContext, settings: SettingsResource) -> dg.SkipReason:
        config, now = settings.get(), utc_now()
        # Runs belong to no tailnet: they are kept with the first one.
        alert_store = tailnet_alert_store(config, config.first_tailnet)
        source = tailnet_source(config, config.first_tailnet)
        changed = 0
        try:
            for rule, evidence in rules_by(RunEvidence):
                observe = observe_runs(context.instance, config, evidence, now)
                changed += len(evaluate(alert_store, rule, observe, source, now).changes)
                alert_store.remind(rule, source, now)
            send_own(config, RunEvidence)
        except DatabaseUnavailableError as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")
        return dg.SkipReason(f"{changed} jobs began to fail or to succeed.")

    return sensor
