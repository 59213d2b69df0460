"""The alert assets: runs that send what is to be told, replay the past, and show the evidence.

What belongs here: assets and jobs of the alerts, and all alert definitions together. What does not: deciding
what is told (``alerting/``), and noticing that something is new (``alert_sensors.py``).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from sqlalchemy import Engine

from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.forecast_signals import mae_signals, skill_signals
from tsobs_pipelines.alerting.forecasts import past_forecasts
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.replay import Replayed, SignalsOf, replay_pending
from tsobs_pipelines.alerting.rules import (
    LATENCY,
    MAE,
    NODE_SILENCE,
    RELAY,
    SKILL,
    Rule,
    Signals,
    latency_signals,
    relay_signals,
    rule_key,
    silence_signals,
)
from tsobs_pipelines.alerting.store import AlertBook
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.alerting.text import clean, plain
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.forecast.keys import ForecastKeys
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.engine.queues import tick_tags
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnets import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS, Row
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

GROUP = "alerts"

TOPIC_TAG = "tsobs/topic"
SOURCE_RUN_TAG = "tsobs/source_run_id"
SOURCE_PARTITION_TAG = "tsobs/source_partition"
MESSAGES_TAG = "tsobs/messages"

SEND_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class AlertAsset:
    """An alert asset: its name, and the rules whose messages and past it has."""

    name: str
    rules: tuple[Rule, ...]
    description: str

    @property
    def job_name(self) -> str:
        """The job that materialises it."""
        return f"tell_{self.name}"

    @property
    def of_forecasts(self) -> bool:
        """Whether its rules are about forecasts, not nodes."""
        return MAE in self.rules

    def upstream(self, tailnets: Sequence[Tailnet], models: Sequence[str]) -> list[dg.AssetKey]:
        """What it is made of: the metrics of the tailnets, or the evaluations of the models."""
        if self.of_forecasts:
            return [ForecastKeys.of(model).evaluation for model in models]
        return [TailnetKeys.of(tailnet).metrics for tailnet in tailnets]


ALERT_ASSETS = (
    AlertAsset("latency_alerts", (LATENCY,), "Nodes whose 5-minute latency is over the threshold."),
    AlertAsset("relay_alerts", (RELAY,), "Nodes that are reached through DERP instead of directly."),
    AlertAsset("silence_alerts", (NODE_SILENCE,), "Nodes that answer no ping for 15 minutes."),
    AlertAsset("mae_alerts", (MAE, SKILL), "Forecasts that are no longer good."),
)
ASSET_OF_RULE: Mapping[str, AlertAsset] = {
    rule_key(rule): asset for asset in ALERT_ASSETS for rule in asset.rules
}


def alert_engine(settings: Settings) -> Engine:
    """The database of the alert state."""
    return engine_for(settings.database_url)


def tailnet_book(settings: Settings, tailnet: Tailnet) -> AlertBook:
    """The book in which the topics of a tailnet are kept."""
    return AlertBook(alert_engine(settings), tailnet.name)


def model_book(settings: Settings, model: str) -> AlertBook:
    """The book in which the topics of a model on the price source are kept.

    Each model has its own, so that a rule knows for each how far it has come: evaluations of two models for
    the same hour are minutes apart.
    """
    scope = f"prices-{settings.price_source.partition(':')[0]}"
    return AlertBook(alert_engine(settings), scope if model == DEFAULT_MODEL else f"{model}/{scope}")


def tailnet_source(settings: Settings, tailnet: Tailnet, run_id: str = "", partition: str = "") -> Source:
    """Where the data of a tailnet came from, for the text of a message."""
    chosen = "" if tailnet.first else f"#tailnet={tailnet}"
    page = f"{settings.public_url}/vpn.html{chosen}"
    mark = "DEMO data" if tailnet.demo else "" if tailnet.first else tailnet.name
    return Source(page, settings.dagster_url, mark, run_id, partition)


def price_source(settings: Settings, run_id: str = "", partition: str = "") -> Source:
    """Where the data of a forecast came from, for the text of a message."""
    mark = "DEMO data" if settings.demo_prices else ""
    return Source(f"{settings.public_url}/vpn.html", settings.dagster_url, mark, run_id, partition)


def connection_signals(tailnet: Tailnet, rule: Rule) -> Callable[[Sequence[Row]], Signals]:
    """How a rule over ``tailscale_connections`` reads rows."""
    if rule is LATENCY:
        return lambda rows: latency_signals(rows, tailnet.latency_threshold_of)
    return relay_signals if rule is RELAY else silence_signals


def past_connections(store: Callable[[], TimeSeriesStore], tailnet: Tailnet, rule: Rule) -> SignalsOf:
    """How the past of a rule over ``tailscale_connections`` is read."""
    make = connection_signals(tailnet, rule)
    where = {"tailnet": tailnet.name}

    def signals(window: Window) -> Signals:
        return make(store().read(CONNECTIONS, window, where))

    return signals


def alert_metadata(
    settings: Settings, engine: Engine, numbers: Sequence[int], replayed: Replayed
) -> dict[str, dg.MetadataValue]:
    """What a materialisation says: the text, what became of it, and the evidence."""
    sent = [message for number in numbers if (message := outbox.message(engine, number)) is not None]
    told = outbox.told_in(engine, numbers)
    metadata: dict[str, dg.MetadataValue] = {
        "messages": dg.MetadataValue.int(len(sent)),
        "page": dg.MetadataValue.url(f"{settings.public_url}/vpn.html"),
    }
    if replayed.days:
        metadata["historical_days"] = dg.MetadataValue.int(len(replayed.days))
        metadata["historical_incidents"] = dg.MetadataValue.int(replayed.incidents)
    if sent:
        fates = [f"{message.fate} ({message.reason})" if message.reason else message.fate for message in sent]
        metadata["text"] = dg.MetadataValue.text("\n\n".join(plain(message.html) for message in sent))
        metadata["fate"] = dg.MetadataValue.text("; ".join(dict.fromkeys(fates)))
        if run := sent[-1].source_run:
            metadata["source_run"] = dg.MetadataValue.dagster_run(run)
            metadata["source_partition"] = dg.MetadataValue.text(sent[-1].source_partition)
    if told:
        worst = max(told, key=lambda change: change.value or 0.0)
        metadata["since"] = dg.MetadataValue.text(min(change.since for change in told).isoformat())
        metadata["topics"] = dg.MetadataValue.text(", ".join(dict.fromkeys(clean(c.topic) for c in told)))
        if worst.value is not None:
            metadata["value"] = dg.MetadataValue.float(worst.value)
        if worst.threshold is not None:
            metadata["threshold"] = dg.MetadataValue.float(worst.threshold)
        metadata["changes"] = dg.MetadataValue.table(
            records=[
                dg.TableRecord(
                    {
                        "topic": clean(change.topic),
                        "kind": change.kind,
                        "at": change.at.isoformat(),
                        "since": change.since.isoformat(),
                        "until": change.until.isoformat() if change.until else "",
                        "value": change.value if change.value is not None else "",
                        "threshold": change.threshold if change.threshold is not None else "",
                    }
                )
                for change in told
            ]
        )
    return metadata


def _numbers(tag: str | None) -> list[int]:
    return [int(number) for number in (tag or "").split(",") if number.isdecimal()]


def replay_all(
    settings: Settings, store: Callable[[], TimeSeriesStore], alert: AlertAsset, models: Sequence[str]
) -> list[Replayed]:
    """Replay what waits in every book of the asset's rules."""
    if alert.of_forecasts:
        books = [(model_book(settings, model), rule) for model in models for rule in alert.rules]
        return [
            replay_pending(book, rule, past_forecasts(book, mae_signals if rule is MAE else skill_signals))
            for book, rule in books
        ]
    return [
        replay_pending(tailnet_book(settings, tailnet), rule, past_connections(store, tailnet, rule))
        for tailnet in settings.tailnets
        for rule in alert.rules
    ]


def _asset(alert: AlertAsset, tailnets: Sequence[Tailnet], models: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=alert.name,
        # The newest partition stands for all: looking through the versions of a year of days costs a run.
        deps=[
            dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping())
            for key in alert.upstream(tailnets, models)
        ],
        description=alert.description,
        group_name=GROUP,
        kinds={"telegram"},
    )
    def alerts(
        context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource
    ) -> dg.MaterializeResult[None]:
        """Send what waits in the outbox, replay the days that were asked for, show both."""
        config = settings.get()
        engine = alert_engine(config)
        asked = _numbers(context.run.tags.get(MESSAGES_TAG))
        keys = {rule_key(rule) for rule in alert.rules}
        numbers = asked or [message.number for message in outbox.pending(engine) if message.rule in keys]
        # What is to be told now does not wait for the past.
        outbox.deliver(engine, Telegram.from_settings(config), utc_now, SEND_AT_ONCE)
        done = replay_all(config, store.get, alert, models)
        days = tuple(day for one in done for day in one.days)
        replayed = Replayed(days, sum(one.incidents for one in done))
        metadata = alert_metadata(config, engine, numbers, replayed)
        return dg.MaterializeResult(metadata=metadata)

    return alerts


def alert_jobs() -> dict[str, UnresolvedAssetJobDefinition]:
    """The job of each alert asset, by the asset's name."""
    return {
        alert.name: dg.define_asset_job(
            alert.job_name,
            selection=dg.AssetSelection.assets(alert.name),
            tags=tick_tags(),
            executor_def=dg.in_process_executor,
            description=f"Sends and shows: {alert.description}",
        )
        for alert in ALERT_ASSETS
    }


def alert_definitions(
    tailnets: Sequence[Tailnet], models: Sequence[str] = (DEFAULT_MODEL,)
) -> dg.Definitions:
    """The alert assets, their jobs and the sensors; ``models`` are those whose forecasts are evaluated."""
    from tsobs_pipelines.defs.alerts.sensors import alert_sensors  # noqa: PLC0415 - sensors know the assets

    jobs = alert_jobs()
    return dg.Definitions(
        assets=[_asset(alert, tailnets, models) for alert in ALERT_ASSETS],
        jobs=list(jobs.values()),
        sensors=alert_sensors(jobs, models),
    )
