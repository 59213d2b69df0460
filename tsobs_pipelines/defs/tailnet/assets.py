"""The connection assets, their job and schedule: from the sidecar's journal to each node's daily summary.

Assets write through the store themselves instead of through an IO manager: a backfill streams one day at a
time, and a collection's rows, its netchecks and its account are written in an order that survives a crash.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

import dagster as dg

from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.network import NETWORK_RETRIES, over_network
from tsobs_pipelines.defs.common.partitions import SHARED
from tsobs_pipelines.defs.common.reports import CollectionReport
from tsobs_pipelines.defs.common.resources import SidecarResource, StoreResource
from tsobs_pipelines.defs.common.shown import shown
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.run_tags import TICK_SCHEDULE, tick_tags
from tsobs_pipelines.tailnet.changes import ConnectionChange
from tsobs_pipelines.tailnet.collection import Collector, DayCollection
from tsobs_pipelines.tailnet.summary import summary_rows
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS, SUMMARY
from tsobs_pipelines.timeseries.store import Window

TICK_CRON = "*/5 * * * *"

SCHEDULED_TAG = "tsobs/scheduled_at"
"""The tag of a scheduled run, with the time it was scheduled for; such a run collects what is new only."""

MIDNIGHT_GRACE = timedelta(minutes=10)
"""How long after midnight a tick still looks at the day before."""

connection_log = logging.getLogger("tailscale.connection")


def touched_days(scheduled: datetime) -> list[date]:
    """The UTC days that a tick collects: today, and yesterday while its last rounds may be missing."""
    today = scheduled.astimezone(UTC).date()
    before = (scheduled.astimezone(UTC) - MIDNIGHT_GRACE).date()
    return [today] if before == today else [before, today]


def collection_metadata(days: Sequence[DayCollection], tailnet: Tailnet) -> dict[str, dg.MetadataValue]:
    """The metadata of the materialisation: figures that the UI can plot, then anything unusual."""
    newest = next((day for day in reversed(days) if day.last_round), days[-1])
    first = next((day.first_round for day in days if day.first_round), None)
    report = CollectionReport(newest.mode, first, newest.last_round)
    metadata: dict[str, dg.MetadataValue] = {
        "source": dg.MetadataValue.text(tailnet.source),
        **{name: dg.MetadataValue.text(str(value)) for name, value in report.written().items()},
        "rounds": dg.MetadataValue.int(sum(day.rounds for day in days)),
        "rows_written": dg.MetadataValue.int(sum(day.rows_written for day in days)),
        "failed_rounds": dg.MetadataValue.int(sum(day.failed_rounds for day in days)),
        "skipped_lines": dg.MetadataValue.int(sum(sum(day.skipped.values()) for day in days)),
        "unstorable_rows": dg.MetadataValue.int(sum(day.unstorable for day in days)),
        "duplicate_rounds": dg.MetadataValue.int(sum(day.duplicates for day in days)),
    }
    for hostname, row in newest.latest.items():
        if row.latency_avg is not None:
            metadata[f"latency_ms/{hostname}"] = dg.MetadataValue.float(row.latency_avg)
        metadata[f"path/{hostname}"] = dg.MetadataValue.text(row.connection_type)
    return metadata | _oddities(days)


def _oddities(days: Sequence[DayCollection]) -> dict[str, dg.MetadataValue]:
    found: dict[str, dg.MetadataValue] = {}
    skipped = {day.day.isoformat(): dict(day.skipped) for day in days if day.skipped}
    if skipped:
        found["skipped_because"] = dg.MetadataValue.json(skipped)
    ambiguous = {name: list(dns_names) for day in days for name, dns_names in day.ambiguous.items()}
    if ambiguous:
        found["ambiguous_nodes"] = dg.MetadataValue.json(ambiguous)
    own = next((day.own_node for day in reversed(days) if day.own_node), None)
    if own:
        found["sidecar_runs_on"] = dg.MetadataValue.text(own)
    return found


def journal_seen(journal: dg.AssetKey, day: DayCollection) -> dg.AssetMaterialization:
    """What a collection saw of the journal, which no run of Dagster's makes: its rounds and oddities."""
    metadata = {
        "rounds": day.rounds,
        "skipped_lines": sum(day.skipped.values()),
        "duplicates": day.duplicates,
    }
    return dg.AssetMaterialization(journal, partition=day.day.isoformat(), metadata=metadata)


def log_changes(changes: Sequence[ConnectionChange], tailnet: Tailnet) -> None:
    """Write each change of a node's connection as a log record of its own."""
    for change in changes:
        extra = {**change.fields(), "tailnet": tailnet.name}
        connection_log.log(change.level, "%s", change.message, extra=extra)


def _days(context: dg.AssetExecutionContext) -> list[date]:
    return [date.fromisoformat(key) for key in context.partition_keys]


def connection_assets(
    partitions: dg.DailyPartitionsDefinition, tailnet: Tailnet
) -> tuple[list[dg.AssetSpec], list[dg.AssetsDefinition]]:
    """The tailnet's external journal, and the assets that are made of it."""
    keys = TailnetKeys.of(tailnet)
    journal = dg.AssetSpec(
        keys.journal,
        description="The sidecar's journal: a file for each UTC day, a line for each round.",
        group_name=keys.group,
        partitions_def=partitions,
        kinds={"tailscale"},
    )
    metrics = dg.AssetSpec(
        keys.metrics,
        deps=[keys.journal],
        description="Latency, path and traffic of each critical node in each round.",
        group_name=keys.group,
        kinds={"tailscale"},
    )
    diagnostics = dg.AssetSpec(
        keys.diagnostics,
        deps=[keys.journal],
        description="Results of netcheck: latency of each DERP region, UDP, IPv6, NAT.",
        group_name=keys.group,
        kinds={"tailscale"},
    )

    @dg.multi_asset(
        name=tailnet.suffixed("collect_journal"),
        specs=[metrics, diagnostics],
        partitions_def=partitions,
        backfill_policy=SHARED,
        retry_policy=NETWORK_RETRIES,
    )
    def collect_journal(
        context: dg.AssetExecutionContext, sidecar: SidecarResource, store: StoreResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Collect the partitions' days: what is new in a scheduled run, whole days in any other."""
        collector = Collector(sidecar.of(tailnet), store.get(), tailnet.critical_nodes, tailnet.name)
        collect = collector.collect_new if SCHEDULED_TAG in context.run.tags else collector.collect_day
        collected = [over_network(collect, day) for day in _days(context)]
        for day in collected:
            log_changes(day.changes, tailnet)
            if day.first_round:
                context.log_event(journal_seen(keys.journal, day))
        yield dg.MaterializeResult(keys.metrics, metadata=collection_metadata(collected, tailnet))
        netchecks = sum(day.netchecks_written for day in collected)
        yield dg.MaterializeResult(keys.diagnostics, metadata={"rows_written": netchecks})

    @dg.asset(
        key=keys.summary,
        deps=[keys.metrics],
        description="Daily summary of each node: latency percentiles, loss, path, traffic, availability.",
        group_name=keys.group,
        kinds={"tailscale"},
        partitions_def=partitions,
        backfill_policy=SHARED,
        retry_policy=NETWORK_RETRIES,
    )
    def connection_summary(
        context: dg.AssetExecutionContext, store: StoreResource
    ) -> dg.MaterializeResult[None]:
        """Sum up the partitions' days from the rows in the store."""
        where = {"tailnet": tailnet.name}
        metadata: dict[str, float | int] = {}
        for day in _days(context):
            window = Window.of_day(day)
            rows = over_network(store.get().read, CONNECTIONS, window, where)
            summary = summary_rows(day, rows)
            over_network(store.get().replace, SUMMARY, window, summary, where)
            metadata = {
                f"{name}/{row.hostname}": value
                for row in summary
                for name in ("latency_p50", "latency_p95", "share_direct", "availability")
                if isinstance(value := row[name], (int, float))
            }
        return dg.MaterializeResult(metadata=metadata)

    return [journal], [collect_journal, connection_summary]


@lru_cache
def tick_job(tailnet: Tailnet) -> AssetJob:
    """The job of the 5-minute schedule: the assets and every check on them. One object for each tailnet."""
    return dg.define_asset_job(
        tailnet.suffixed("collect_connections"),
        selection=TailnetKeys.of(tailnet).collected,
        executor_def=dg.in_process_executor,
        **shown("tailnet", "Collects new rounds of the journal, and updates the daily summary.", tick_tags()),
    )


def tick_requests(scheduled: datetime) -> list[dg.RunRequest]:
    """One run for each day that a tick touches; each run is stamped with the tick's time."""
    stamp = scheduled.astimezone(UTC).isoformat()
    return [
        dg.RunRequest(run_key=f"{stamp}/{day}", partition_key=day.isoformat(), tags={SCHEDULED_TAG: stamp})
        for day in touched_days(scheduled)
    ]


def tick_schedule(job: AssetJob, tailnet: Tailnet) -> dg.ScheduleDefinition:
    """Every five minutes, on by default."""

    @dg.schedule(
        name=tailnet.suffixed(TICK_SCHEDULE),
        job=job,
        cron_schedule=TICK_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        **shown("tailnet", "Collects the rounds since the last tick, every five minutes."),
    )
    def collect_every_5_minutes(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest]:
        return tick_requests(context.scheduled_execution_time)

    return collect_every_5_minutes
