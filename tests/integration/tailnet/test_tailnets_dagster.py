"""Two tailnets in a real Dagster instance: each has its own assets, healing and alerts, and a node each."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support import bot_api as api
from tests.support.api_world import settings_of
from tests.support.journals import MemoryJournal, minutes
from tsobs_pipelines.alerting.history import recent
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.definitions import build_defs
from tsobs_pipelines.defs.alerts.materializations import read_cursors, written_cursors
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.tailnet.errors import SidecarUnavailableError
from tsobs_pipelines.tailnet_settings import further_tailnets
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

pytestmark = pytest.mark.long

MINUTE = timedelta(minutes=1)
START = (datetime.now(UTC) - timedelta(days=2)).date()
FILE = """
[office]
sidecar_url = "http://127.0.0.1:2"
critical_nodes = ["git"]
latency_threshold_ms = 50
"""


class TwoTailnets:
    """The whole code location over two journals, with the tests' Bot API."""

    def __init__(
        self,
        settings: Settings,
        store: SqlStore,
        instance: dg.DagsterInstance,
        repository: dg.RepositoryDefinition,
    ) -> None:
        self.settings, self.store, self.instance = settings, store, instance
        self.repository = repository
        # When the test runs, and not when its module is read: a whole suite may lie between the two.
        self.now = datetime.now(UTC).replace(second=0, microsecond=0)
        self.journals = {"default": MemoryJournal(), "office": MemoryJournal()}
        self.cursors: dict[str, str | None] = {}

    def tick(self, sensor: str) -> dg.SensorResult:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(sensor), resources=default_resources()
        )
        with context:
            result = self.repository.get_sensor_def(sensor)(context)
        assert isinstance(result, dg.SensorResult)
        self.cursors[sensor] = result.cursor or self.cursors.get(sensor)
        return result

    def run(self, job: str, tags: dict[str, str]) -> dg.ExecuteInProcessResult:
        found = self.repository.get_job(job)
        return found.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def heal(self) -> list[str]:
        """One tick of the healing sensor, and all the runs it asks for; the jobs' names."""
        asked = self.tick("healing_sensor").run_requests or []
        for request in asked:
            assert self.run(str(request.job_name), dict(request.tags)).success
        return sorted(str(request.job_name) for request in asked)

    def rounds(self, tailnet: str) -> int:
        window = Window.trailing(self.now + MINUTE, timedelta(days=3))
        return sum(self.store.count_times(CONNECTIONS, window, {"tailnet": tailnet}).values())


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> dg.RepositoryDefinition:
    """The code location of the two; what it reads of the settings is the same for every test."""
    file = tmp_path_factory.mktemp("file") / "tailnets.toml"
    file.write_text(FILE)
    settings = settings_of(
        file.parent,
        sidecar_url="http://127.0.0.1:1",
        further_tailnets=further_tailnets(file),
        start_date_override=START,
    )
    return build_defs(settings).get_repository_def()


@pytest.fixture
def bot() -> Iterator[api.BotApi]:
    with api.bot_api() as made:
        yield made


@pytest.fixture
def two(
    tmp_path: Path, bot: api.BotApi, repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TwoTailnets]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tailnets.toml").write_text(FILE)
    (tmp_path / "dagster").mkdir()
    for name, value in {
        "TSOBS_STATE_DIR": str(tmp_path / "var"),
        "TSOBS_SIDECAR_URL": "http://127.0.0.1:1",
        "TSOBS_TAILNETS_FILE": "tailnets.toml",
        "TSOBS_START_DATE": str(START),
        "TELEGRAM_BOT_TOKEN": api.TOKEN,
        "TELEGRAM_CHAT_ID": api.CHAT,
        "TELEGRAM_API_URL": bot.url,
    }.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral(str(tmp_path / "dagster")) as instance:
        settings = load_settings()
        store = SqlStore(settings.database_url)
        made = TwoTailnets(settings, store, instance, repository)
        monkeypatch.setattr(resources.opened, "settings", lambda: settings)
        monkeypatch.setattr(resources.opened, "store", lambda: store)
        monkeypatch.setattr(resources.opened, "sidecar", lambda tailnet: made.journals[tailnet])
        yield made
        store.close()


def test_each_tailnet_is_a_lineage_of_its_own(repository: dg.RepositoryDefinition) -> None:
    graph = repository.asset_graph
    for prefix, group in (([], "tailnet"), (["office"], "tailnet_office")):
        journal, metrics, summary = (
            dg.AssetKey([*prefix, name])
            for name in ("tailnet_journal", "connection_metrics", "connection_summary")
        )
        assert graph.get(metrics).parent_keys == {journal}
        assert graph.get(summary).parent_keys == {metrics}
        assert {graph.get(key).group_name for key in (journal, metrics, summary)} == {group}
        assert metrics in graph.get(dg.AssetKey("latency_alerts")).parent_keys
        checked = {key.name for key in graph.asset_check_keys if key.asset_key == metrics}
        assert checked == {
            "latency_within_limit",
            "reached_directly",
            "journal_is_fresh",
            "rounds_complete",
            "nodes_are_seen",
        }
        policy = graph.get(metrics).freshness_policy
        assert policy is not None
    names = {schedule.name: schedule.job_name for schedule in repository.schedule_defs}
    assert names["collect_every_5_minutes"] == "collect_connections"
    assert names["collect_every_5_minutes_office"] == "collect_connections_office"


def test_each_is_healed_by_runs_of_its_own(two: TwoTailnets) -> None:
    two.journals["default"].take(minutes(two.now - timedelta(days=1), 3))
    two.journals["office"].take(minutes(two.now - timedelta(days=1), 7))
    assert two.heal() == ["heal_connections", "heal_connections_office"]
    assert (two.rounds("default"), two.rounds("office")) == (3, 7)
    rows = two.store.read(CONNECTIONS, Window.trailing(two.now, timedelta(days=3)), {"tailnet": "office"})
    assert {row["hostname"] for row in rows} == {"git"}
    partitions = two.instance.get_materialized_partitions(dg.AssetKey(["office", "connection_metrics"]))
    assert len(partitions) >= 1
    assert two.heal() == []
    reason = two.tick("healing_sensor").skip_reason
    assert reason is not None
    assert "office: The store has every round" in str(reason.skip_message)


def test_one_whose_sidecar_is_away_holds_up_nothing(
    two: TwoTailnets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise SidecarUnavailableError("http://127.0.0.1:1", "no answer")

    monkeypatch.setattr(two.journals["default"], "samples_index", away)
    two.journals["office"].take(minutes(two.now - 5 * MINUTE, 3))
    assert two.heal() == ["heal_connections_office"]
    stamp = {"tsobs/scheduled_at": two.now.isoformat(), "dagster/partition": str(two.now.date())}
    assert not two.run("collect_connections", stamp).success
    assert two.run("collect_connections_office", stamp).success


def test_the_same_name_in_two_tailnets_is_two_topics(two: TwoTailnets, bot: api.BotApi) -> None:
    start = two.now - 20 * MINUTE
    for name, latency_ms in (("default", 70.0), ("office", 70.0)):
        two.journals[name].take(minutes(start, 20), latency_ms=latency_ms)
    two.heal()
    # 70 ms are too much for the office's limit alone.
    (request,) = two.tick("latency_alert_sensor").run_requests or []
    assert request.tags["tsobs/topic"] == "latency_git"
    assert two.run("tell_latency_alerts", dict(request.tags)).success
    (text,) = bot.texts
    assert "[office] high latency to git: 70 ms in the 5-minute mean, over 50 ms" in text
    assert "/vpn.html#tailnet=office" in bot.accepted[0]["text"]
    found = recent(engine_for(two.settings.database_url), two.now - timedelta(hours=1))
    assert [(incident.scope, incident.topic) for incident in found if incident.first_message.fate] == [
        ("office", "latency_git")
    ]
    assert two.tick("latency_alert_sensor").run_requests == []


def test_silence_is_told_of_the_tailnet_that_is_silent(two: TwoTailnets, bot: api.BotApi) -> None:
    two.journals["default"].take(minutes(two.now - 10 * MINUTE, 10))
    two.journals["office"].take(minutes(two.now - 40 * MINUTE, 10))
    two.heal()
    context = dg.build_sensor_context(instance=two.instance, resources=default_resources())
    with context:
        two.repository.get_sensor_def("silence_sensor")(context)
        said = two.repository.get_sensor_def("silence_sensor")(context)
    assert isinstance(said, dg.SkipReason)
    assert str(said.skip_message) == "No fresh round of tailnet office."


def test_the_cursor_of_one_tailnet_is_carried_on() -> None:
    assert read_cursors(None) == {}
    assert read_cursors("1234") == {"connection_metrics": "1234"}
    both = {"connection_metrics": "7", "office/connection_metrics": "9"}
    assert read_cursors(written_cursors(both)) == both
    assert read_cursors("{broken") == {}
