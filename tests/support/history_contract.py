"""What housekeeping guarantees about Dagster's history, for SQLite and Postgres alike."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from sqlalchemy import Table, func, select, update

from tsobs_pipelines.dagster_storage.run_history import event_storage, remove_runless, sweep
from tsobs_pipelines.defs.operations.housekeeping import tidy_runs
from tsobs_pipelines.settings import Settings, load_settings

DAYS = dg.DailyPartitionsDefinition("2026-11-01", timezone="UTC", end_date="2026-11-08")
METRICS, SUMMARY = dg.AssetKey("metrics"), dg.AssetKey("summary")
KEYS = tuple(f"2026-11-0{day}" for day in range(1, 3))
BROKEN_TAG = "tests/broken"
NOW = datetime(2026, 12, 24, 3, 40, tzinfo=UTC)


@dg.asset(key=METRICS, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def _metrics(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    if BROKEN_TAG in context.run.tags:
        raise dg.Failure("broken")
    return dg.MaterializeResult(metadata={"rows": len(context.partition_keys)}, tags={"day": "1"})


@dg.asset(key=SUMMARY, deps=[METRICS])
def _summary() -> None:
    pass


@dg.asset_check(asset=METRICS, name="fresh")
def _fresh() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


DEFS = dg.Definitions(
    assets=[_metrics, _summary],
    asset_checks=[_fresh],
    jobs=[
        dg.define_asset_job(
            "metrics_job", dg.AssetSelection.assets(METRICS), executor_def=dg.in_process_executor
        ),
        dg.define_asset_job(
            "summary_job", dg.AssetSelection.assets(SUMMARY), executor_def=dg.in_process_executor
        ),
    ],
)


@dataclass(frozen=True)
class History:
    """Runs by what should become of them."""

    superseded: Sequence[str]
    newest: Sequence[str]
    failed_long_ago: str
    failed_lately: str
    never_mended: str
    recent: str

    @property
    def staying(self) -> set[str]:
        """The runs that housekeeping must leave alone."""
        return {*self.newest, self.failed_lately, self.never_mended, self.recent}


def settings() -> Settings:
    """The defaults."""
    return load_settings()


def run(
    instance: dg.DagsterInstance, job: str, partition: str | None, age_days: float, *, broken: bool = False
) -> str:
    """Execute a real run; then set the storage's clock for it back."""
    done = DEFS.resolve_job_def(job).execute_in_process(
        instance=instance,
        partition_key=partition,
        raise_on_error=False,
        tags={BROKEN_TAG: "1"} if broken else {"tsobs/scheduled_at": "now"},
    )
    assert done.success is not broken
    age(instance, done.run_id, NOW - timedelta(days=age_days))
    return done.run_id


def age(instance: dg.DagsterInstance, run_id: str, at: datetime) -> None:
    """Make the storage believe that this run ended at ``at``."""
    moment = at.replace(tzinfo=None)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        connection.execute(
            update(RunsTable)
            .where(RunsTable.c.run_id == run_id)
            .values(create_timestamp=moment, update_timestamp=moment, end_time=at.timestamp())
        )
    with event_storage(instance).index_connection() as connection:
        connection.execute(
            update(SqlEventLogStorageTable)
            .where(SqlEventLogStorageTable.c.run_id == run_id)
            .values(timestamp=moment)
        )


def make_history(instance: dg.DagsterInstance) -> History:
    """Days of runs: each partition several times, one failed and mended, one failed for good."""
    first, second = KEYS
    superseded = [run(instance, "metrics_job", first, 41), run(instance, "metrics_job", second, 40)]
    failed_long_ago = run(instance, "metrics_job", first, 39.5, broken=True)
    newest = [run(instance, "metrics_job", first, 39)]
    superseded += [run(instance, "summary_job", None, 10)]
    never_mended = run(instance, "metrics_job", "2026-11-06", 35, broken=True)
    failed_lately = run(instance, "metrics_job", second, 20, broken=True)
    newest.append(run(instance, "metrics_job", second, 19))
    recent = run(instance, "summary_job", None, 0.1)
    return History(superseded, newest, failed_long_ago, failed_lately, never_mended, recent)


def status(instance: dg.DagsterInstance) -> dict[str, object]:
    """All that the UI shows of partitions and checks."""
    cache = get_and_update_asset_status_cache_value(instance, METRICS, DAYS)
    assert cache is not None
    check = dg.AssetCheckKey(METRICS, "fresh")
    latest_check = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    materialization = instance.get_latest_materialization_event(METRICS)
    summary = instance.get_latest_materialization_event(SUMMARY)
    assert materialization is not None
    assert summary is not None
    return {
        "materialized": sorted(instance.get_materialized_partitions(METRICS)),
        "cached": sorted(cache.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()),
        "failed": sorted(cache.deserialize_failed_partition_subsets(DAYS).get_partition_keys()),
        "latest": (materialization.run_id, summary.run_id),
        "check": (latest_check.run_id, latest_check.status),
    }


def rows(instance: dg.DagsterInstance) -> dict[str, int]:
    """Rows of each table that grows with the runs."""

    def count(connection: object, table: Table) -> int:
        counted: int = connection.execute(select(func.count()).select_from(table)).scalar()  # type: ignore[attr-defined]
        return counted

    with event_storage(instance).index_connection() as index, instance.run_storage.connect() as runs:  # type: ignore[attr-defined]
        found = {
            table.name: count(index, table) for table in (SqlEventLogStorageTable, AssetCheckExecutionsTable)
        }
        return found | {table.name: count(runs, table) for table in (RunsTable, RunTagsTable)}


def forget_the_cache(instance: dg.DagsterInstance) -> None:
    """Have Dagster find the status of the partitions again, from the events alone."""
    instance.wipe_asset_cached_status([METRICS])


def check_status_survives(instance: dg.DagsterInstance) -> None:
    """Old runs go; what is known of partitions and checks stays, with the cache and without."""
    history = make_history(instance)
    before = status(instance)
    assert before["materialized"] == list(KEYS)
    assert before["failed"] == ["2026-11-06"]
    figures = tidy_runs(instance, settings(), NOW)
    assert set(instance.get_run_ids()) == history.staying
    assert figures["runs_removed"] == len(history.superseded) + 1
    assert figures["old_runs_kept"] == len(history.staying) - 2
    assert status(instance) == before
    forget_the_cache(instance)
    assert status(instance) == before


def check_rows_level_off(instance: dg.DagsterInstance) -> None:
    """The same work done again leaves as many rows as the first time, in every table."""
    make_history(instance)
    tidy_runs(instance, settings(), NOW)
    once = rows(instance)
    for run_id in instance.get_run_ids():
        age(instance, run_id, NOW - timedelta(days=60))
    make_history(instance)
    assert rows(instance)["event_logs"] > 2 * once["event_logs"]
    tidy_runs(instance, settings(), NOW)
    assert rows(instance) == once


def check_orphans_go(instance: dg.DagsterInstance) -> None:
    """A run whose row went while its events stayed, as when a process was killed midway, is swept up."""
    history = make_history(instance)
    before = rows(instance)
    victim = history.superseded[0]
    instance.run_storage.delete_run(victim)
    assert event_count(instance, victim) > 0
    swept = sweep(instance, NOW - timedelta(days=1))
    assert swept.runs == 1
    assert event_count(instance, victim) == 0
    assert rows(instance)["event_logs"] < before["event_logs"]
    lately = history.recent
    instance.run_storage.delete_run(lately)
    assert sweep(instance, NOW - timedelta(days=1)).runs == 0, "younger than a day: its run may be beginning"


def check_looks_go(instance: dg.DagsterInstance) -> None:
    """Materialisations without a run go by their tag and age, but for the newest of an asset."""
    tag = "tests/look"
    for tags in ({tag: "1"}, {tag: "1"}, {}, {tag: "1"}):
        instance.report_runless_asset_event(dg.AssetMaterialization(SUMMARY, tags=tags))
    lately = NOW - timedelta(days=1)
    age(instance, "", lately)
    assert remove_runless(instance, tag, lately - timedelta(days=1)) == 0
    assert remove_runless(instance, tag, NOW) == 2
    left = instance.fetch_materializations(SUMMARY, limit=10).records
    assert [dict(one.event_log_entry.tags or {}) for one in left] == [{tag: "1"}, {}]


def event_count(instance: dg.DagsterInstance, run_id: str) -> int:
    """Events of the run in the index that all runs share."""
    table = SqlEventLogStorageTable
    with event_storage(instance).index_connection() as connection:
        query = select(func.count()).select_from(table).where(table.c.run_id == run_id)
        counted: int = connection.execute(query).scalar_one()
        return counted


@contextlib.contextmanager
def sqlite_instance(directory: Path) -> Iterator[dg.DagsterInstance]:
    """An instance in SQLite files, as ``make up`` has it, with captured logs as ``dagster dev`` has them."""
    with dg.DagsterInstance.local_temp(str(directory)) as instance:
        yield instance
