"""The alert sensors: they detect new data, evaluate the rules, and request a run that sends the alert.

The state in the database is the truth; a cursor says only up to where materialisations were looked at. A
sensor that dies between its commit and its run request leaves a message in the outbox, which its next tick
asks a run for (with the same run key), and which ``alert_delivery_sensor`` sends if no run does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import dagster as dg

from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channels import channels_of
from tsobs_pipelines.alerting.collected import collected_rounds
from tsobs_pipelines.alerting.evaluation import evaluate, observe_collected
from tsobs_pipelines.alerting.evidence import LatestEvidence, RowEvidence
from tsobs_pipelines.alerting.forecasts import keep_observations, observe_forecasts
from tsobs_pipelines.alerting.mutes import retire
from tsobs_pipelines.alerting.replay import Replayed, pending_replays, request_replays
from tsobs_pipelines.alerting.rule import AlertAsset, Rule
from tsobs_pipelines.alerting.rules import RULES, alert_assets, rules_of
from tsobs_pipelines.alerting.store import AlertStore, Progress
from tsobs_pipelines.database import DatabaseUnavailableError
from tsobs_pipelines.defs.alerts.assets import (
    MESSAGES_TAG,
    SOURCE_PARTITION_TAG,
    SOURCE_RUN_TAG,
    TOLD_TAG,
    TOPIC_TAG,
    alert_metadata,
    job_name,
    of_forecasts,
    told_in_a_line,
)
from tsobs_pipelines.defs.alerts.early import early_requests
from tsobs_pipelines.defs.alerts.looks import Scope, look_event, seen_before, seen_tags
from tsobs_pipelines.defs.alerts.materializations import (
    Materialization,
    collections,
    forecast_observations,
    new_materializations,
    read_cursors,
    written_cursors,
)
from tsobs_pipelines.defs.alerts.scopes import (
    SEND_IN_A_TICK,
    alert_engine,
    model_alert_store,
    price_source,
    tailnet_alert_store,
    tailnet_source,
)
from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.resources import SettingsResource, SidecarResource, StoreResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.defs.forecast.keys import ForecastKeys
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.store import StoreUnavailableError, TimeSeriesStore, Window

DELIVERY_INTERVAL_S = 60

RUN_GRACE = timedelta(seconds=45)
"""How long a message is left to the run that was asked for it."""

ASK_WITHIN = timedelta(minutes=10)
_TAG_CHARS = 200


@dataclass(frozen=True, slots=True)
class TailnetMaterializations:
    """A tailnet, and the materialisations of its metrics that are new, oldest first; at least one."""

    tailnet: Tailnet
    new: Sequence[Materialization]


def evaluate_connections(
    settings: Settings, store: TimeSeriesStore, rule: Rule, found: TailnetMaterializations, now: datetime
) -> None:
    """Bring a connection rule up to the newest round, and note the days whose past is new."""
    tailnet, collected = found.tailnet, collected_rounds(collections(found.new))
    alert_store = tailnet_alert_store(settings, tailnet)
    source = tailnet_source(settings, tailnet, collected.run_id, collected.partition)
    sampling = sampling_at(store, tailnet.name, now)
    rule = rule.at_pace(sampling)
    before = alert_store.progress(rule)
    retire(alert_store, rule, [*tailnet.critical_nodes, *_also_watched(store, rule, tailnet, now)])
    if collected.complete_to is not None:
        complete_to = min(collected.complete_to, now)
        observe = observe_collected(store, tailnet, rule, complete_to, sampling)
        evaluate(alert_store, rule, observe, source, now)
        # Only with new data is it known whether it still fires; without, the silence rule speaks.
        alert_store.remind(rule, source, now)
    if (
        isinstance(rule.evidence, RowEvidence)
        and (edge := _edge(before, alert_store.progress(rule))) is not None
    ):
        request_replays(
            alert_store, rule, {day: seen for day, seen in collected.whole_days.items() if _start(day) < edge}
        )


def _also_watched(store: TimeSeriesStore, rule: Rule, tailnet: Tailnet, now: datetime) -> list[str]:
    """Whom a rule is about beside the critical nodes: for keys, the sidecar's own node as well."""
    if not isinstance(rule.evidence, LatestEvidence):
        return []
    window = Window.trailing(now, timedelta(days=2))
    return [
        str(row["hostname"])
        for row in store.latest(rule.evidence.measurement, window, {"tailnet": tailnet.name})
    ]


def evaluate_forecasts(
    settings: Settings, rules: Sequence[Rule], model: str, new: Sequence[Materialization], now: datetime
) -> None:
    """Bring rules about a model up to its newest observation, and note the days whose past is new."""
    newest = new[-1]
    alert_store = model_alert_store(settings, model)
    source = price_source(settings, newest.run_id, newest.partition)
    fresh = keep_observations(alert_store, forecast_observations(new, model))
    for rule in rules:
        before = alert_store.progress(rule)
        evaluate(alert_store, rule, observe_forecasts(alert_store, rule, now), source, now)
        alert_store.remind(rule, source, now)
        if (edge := _edge(before, alert_store.progress(rule))) is not None:
            days = {one.time.date(): newest.storage_id for one in fresh if one.time < edge}
            request_replays(alert_store, rule, days)


def _edge(before: Progress | None, after: Progress | None) -> datetime | None:
    """Data older than this when they arrive count as the past."""
    if before is not None:
        return before.evaluated_until
    return after.started_at if after else None


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def run_request(
    settings: Settings, alert: AlertAsset, alert_stores: Sequence[AlertStore], now: datetime
) -> dg.RunRequest | None:
    """One run for all that waits in these alert_stores of the asset: messages, days to be replayed.

    The run key is made of what waits, so that asking again is no second run; the past is asked for again
    each hour while it waits.
    """
    engine = alert_engine(settings)
    rules = rules_of(alert)
    kept = {(rule.key, alert_store.scope) for rule in rules for alert_store in alert_stores}
    waiting = [
        message
        for message in outbox.pending(engine)
        if (message.rule, message.scope) in kept
        and not message.tried
        and now - message.created_at < ASK_WITHIN
    ]
    past = [
        seen
        for rule in rules
        for alert_store in alert_stores
        for seen in pending_replays(alert_store, rule).values()
    ]
    if not waiting and not past:
        return None
    numbers = [message.number for message in waiting]
    key = f"messages {','.join(map(str, numbers))}"
    if past:
        key += f" past {max(past)} {now:%Y-%m-%d %H}"
    tags: dict[str, str] = {}
    if waiting:
        topics = dict.fromkeys(change.topic for change in outbox.changes_in(engine, numbers))
        tags[MESSAGES_TAG] = ",".join(map(str, numbers))
        tags[TOPIC_TAG] = ",".join(topics)[:_TAG_CHARS]
        tags[TOLD_TAG] = told_in_a_line(waiting)
        tags[SOURCE_RUN_TAG] = waiting[-1].source_run
        tags[SOURCE_PARTITION_TAG] = waiting[-1].source_partition
    kept_tags = {name: value for name, value in tags.items() if value}
    return dg.RunRequest(run_key=key, job_name=job_name(alert), tags=kept_tags)


def _answer(
    requests: Sequence[dg.RunRequest],
    upstream: Sequence[dg.AssetKey],
    new: int,
    cursor: str,
    looks: Sequence[dg.AssetMaterialization],
) -> dg.SensorResult:
    if requests:
        return dg.SensorResult(run_requests=requests, cursor=cursor, asset_events=looks)
    named = ", ".join(key.to_user_string() for key in upstream)
    reason = f"{new} new materialisations of {named}, nothing to tell." if new else f"Nothing new in {named}."
    return dg.SensorResult(skip_reason=reason, cursor=cursor, asset_events=looks)


def _connection_sensor(
    alert: AlertAsset,
    job: AssetJob,
    ticks: Sequence[AssetJob],
) -> dg.SensorDefinition:
    """The sensor of an asset about nodes; with ``ticks`` it looks at rounds that are not collected yet."""

    @dg.sensor(
        name=alert.sensor,
        jobs=[job, *ticks],
        minimum_interval_seconds=alert.interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown("alerts", _description(alert)),
    )
    def sensor(
        context: dg.SensorEvaluationContext,
        settings: SettingsResource,
        store: StoreResource,
    ) -> dg.SensorResult | dg.SkipReason:
        config, now = settings.get(), utc_now()
        cursors = read_cursors(context.cursor)
        upstream, count = [TailnetKeys.of(tailnet).metrics for tailnet in config.tailnets], 0
        try:
            for tailnet, metrics in zip(config.tailnets, upstream, strict=True):
                after = cursors.get(metrics.to_user_string())
                new, cursors[metrics.to_user_string()] = new_materializations(
                    context.instance, metrics, after
                )
                count += len(new)
                for rule in rules_of(alert) if new else ():
                    evaluate_connections(
                        config, store.get(), rule, TailnetMaterializations(tailnet, new), now
                    )
            alert_stores = [tailnet_alert_store(config, tailnet) for tailnet in config.tailnets]
            requests = [one for one in [run_request(config, alert, alert_stores, now)] if one is not None]
            if ticks:
                requests += early_requests(config, store.get(), SidecarResource().of, cursors, now)
            seen = {metrics: cursors[metrics.to_user_string()] for metrics in upstream}
            looks = [look_event(alert, _tailnet_scopes(config), seen)] if count else []
            return _answer(requests, upstream, count, written_cursors(cursors), looks)
        except (StoreUnavailableError, DatabaseUnavailableError) as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")

    return sensor


def _description(alert: AlertAsset) -> str:
    return f"Evaluates the rules when new data arrive, and requests the run that sends: {alert.description}"


def _tailnet_scopes(settings: Settings) -> list[Scope]:
    return [
        Scope("" if tailnet.first else tailnet.name, tailnet_alert_store(settings, tailnet))
        for tailnet in settings.tailnets
    ]


def _model_scopes(settings: Settings, models: Sequence[str]) -> list[Scope]:
    # A model's name is the subject of its topics.
    return [Scope("", model_alert_store(settings, model)) for model in models]


def _forecast_sensor(
    name: str, alert: AlertAsset, job: AssetJob, model: str, models: Sequence[str]
) -> dg.SensorDefinition:
    evaluation = ForecastKeys.of(model).evaluation

    @dg.sensor(
        name=name,
        job=job,
        minimum_interval_seconds=alert.interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown("alerts", _description(alert)),
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: SettingsResource
    ) -> dg.SensorResult | dg.SkipReason:
        config, now = settings.get(), utc_now()
        try:
            new, cursor = new_materializations(context.instance, evaluation, context.cursor)
            if new:
                evaluate_forecasts(config, rules_of(alert), model, new, now)
            request = run_request(config, alert, [model_alert_store(config, model)], now)
            looks = []
            if new:
                others = seen_before(context.instance, alert) if len(models) > 1 else {}
                every = {ForecastKeys.of(one).evaluation: None for one in models}
                looks = [
                    look_event(alert, _model_scopes(config, models), every | others | {evaluation: cursor})
                ]
            return _answer([request] if request else [], [evaluation], len(new), cursor, looks)
        except DatabaseUnavailableError as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")

    return sensor


def _delivery_sensor() -> dg.SensorDefinition:
    @dg.sensor(
        name="alert_delivery_sensor",
        minimum_interval_seconds=DELIVERY_INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        **shown("alerts", "Sends what no run has sent: retries, messages held by a 429, runs that died."),
    )
    def sensor(
        context: dg.SensorEvaluationContext, settings: SettingsResource
    ) -> dg.SensorResult | dg.SkipReason:
        config, now = settings.get(), utc_now()
        engine = alert_engine(config)
        try:
            waiting = outbox.pending(engine)
            due = [m for m in waiting if m.tried or now - m.created_at > RUN_GRACE]
            if not due:
                return dg.SkipReason("No message waits to be sent.")
            outbox.deliver(engine, channels_of(config), utc_now, SEND_IN_A_TICK)
            still = {message.number for message in outbox.pending(engine)}
            settled = outbox.messages_of(engine, [m.number for m in waiting if m.number not in still])
        except DatabaseUnavailableError as error:
            return dg.SkipReason(f"Can't look now, nothing is lost: {error}")
        events = [
            dg.AssetMaterialization(
                asset_key=asset.name,
                metadata=alert_metadata(config, engine, [message], Replayed((), 0)),
                # A delivery evaluates nothing: it repeats the pointers of the newest evaluation.
                tags=seen_tags(seen) if (seen := seen_before(context.instance, asset)) else {},
            )
            for message in settled
            if (asset := _asset_of(message.rule)) is not None
        ]
        reason = f"{len(settled)} messages settled, {len(still)} wait: {waiting[0].reason}"
        return dg.SensorResult(asset_events=events, skip_reason=reason)

    return sensor


def _asset_of(rule: str) -> AlertAsset | None:
    """The asset that shows a rule's messages; test messages, and those of a rule of the past, have none."""
    known = RULES.get(rule)
    return known.asset if known else None


def alert_sensors(
    jobs: Mapping[str, AssetJob],
    models: Sequence[str] = (DEFAULT_MODEL,),
    ticks: Sequence[AssetJob] = (),
) -> list[dg.SensorDefinition]:
    """The sensor of each alert asset, once for each model where it is about forecasts, and the delivery.

    ``ticks`` are the jobs of the collections, which are asked for early.
    """
    sensors: list[dg.SensorDefinition] = []
    for alert in alert_assets():
        job = jobs[alert.name]
        if of_forecasts(alert):
            # The first model's sensor keeps the name from when there was one model.
            names = [
                f"{alert.sensor}_{model}" if place else alert.sensor for place, model in enumerate(models)
            ]
            sensors += [
                _forecast_sensor(name, alert, job, model, models)
                for name, model in zip(names, models, strict=True)
            ]
        else:
            sensors.append(_connection_sensor(alert, job, ticks if alert.reads_ahead else ()))
    return [*sensors, _delivery_sensor()]
