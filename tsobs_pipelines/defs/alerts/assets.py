"""The alert assets: runs that send alerts, replay the past, and show the evidence."""

from collections.abc import Callable, Sequence

import dagster as dg
from sqlalchemy import Engine

from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channels import channels_of
from tsobs_pipelines.alerting.evaluation import past_rows
from tsobs_pipelines.alerting.evidence import ForecastEvidence, RowEvidence
from tsobs_pipelines.alerting.forecasts import past_forecasts
from tsobs_pipelines.alerting.replay import Replayed, pending_replays, replay_pending
from tsobs_pipelines.alerting.rule import AlertAsset, Rule
from tsobs_pipelines.alerting.rules import alert_assets, rules_of
from tsobs_pipelines.alerting.text import clean, plain
from tsobs_pipelines.defs.alerts.pictures import follow_with_pictures
from tsobs_pipelines.defs.alerts.scopes import alert_engine, model_alert_store, tailnet_alert_store
from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.defs.forecast.keys import ForecastKeys
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.run_tags import tick_tags
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.store import TimeSeriesStore

GROUP = "alerts"

TOPIC_TAG = "tsobs/topic"
SOURCE_RUN_TAG = "tsobs/source_run_id"
SOURCE_PARTITION_TAG = "tsobs/source_partition"
MESSAGES_TAG = "tsobs/messages"
TOLD_TAG = "tsobs/told"
"""The first line of the run's first message, and how many more there are."""

_LINE_CHARS = 200

SEND_AT_ONCE = 20


def job_name(asset: AlertAsset) -> str:
    """The job that materialises an alert asset."""
    return f"tell_{asset.name}"


def of_forecasts(asset: AlertAsset) -> bool:
    """Whether an asset's rules are about forecasts; if not, they are about tailnets.

    Raises:
        ValueError: they are about both, and no sensor would look at all of them.
    """
    kinds = {isinstance(rule.evidence, ForecastEvidence) for rule in rules_of(asset)}
    if len(kinds) > 1:
        msg = f"alert asset {asset.name!r}: expected rules about forecasts or about tailnets, not both"
        raise ValueError(msg)
    return True in kinds


def _upstream(asset: AlertAsset, tailnets: Sequence[Tailnet], models: Sequence[str]) -> list[dg.AssetKey]:
    if of_forecasts(asset):
        return [ForecastKeys.of(model).evaluation for model in models]
    return [TailnetKeys.of(tailnet).metrics for tailnet in tailnets]


def alert_metadata(
    settings: Settings, engine: Engine, messages: Sequence[outbox.Message], replayed: Replayed
) -> dict[str, dg.MetadataValue]:
    """The metadata of a materialisation: the text, its fate, and the evidence."""
    changes = outbox.changes_in(engine, [message.number for message in messages])
    metadata: dict[str, dg.MetadataValue] = {
        "messages": dg.MetadataValue.int(len(messages)),
        "page": dg.MetadataValue.url(settings.page_url),
    }
    if replayed.days:
        metadata["historical_days"] = dg.MetadataValue.int(len(replayed.days))
        metadata["historical_incidents"] = dg.MetadataValue.int(replayed.incidents)
    if messages:
        fates = [
            f"{message.fate} ({message.reason})" if message.reason else message.fate for message in messages
        ]
        metadata["text"] = dg.MetadataValue.text("\n\n".join(plain(message.html) for message in messages))
        metadata["fate"] = dg.MetadataValue.text("; ".join(dict.fromkeys(fates)))
        if run := messages[-1].source_run:
            metadata["source_run"] = dg.MetadataValue.dagster_run(run)
            metadata["source_partition"] = dg.MetadataValue.text(messages[-1].source_partition)
    if changes:
        worst = max(changes, key=lambda change: change.value or 0.0)
        metadata["since"] = dg.MetadataValue.text(min(change.since for change in changes).isoformat())
        metadata["topics"] = dg.MetadataValue.text(", ".join(dict.fromkeys(clean(c.topic) for c in changes)))
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
                for change in changes
            ]
        )
    return metadata


def told_in_a_line(messages: Sequence[outbox.Message]) -> str:
    """What happened: the first line of the first message, and how many more there are; empty without any."""
    if not messages:
        return ""
    more = f" (and {len(messages) - 1} more)" if len(messages) > 1 else ""
    first, _, _ = plain(messages[0].html).strip().partition("\n")
    return f"{clean(first, _LINE_CHARS)}{more}"


def _happened(messages: Sequence[outbox.Message], replayed: Replayed) -> str:
    """What a run did, in a line of its log."""
    past = f"{replayed.incidents} incidents found in {len(replayed.days)} days of the past"
    parts = [told_in_a_line(messages), past if replayed.days else ""]
    return "; ".join(filter(None, parts)) or "No message waits to be sent."


def _numbers(tag: str | None) -> list[int]:
    return [int(number) for number in (tag or "").split(",") if number.isdecimal()]


def _replay_all(
    settings: Settings, store: Callable[[], TimeSeriesStore], asset: AlertAsset, models: Sequence[str]
) -> Replayed:
    """Replay what waits in every alert store of the asset's rules."""
    if of_forecasts(asset):
        done = [
            replay_pending(alert_store, rule, past_forecasts(alert_store, rule))
            for alert_store in (model_alert_store(settings, model) for model in models)
            for rule in rules_of(asset)
        ]
    else:
        done = [
            _replay_rows(settings, store, tailnet, rule)
            for tailnet in settings.tailnets
            for rule in rules_of(asset)
            if isinstance(rule.evidence, RowEvidence)
        ]
    days = tuple(day for one in done for day in one.days)
    return Replayed(days, sum(one.incidents for one in done))


def _replay_rows(
    settings: Settings, store: Callable[[], TimeSeriesStore], tailnet: Tailnet, rule: Rule
) -> Replayed:
    alert_store = tailnet_alert_store(settings, tailnet)
    if not pending_replays(alert_store, rule):
        return Replayed((), 0)
    paced = rule.at_pace(sampling_at(store(), tailnet.name, utc_now()))
    return replay_pending(alert_store, paced, past_rows(store, tailnet, paced))


def _asset(alert: AlertAsset, tailnets: Sequence[Tailnet], models: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=alert.name,
        # The newest partition stands for all: looking through the versions of a year of days costs a run.
        deps=[
            dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping())
            for key in _upstream(alert, tailnets, models)
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
        keys = {rule.key for rule in rules_of(alert)}
        numbers = asked or [message.number for message in outbox.pending(engine) if message.rule in keys]
        # New messages are sent before past days are replayed.
        outbox.deliver(engine, channels_of(config), utc_now, SEND_AT_ONCE)
        drawn = follow_with_pictures(config, store.get, alert, utc_now())
        replayed = _replay_all(config, store.get, alert, models)
        messages = outbox.messages_of(engine, numbers)
        metadata = alert_metadata(config, engine, messages, replayed)
        if drawn:
            metadata["pictures"] = dg.MetadataValue.text("; ".join(drawn))
        context.log.info(_happened(messages, replayed))
        return dg.MaterializeResult(metadata=metadata)

    return alerts


def alert_asset_definitions(tailnets: Sequence[Tailnet], models: Sequence[str]) -> list[dg.AssetsDefinition]:
    """Every alert asset; ``models`` are those whose forecasts are evaluated."""
    return [_asset(alert, tailnets, models) for alert in alert_assets()]


def alert_jobs() -> dict[str, AssetJob]:
    """The job of each alert asset, by the asset's name."""
    return {
        alert.name: dg.define_asset_job(
            job_name(alert),
            selection=dg.AssetSelection.assets(alert.name),
            executor_def=dg.in_process_executor,
            **shown("alerts", f"Sends and shows: {alert.description}", tick_tags()),
        )
        for alert in alert_assets()
    }
