"""Looks of the alert sensors in Dagster: in sync without a run, with figures, and kept for two days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.loader import LoadingContextForTest
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from sqlalchemy import func, select, update

from tests.integration.alerting.test_dagster import RESOURCES, Watch, at, requests_of
from tests.integration.alerting.test_dagster import watch as watch  # noqa: PLC0414 - a fixture
from tests.integration.alerting.test_dagster import watch_on_disk as watch_on_disk  # noqa: PLC0414 - a fixture
from tests.support.alert_rows import paths, rows
from tsobs_pipelines.dagster_storage.run_history import event_storage, remove_runless
from tsobs_pipelines.defs.alerts.definitions import alert_definitions
from tsobs_pipelines.defs.alerts.looks import LOOK_TAG
from tsobs_pipelines.defs.operations.housekeeping import tidy_runs

LATENCY, RELAY = dg.AssetKey("latency_alerts"), dg.AssetKey("relay_alerts")
SENSORS = {LATENCY: "latency_alert_sensor", RELAY: "relay_alert_sensor"}


@dg.asset(
    key="connection_metrics",
    partitions_def=dg.DailyPartitionsDefinition("2026-11-01", end_date="2026-11-25"),
)
def metrics() -> None:
    """The metrics as they are on 2026-11-24, the last partition."""


def status(watch: Watch, key: dg.AssetKey) -> StaleStatus:
    """What the UI shows of an alert asset: fresh is in sync, stale is unsynced."""
    location = dg.Definitions(assets=[metrics], resources=RESOURCES)
    graph = dg.Definitions.merge(alert_definitions(watch.settings.tailnets), location).resolve_asset_graph()
    return CachingStaleStatusResolver(
        watch.instance, graph, LoadingContextForTest(watch.instance)
    ).get_status(key)


def tick(watch: Watch, key: dg.AssetKey) -> list[dg.RunRequest]:
    """A tick as the daemon makes it, with its events; the runs that it asks for."""
    result = watch.tick(SENSORS[key])
    for event in result.asset_events if isinstance(result, dg.SensorResult) else ():
        watch.instance.report_runless_asset_event(event)
    return requests_of(result)


def newest(watch: Watch, key: dg.AssetKey) -> dict[str, object]:
    """The metadata of the newest materialisation."""
    entry = watch.instance.get_latest_materialization_event(key)
    assert entry is not None
    assert entry.asset_materialization is not None
    return {name: value.value for name, value in entry.asset_materialization.metadata.items()}


def looks(watch: Watch, key: dg.AssetKey) -> int:
    """How many materialisations without a run there are."""
    records = watch.instance.fetch_materializations(key, limit=1000).records
    return sum(record.run_id == RUNLESS_RUN_ID for record in records)


def test_a_look_makes_the_asset_in_sync_without_a_run(watch: Watch) -> None:
    assert status(watch, LATENCY) is StaleStatus.MISSING
    for minute in (600, 605):
        watch.collect(rows([20] * 5, start=minute))
        at(watch, minute + 5)
        before = looks(watch, LATENCY)
        assert before == 0 or status(watch, LATENCY) is StaleStatus.STALE
        assert tick(watch, LATENCY) == []
        assert status(watch, LATENCY) is StaleStatus.FRESH
        assert looks(watch, LATENCY) == before + 1
    assert tick(watch, LATENCY) == []
    assert looks(watch, LATENCY) == 2, "nothing new, no look"


def test_a_look_says_until_when_how_many_fire_and_the_newest_values(watch: Watch) -> None:
    watch.collect(rows([20] * 5 + [150] * 5, start=600))
    at(watch, 610)
    (request,) = tick(watch, LATENCY)
    found = newest(watch, LATENCY)
    assert (found["firing"], found["firing_topics"]) == (1, "latency_git")
    assert found["latency_ms/git"] == 150.0
    assert datetime.fromtimestamp(float(str(found["evaluated_until"])), UTC) == watch.now
    assert set(watch.run("latency_alerts", request)) > {"text", "fate", "source_run"}
    assert status(watch, LATENCY) is StaleStatus.FRESH
    watch.collect(paths("d" * 10, start=600))
    tick(watch, RELAY)
    assert newest(watch, RELAY)["firing/relay_git"] == 0


def test_what_arrived_during_a_look_is_not_called_looked_at(watch: Watch) -> None:
    """The newest materialisation is older than the look, and still nobody has evaluated it."""
    watch.collect(rows([20] * 5, start=600))
    at(watch, 605)
    result = watch.tick("latency_alert_sensor")
    watch.collect(rows([20] * 5, start=605))
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        watch.instance.report_runless_asset_event(event)
    assert status(watch, LATENCY) is StaleStatus.STALE


def test_a_message_that_is_delivered_late_leaves_it_in_sync(watch: Watch) -> None:
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    tick(watch, LATENCY)
    at(watch, 611)
    result = watch.tick("alert_delivery_sensor")
    assert isinstance(result, dg.SensorResult)
    (event,) = result.asset_events
    watch.instance.report_runless_asset_event(event)
    assert "text" in newest(watch, LATENCY)
    assert status(watch, LATENCY) is StaleStatus.FRESH
    watch.collect(rows([150] * 5, start=610))
    assert status(watch, LATENCY) is StaleStatus.STALE


@pytest.mark.parametrize("kept", [0, 1])
def test_housekeeping_keeps_two_days_and_the_newest_one(watch_on_disk: Watch, kept: int) -> None:
    watch = watch_on_disk
    for minute in range(600, 625, 5):
        watch.collect(rows([20] * 5, start=minute))
        at(watch, minute + 5)
        tick(watch, LATENCY)
    watch.instance.report_runless_asset_event(dg.AssetMaterialization(LATENCY, metadata={"text": "told"}))
    watch.collect(rows([20] * 5, start=625))
    at(watch, 630)
    if kept:
        tick(watch, LATENCY)
    now = datetime.now(UTC)
    _age(watch, now - timedelta(days=3))
    shown = status(watch, LATENCY)
    assert tidy_runs(watch.instance, watch.settings, now)["looks_removed"] == 5
    assert looks(watch, LATENCY) == 1 + kept, "what was told stays, and so does the newest"
    assert status(watch, LATENCY) is shown
    assert _copies(watch) == 0
    assert remove_runless(watch.instance, LOOK_TAG, now) == 0


def _age(watch: Watch, moment: datetime) -> None:
    storage = event_storage(watch.instance)
    old = update(SqlEventLogStorageTable).values(timestamp=moment.replace(tzinfo=None))
    for place in (storage.index_connection(), storage.run_connection(RUNLESS_RUN_ID)):
        with place as connection:
            connection.execute(old.where(SqlEventLogStorageTable.c.run_id == RUNLESS_RUN_ID))


def _copies(watch: Watch) -> int:
    """How many looks are in the file of events without a run, which SQLite keeps besides."""
    mine = SqlEventLogStorageTable.c.event.contains(f'"{LOOK_TAG}"')
    with event_storage(watch.instance).run_connection(RUNLESS_RUN_ID) as connection:
        counted = connection.execute(select(func.count()).select_from(SqlEventLogStorageTable).where(mine))
        return int(counted.scalar_one())
