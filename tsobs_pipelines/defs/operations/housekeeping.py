"""Housekeeping and disk use: two assets, a check, two jobs and their schedules."""

import logging
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from tsobs_pipelines.alerting.retention import forget
from tsobs_pipelines.dagster_storage.run_history import (
    ended_before,
    newest_runs,
    remove_runless,
    remove_runs,
    shard_directory,
    sweep,
)
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.defs.alerts.looks import LOOK_TAG
from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.dagster_names import AssetJob
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.defs.common.shown import described, shown
from tsobs_pipelines.defs.forecast.assets import MODELS
from tsobs_pipelines.defs.operations.first_day import first_day_sensor
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.forecasting.model_files import open_files
from tsobs_pipelines.forecasting.model_retention import remove_old_models
from tsobs_pipelines.logs.files import log_directory
from tsobs_pipelines.logs.maintenance import maintain
from tsobs_pipelines.run_tags import backfill_tags, tick_tags
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.temporary import remove_left_behind, temporary_directory
from tsobs_pipelines.timeseries.schema import COLLECTIONS, CONNECTIONS, KEYS, NETCHECK, SUMMARY
from tsobs_pipelines.timeseries.spans import EPOCH
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window
from tsobs_pipelines.upkeep.disk import disk_of, sizes
from tsobs_pipelines.upkeep.runs import RunRetention, select
from tsobs_pipelines.upkeep.sqlite import compact

HOUSEKEEPING = dg.AssetKey("housekeeping")
DISK_USE = dg.AssetKey("disk_use")
FREE_DISK = "free_disk"
GROUP = "operations"

HOUSEKEEPING_CRON = "40 3 * * *"
DISK_CRON = "25 * * * *"
ORPHANS_AFTER = timedelta(days=1)
LOOKS_KEPT_FOR = timedelta(days=2)
"""Each alert asset has one every five minutes; what they tell of the past is in the store as well."""

Figures = Mapping[str, int]
log = logging.getLogger(__name__)


def tidy_runs(instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Figures:
    """Remove the runs that nothing depends on any more, and what others had left behind."""
    retention = RunRetention(
        timedelta(days=settings.run_retention_days), timedelta(days=settings.failed_run_retention_days)
    )
    old = ended_before(instance, retention.succeeded_before(now), retention.failed_before(now))
    selection = select(old, newest_runs(instance))
    removed = remove_runs(instance, selection.going)
    swept = sweep(instance, now - ORPHANS_AFTER)
    looks = remove_runless(instance, LOOK_TAG, now - LOOKS_KEPT_FOR)
    return {
        "runs_removed": removed,
        "old_runs_kept": selection.kept,
        "runs_left_for_tomorrow": selection.left_for_later,
        "orphans_removed": swept.runs + swept.files,
        "looks_removed": looks,
    }


def tidy_logs(settings: Settings, now: datetime) -> Figures:
    """Compress the logs of past days, and delete old ones."""
    done = maintain(log_directory(settings.state_dir), now, settings.log_retention_days)
    return {"log_days_packed": len(done.packed), "log_days_removed": len(done.removed)}


def tidy_alerts(settings: Settings, now: datetime) -> Figures:
    """Delete old incidents and messages."""
    before = now - timedelta(days=settings.alert_retention_days)
    return {"alert_rows_removed": forget(engine_for(settings.database_url), before)}


def tidy_series(store: TimeSeriesStore, settings: Settings, now: datetime) -> Figures:
    """Remove the tailnet's rows that are past their retention; prices and forecasts are few, and stay."""
    window = Window(EPOCH, now - timedelta(days=settings.timeseries_retention_days))
    for measurement in (CONNECTIONS, NETCHECK, SUMMARY, COLLECTIONS, KEYS):
        store.delete(measurement, window)
    return {}


def tidy_models(store: TimeSeriesStore, settings: Settings, now: datetime) -> Figures:
    """Remove the fitted models whose delivery day is long over and whose forecast was issued."""
    market, files = market_of(settings), open_files(settings.models_dir)
    first_kept = market.day_of(now) - timedelta(days=settings.model_retention_days)
    removed = [remove_old_models(files, store, model.name, market, first_kept) for model in MODELS]
    return {"models_removed": sum(removed)}


def tidy_temporary(settings: Settings) -> Figures:
    """Remove the temporary folders of processes that were killed."""
    places = {temporary_directory(settings.state_dir), Path(tempfile.gettempdir())}
    return {"temporary_folders_removed": sum(map(remove_left_behind, places))}


def sqlite_files(instance: dg.DagsterInstance, settings: Settings) -> list[Path]:
    """The SQLite files that grow and shrink; a run's own file of events does neither."""
    files = [settings.database_file] if settings.database_file else []
    shards = shard_directory(instance)
    if shards is not None:
        storage = shards.parents[1]
        files += [
            shards / "index.db",
            storage / "history" / "runs.db",
            storage / "schedules" / "schedules.db",
        ]
    return [file for file in files if file.is_file()]


def tidy_sqlite(instance: dg.DagsterInstance, settings: Settings) -> Figures:
    """Compact the SQLite files."""
    done = [compact(file) for file in sqlite_files(instance, settings)]
    for one in done:
        if one.what not in {"compacted", "checkpointed"}:
            log.warning("%s was not compacted: %s", one.path, one.what)
    return {"sqlite_bytes_given_back": max(0, sum(one.before - one.after for one in done))}


def keep_house(
    instance: dg.DagsterInstance, settings: Settings, store: Callable[[], TimeSeriesStore], now: datetime
) -> tuple[dict[str, int], list[str]]:
    """Do all housekeeping, each part even if others fail; returns what was done, and what failed."""
    parts: Mapping[str, Callable[[], Figures]] = {
        "runs": lambda: tidy_runs(instance, settings, now),
        "logs": lambda: tidy_logs(settings, now),
        "alerts": lambda: tidy_alerts(settings, now),
        "time series": lambda: tidy_series(store(), settings, now),
        "models": lambda: tidy_models(store(), settings, now),
        "temporary folders": lambda: tidy_temporary(settings),
        # Last, since the steps before it free the space that this one returns to the disk.
        "SQLite files": lambda: tidy_sqlite(instance, settings),
    }
    figures: dict[str, int] = {}
    failures: list[str] = []
    for name, part in parts.items():
        try:
            figures.update(part())
        except Exception as error:
            log.exception("housekeeping of the %s failed", name)
            failures.append(f"{name}: {type(error).__name__}: {error}")
    return figures, failures


def places(instance: dg.DagsterInstance, settings: Settings) -> dict[str, Path]:
    """What the disk is used for, by part."""
    state = settings.state_dir
    found = {
        "state": state,
        "sql": state / "tsobs.db",
        "logs": log_directory(state),
    }
    shards = shard_directory(instance)
    if shards is not None:
        found["dagster"] = shards.parents[1]
    if settings.local_models is not None:
        found["models"] = settings.local_models
    return found


def housekeeping_assets() -> list[dg.AssetsDefinition]:
    """The assets of daily housekeeping and of hourly disk use."""

    @dg.asset(
        key=HOUSEKEEPING,
        group_name=GROUP,
        description="Superseded runs, old logs, alerts, rows and models removed; SQLite files compacted.",
    )
    def housekeeping(
        context: dg.AssetExecutionContext, settings: SettingsResource, store: StoreResource
    ) -> dg.MaterializeResult[None]:
        """Remove what is past its retention."""
        figures, failures = keep_house(context.instance, settings.get(), store.get, utc_now())
        if failures:
            raise dg.Failure("; ".join(failures), metadata=dict(figures), allow_retries=False)
        return dg.MaterializeResult(metadata=dict(figures))

    @dg.asset(
        key=DISK_USE,
        group_name=GROUP,
        description="Bytes and files of each part of the state, and the free space on its disk.",
    )
    def disk_use(context: dg.AssetExecutionContext, settings: SettingsResource) -> dg.MaterializeResult[None]:
        """Measure the disk."""
        config = settings.get()
        disk = disk_of(config.state_dir)
        metadata: dict[str, int] = {"free_bytes": disk.free, "total_bytes": disk.total}
        for name, (used, files) in sizes(places(context.instance, config)).items():
            metadata |= {f"bytes/{name}": used, f"files/{name}": files}
        metadata["runs"] = context.instance.get_runs_count()
        return dg.MaterializeResult(metadata=metadata)

    return [housekeeping, disk_use]


@dg.asset_check(
    asset=DISK_USE,
    name=FREE_DISK,
    # Blocking, so that too little fails the run: that is what the alert about failed runs tells.
    blocking=True,
    description=described("operations", "Free space on the disk of the state directory."),
)
def free_disk(settings: SettingsResource) -> dg.AssetCheckResult:
    """Judge the free space: little is a warning, too little an error."""
    disk = disk_of(settings.get().state_dir)
    severe = disk.level == "too little"
    return dg.AssetCheckResult(
        passed=disk.level == "enough",
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=disk.summary,
        metadata={"free_bytes": disk.free, "free_share": disk.free / disk.total if disk.total else 0.0},
    )


def _job(name: str, key: dg.AssetKey, tags: dict[str, str], description: str) -> AssetJob:
    return dg.define_asset_job(
        name,
        selection=dg.AssetSelection.assets(key),
        executor_def=dg.in_process_executor,
        **shown("operations", description, tags),
    )


def housekeeping_definitions() -> dg.Definitions:
    """The assets, the check, the jobs and their schedules, on by default."""
    house = _job("keep_house", HOUSEKEEPING, backfill_tags(), "Removes what is past its retention.")
    disk = _job("measure_disk", DISK_USE, tick_tags(), "Measures the disk and checks that there is room.")
    schedules = [
        dg.ScheduleDefinition(
            name=name,
            job=job,
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            **shown("operations", text),
        )
        for name, job, cron, text in (
            ("keep_house_every_night", house, HOUSEKEEPING_CRON, "Housekeeping, at 03:40 UTC."),
            ("measure_disk_every_hour", disk, DISK_CRON, "A look at the disk, each hour."),
        )
    ]
    return dg.Definitions(
        assets=housekeeping_assets(),
        asset_checks=[free_disk],
        jobs=[house, disk],
        schedules=schedules,
        sensors=[first_day_sensor({HOUSEKEEPING: house, DISK_USE: disk})],
    )
