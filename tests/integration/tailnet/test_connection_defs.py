"""The connection assets, their checks and healing in a real Dagster instance, over a synthetic journal."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import dagster as dg
import pytest

from tests.support.journals import NODES, MemoryJournal, minutes, round_line
from tsobs_pipelines.definitions import connection_definitions
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.tailnet.assets import SCHEDULED_TAG, tick_requests
from tsobs_pipelines.defs.tailnet.healing import healing_job, healing_sensor, pause_until
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.timeseries.schema import CONNECTIONS, SUMMARY
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreUnavailableError, Window

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAYS = [TODAY - timedelta(days=age) for age in (3, 2, 1)]


class Observatory:
    """Dagster, a store and a journal."""

    def __init__(self, settings: Settings, store: SqlStore, instance: dg.DagsterInstance) -> None:
        self.settings, self.store, self.instance = settings, store, instance
        self.journal = MemoryJournal()

    def run(self, job: str, **tags: str) -> dg.ExecuteInProcessResult:
        defs = dg.Definitions.merge(
            connection_definitions(self.settings), dg.Definitions(resources=default_resources())
        )
        return defs.resolve_job_def(job).execute_in_process(
            instance=self.instance, tags=tags, raise_on_error=False
        )

    def heal(self) -> list[dict[str, str]]:
        """One tick of the healing sensor: the tags of the runs that it asks for."""
        jobs = [healing_job(tailnet) for tailnet in self.settings.tailnets]
        sensor = healing_sensor(jobs, DAYS[0].date())
        with dg.build_sensor_context(instance=self.instance, resources=default_resources()) as context:
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        self.skipped = str(result.skip_reason.skip_message) if result.skip_reason else ""
        return [dict(request.tags) for request in result.run_requests or []]

    def start_by_hand(self, asset: dg.AssetKey) -> None:
        """A run as the UI starts it, which does not get far."""
        status = dg.DagsterRunStatus.STARTED
        self.instance.add_run(
            dg.DagsterRun(
                "__ASSET_JOB", run_id=str(uuid4()), asset_selection=frozenset({asset}), status=status
            )
        )

    def rounds(self, day: datetime) -> int:
        return self.store.count_times(CONNECTIONS, Window.of_day(day.date())).get(day.date(), 0)


@pytest.fixture
def observatory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Observatory]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("TSOBS_SIDECAR_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TSOBS_START_DATE", str(DAYS[0].date()))
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.ephemeral(str(tmp_path / "dagster")) as instance:
        settings = load_settings()
        store = SqlStore(settings.database_url)
        made = Observatory(settings, store, instance)
        monkeypatch.setattr(resources.opened, "settings", lambda: settings)
        monkeypatch.setattr(resources.opened, "store", lambda: store)
        monkeypatch.setattr(resources.opened, "sidecar", lambda _tailnet: made.journal)
        yield made
        store.close()


def counts(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, object]:
    events = result.asset_materializations_for_node("collect_journal")
    found = next(event for event in events if event.asset_key == dg.AssetKey(asset))
    return {key: value.value for key, value in found.metadata.items()}


def test_healing_does_not_ask_for_what_a_person_has_asked_for(observatory: Observatory) -> None:
    observatory.journal.take(minutes(DAYS[0], 3))
    assert observatory.heal()
    observatory.start_by_hand(dg.AssetKey("electricity_prices"))
    assert observatory.heal(), "that run brings something else"
    observatory.start_by_hand(dg.AssetKey("connection_metrics"))
    assert observatory.heal() == []
    assert observatory.skipped == "Under way: a run that was started by hand."


def test_healing_fills_the_history_in_one_run_and_is_then_content(observatory: Observatory) -> None:
    for day in DAYS:
        observatory.journal.take(minutes(day, 10))
    (tags,) = observatory.heal()
    assert tags["dagster/asset_partition_range_start"] == str(DAYS[0].date())
    assert tags["dagster/asset_partition_range_end"] == str(DAYS[-1].date())
    result = observatory.run("heal_connections", **tags)
    assert result.success
    assert [observatory.rounds(day) for day in DAYS] == [10, 10, 10]
    for asset in ("connection_metrics", "network_diagnostics", "connection_summary", "tailnet_journal"):
        partitions = observatory.instance.get_materialized_partitions(dg.AssetKey(asset))
        assert partitions == {str(day.date()) for day in DAYS}, asset
    summaries = observatory.store.read(SUMMARY, Window(DAYS[0], TODAY))
    assert len(summaries) == 3 * len(NODES)
    assert observatory.heal() == []
    assert observatory.skipped == "The store has every round of the journal."


def test_what_could_not_be_read_is_in_the_metadata(observatory: Observatory) -> None:
    day = DAYS[1]
    late = round_line(day + timedelta(minutes=5))
    lines = [late[:99] + b"\n", late.replace(b'"v":1', b'"v":9'), b"x" * (20 << 20) + b"\n", late, late]
    observatory.journal.append(*lines, day=day.date())
    (tags,) = observatory.heal()
    found = counts(observatory.run("heal_connections", **tags), "connection_metrics")
    assert (found["rounds"], found["rows_written"]) == (1, 3)
    assert (found["skipped_lines"], found["duplicate_rounds"]) == (3, 1)
    assert found["skipped_because"] == {str(day.date()): {"malformed": 1, "version": 1, "too-long": 1}}
    assert found["path/git"] == "direct"
    assert observatory.heal() == []


def test_a_tick_adds_what_is_new_and_judges_it(observatory: Observatory) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    start = now - timedelta(minutes=20)

    def tick() -> dg.ExecuteInProcessResult:
        days = sorted({start.date(), now.date()})
        stamp = {SCHEDULED_TAG: now.isoformat()}
        results = [
            observatory.run("collect_connections", **stamp, **{"dagster/partition": str(day)}) for day in days
        ]
        assert all(result.success for result in results)
        return results[-1]

    observatory.journal.take(minutes(start, 10))
    tick()
    observatory.journal.take(minutes(start + timedelta(minutes=10), 10), latency_ms=150.0)
    result = tick()
    verdicts = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert verdicts == {
        "latency_within_limit": False,
        "reached_directly": True,
        "journal_is_fresh": True,
        "rounds_complete": False,
        "nodes_are_seen": True,
    }


def test_a_store_that_is_away_fails_the_run_and_is_asked_again_later(
    observatory: Observatory, monkeypatch: pytest.MonkeyPatch
) -> None:
    observatory.journal.take(minutes(DAYS[0], 3))
    (tags,) = observatory.heal()

    def unavailable(*_: object) -> None:
        raise StoreUnavailableError("InfluxDB at http://x: no answer")

    with monkeypatch.context() as away:
        away.setattr(observatory.store, "replace", unavailable)
        result = observatory.run("heal_connections", **tags)
    assert not result.success
    assert observatory.heal() == []
    assert observatory.skipped.startswith("The last healing runs failed: ")
    assert observatory.run("heal_connections", **tags).success
    assert observatory.rounds(DAYS[0]) == 3


def test_each_failure_doubles_the_pause() -> None:
    last = datetime(2026, 11, 20, tzinfo=UTC)
    waited = [
        (pause_until([last] * failures, last) - last) / timedelta(minutes=1)
        for failures in (0, 1, 2, 3, 6, 10)
    ]
    assert waited == [0, 1, 2, 4, 32, 32]


@pytest.mark.parametrize(
    ("at", "days"),
    [("00:00", ["23", "24"]), ("00:05", ["23", "24"]), ("00:10", ["24"]), ("23:55", ["24"])],
)
def test_the_ticks_after_midnight_collect_the_day_before_as_well(at: str, days: list[str]) -> None:
    requests = tick_requests(datetime.fromisoformat(f"2026-11-24T{at}:00+00:00"))
    assert [str(request.partition_key)[-2:] for request in requests] == days
    assert {request.tags[SCHEDULED_TAG] for request in requests} == {f"2026-11-24T{at}:00+00:00"}
