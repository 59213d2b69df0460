"""The alert sensors and assets in a real Dagster instance, from a materialisation to the Bot API."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from tests.support import bot_api as api
from tests.support.alert_rows import DAY, MINUTE, paths, rows
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channels import channels_of
from tsobs_pipelines.alerting.history import firing, recent
from tsobs_pipelines.defs.alerts import assets as alerts
from tsobs_pipelines.defs.alerts import sensors as alert_sensors
from tsobs_pipelines.defs.alerts import watch as alert_watch
from tsobs_pipelines.defs.alerts.definitions import alert_definitions
from tsobs_pipelines.defs.alerts.scopes import alert_engine
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import SettingsResource, StoreResource
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreUnavailableError

SENSORS = {sensor.name: sensor for sensor in alert_definitions([]).sensors or ()}
RESOURCES = {"settings": SettingsResource(), "store": StoreResource()}


@dg.asset(key="connection_metrics", partitions_def=dg.DailyPartitionsDefinition("2026-11-01", end_offset=1))
def metrics() -> None:
    """Stands for the collection."""


class Watch:
    """Dagster, a store and a bot, and a clock that the test moves."""

    def __init__(
        self, settings: Settings, store: SqlStore, bot: api.BotApi, instance: dg.DagsterInstance
    ) -> None:
        self.settings, self.store, self.bot, self.instance = settings, store, bot, instance
        self.now = DAY
        self.cursors: dict[str, str | None] = {}
        self.engine = alert_engine(settings)

    def collect(
        self, data: Sequence[ConnectionRow], mode: str = "incremental", day: str = "2026-11-24"
    ) -> str:
        """Write rows and materialise their day, as a run of the collection does; its run id."""
        self.store.write(CONNECTIONS, data)
        last = max((row.time for row in data), default=None)
        said = {"mode": mode, "last_round": last.isoformat() if last else "none"}

        @dg.asset(key="connection_metrics", partitions_def=metrics.partitions_def)
        def collect() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(metadata=said)

        return dg.materialize([collect], instance=self.instance, partition_key=day).run_id

    def tick(self, name: str) -> dg.SensorResult | dg.SkipReason:
        """One tick of a sensor, as the daemon makes it."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(name), resources=RESOURCES
        ) as context:
            result = SENSORS[name](context)
        assert isinstance(result, (dg.SensorResult, dg.SkipReason))
        if isinstance(result, dg.SensorResult) and result.cursor is not None:
            self.cursors[name] = result.cursor
        return result

    def run(self, asset: str, request: dg.RunRequest) -> dict[str, object]:
        """The run that was asked for; the metadata of its materialisation."""
        defs = alert_definitions(self.settings.tailnets)
        job = dg.Definitions.merge(
            defs, dg.Definitions(assets=[metrics], resources=RESOURCES)
        ).resolve_job_def(f"tell_{asset}")
        result = job.execute_in_process(instance=self.instance, tags=request.tags)
        (event,) = result.asset_materializations_for_node(asset)
        return {key: value.value for key, value in event.metadata.items()}


def requests_of(result: dg.SensorResult | dg.SkipReason) -> list[dg.RunRequest]:
    return list(result.run_requests or []) if isinstance(result, dg.SensorResult) else []


def reason_of(result: dg.SensorResult | dg.SkipReason) -> str:
    skipped = result if isinstance(result, dg.SkipReason) else result.skip_reason
    return str(skipped.skip_message if isinstance(skipped, dg.SkipReason) else skipped)


@contextmanager
def watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instance: dg.DagsterInstance
) -> Iterator[Watch]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", api.TOKEN)
    monkeypatch.setenv("TELEGRAM_CHAT_ID", api.CHAT)
    with api.bot_api() as bot, instance:
        monkeypatch.setenv("TELEGRAM_API_URL", bot.url)
        settings = load_settings()
        store = SqlStore(settings.database_url)
        monkeypatch.setattr(resources.opened, "settings", lambda: settings)
        monkeypatch.setattr(resources.opened, "store", lambda: store)
        made = Watch(settings, store, bot, instance)
        for module in (alerts, alert_sensors, alert_watch):
            monkeypatch.setattr(module, "utc_now", lambda: made.now)
        yield made
        store.close()


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Dagster's records in memory: on the disk each run has a database of its own."""
    with watching(tmp_path, monkeypatch, dg.DagsterInstance.ephemeral(str(tmp_path))) as made:
        yield made


@pytest.fixture
def watch_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    (tmp_path / "dagster").mkdir()
    with watching(tmp_path, monkeypatch, dg.DagsterInstance.local_temp(str(tmp_path / "dagster"))) as made:
        yield made


def unavailable(*_: object) -> list[ConnectionRow]:
    raise StoreUnavailableError("InfluxDB at http://x: no answer")


def at(watch: Watch, minute: float) -> None:
    watch.now = DAY + minute * MINUTE


def test_from_a_relayed_node_to_one_message_and_its_evidence(watch: Watch) -> None:
    watch.collect(paths("ddddd", start=600))
    at(watch, 605)
    assert requests_of(watch.tick("relay_alert_sensor")) == []
    source = watch.collect(paths("rrrrr", start=605))
    at(watch, 610)
    (request,) = requests_of(watch.tick("relay_alert_sensor"))
    assert request.tags["tsobs/topic"] == "relay_git"
    assert request.tags["tsobs/source_partition"] == "2026-11-24"
    assert request.tags["tsobs/source_run_id"] == source
    assert "WARNING [DEMO data] git is reached through DERP relay fra" in request.tags["tsobs/told"]
    assert "\n" not in request.tags["tsobs/told"]
    metadata = watch.run("relay_alerts", request)
    assert watch.bot.texts
    assert "git is reached through DERP relay fra" in str(metadata["text"])
    assert metadata["fate"] == "sent"
    assert (metadata["source_run"], metadata["source_partition"]) == (source, "2026-11-24")
    assert f"/runs/{source}" in str(watch.bot.accepted[0]["text"])
    assert str(metadata["since"]).startswith("2026-11-24T10:05")
    # Once more, by whatever means: nothing more is sent.
    watch.run("relay_alerts", request)
    watch.cursors.clear()
    assert requests_of(watch.tick("relay_alert_sensor")) == []
    watch.run("relay_alerts", request)
    assert len(watch.bot.accepted) == 1


class Shown(HTMLParser):
    """What a reader of HTML sees; the plain form of our own would prove itself."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(message)
        self.close()

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_host_with_a_hostile_name_arrives_as_itself(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    name = '<b>&"_*[x](y)'
    hostile = watch.settings.model_copy(update={"critical_nodes": (name,)})
    monkeypatch.setattr(resources.opened, "settings", lambda: hostile)
    watch.collect(paths("dddddrrrrr", start=600, host=name))
    at(watch, 610)
    (request,) = requests_of(watch.tick("relay_alert_sensor"))
    assert request.tags["tsobs/topic"] == f"relay_{name}"
    metadata = watch.run("relay_alerts", request)
    (sent,) = watch.bot.accepted
    assert sent["parse_mode"] == "HTML"
    assert f"{name} is reached through DERP relay fra" in Shown(str(sent["text"])).text
    assert f"{name} is reached through DERP relay fra" in str(metadata["text"])


def test_nothing_new_is_said_so_that_a_person_understands(watch: Watch) -> None:
    assert reason_of(watch.tick("latency_alert_sensor")) == "Nothing new in connection_metrics."
    watch.collect(rows([20] * 5, start=600))
    at(watch, 605)
    said = reason_of(watch.tick("latency_alert_sensor"))
    assert said == "1 new materialisations of connection_metrics, nothing to tell."
    assert reason_of(watch.tick("alert_delivery_sensor")) == "No message waits to be sent."


def test_a_sensor_killed_after_its_commit_loses_nothing(watch: Watch) -> None:
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    (first,) = requests_of(watch.tick("latency_alert_sensor"))
    watch.cursors.clear()  # it died before the daemon wrote cursor and run
    (again,) = requests_of(watch.tick("latency_alert_sensor"))
    assert again.run_key == first.run_key


def test_what_no_run_sends_the_delivery_sensor_sends(watch: Watch) -> None:
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    watch.tick("latency_alert_sensor")
    assert watch.bot.accepted == []
    assert reason_of(watch.tick("alert_delivery_sensor")) == "No message waits to be sent."
    at(watch, 611)
    result = watch.tick("alert_delivery_sensor")
    assert len(watch.bot.accepted) == 1
    assert isinstance(result, dg.SensorResult)
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert event.asset_key == dg.AssetKey("latency_alerts")


def test_a_429_in_a_run_is_sent_later_by_the_delivery_sensor(watch: Watch) -> None:
    watch.bot.order(api.status(429, "Too Many Requests", retry_after=300))
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    (request,) = requests_of(watch.tick("latency_alert_sensor"))
    assert "pending (429" in str(watch.run("latency_alerts", request)["fate"])
    at(watch, 614)
    watch.tick("alert_delivery_sensor")
    assert watch.bot.accepted == []
    at(watch, 616)
    watch.tick("alert_delivery_sensor")
    assert len(watch.bot.accepted) == 1


def test_the_first_fill_is_history_and_sends_nothing(watch: Watch) -> None:
    for back in range(1, 31):
        start = -back * 1440
        watch.collect(rows([20] * 30 + [150] * 30 + [20] * 30, start=start + 600), "full")
        watch.instance.report_runless_asset_event(
            dg.AssetMaterialization(
                "connection_metrics",
                partition=(DAY - timedelta(days=back)).date().isoformat(),
                metadata={"mode": "full", "last_round": (DAY + 659 * MINUTE).isoformat()},
            )
        )
    watch.collect(rows([20] * 60, start=600))
    at(watch, 661)
    (request,) = requests_of(watch.tick("latency_alert_sensor"))
    metadata = watch.run("latency_alerts", request)
    assert metadata["historical_days"] == 30
    assert metadata["historical_incidents"] == 30
    assert {incident.origin for incident in recent(watch.engine, DAY - timedelta(days=40))} == {"historical"}
    assert watch.bot.requests == []
    # A backfill of it all once more changes nothing.
    before = recent(watch.engine, DAY - timedelta(days=40))
    watch.collect([], "full", "2026-11-20")
    (again,) = requests_of(watch.tick("latency_alert_sensor"))
    watch.run("latency_alerts", again)
    assert recent(watch.engine, DAY - timedelta(days=40)) == before
    assert watch.bot.requests == []


def test_no_round_for_15_minutes_is_told_without_a_run_and_so_is_its_end(watch: Watch) -> None:
    watch.collect(rows([20] * 10, start=600))
    at(watch, 610)
    assert reason_of(watch.tick("silence_sensor")) == "Rounds are fresh."
    for minute in range(611, 640):
        at(watch, minute)
        watch.tick("silence_sensor")
    (text,) = watch.bot.texts
    assert "no fresh round of any node for 16 minutes" in text
    watch.collect(rows([20] * 2, start=640))
    at(watch, 641)
    watch.tick("silence_sensor")
    assert "rounds arrive again" in watch.bot.texts[1]


def test_probes_that_fail_are_silence_and_say_why(watch: Watch) -> None:
    watch.collect(paths("d" + "u" * 40, start=600))
    for minute in range(600, 640):
        at(watch, minute)
        watch.tick("silence_sensor")
    (text,) = watch.bot.texts
    assert "is tailscaled running" in text


def test_a_store_that_is_down_is_not_an_empty_one(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    original = SqlStore.read

    monkeypatch.setattr(SqlStore, "read", unavailable)
    result = watch.tick("latency_alert_sensor")
    assert "nothing is lost" in reason_of(result)
    monkeypatch.setattr(SqlStore, "read", original)
    assert len(requests_of(watch.tick("latency_alert_sensor"))) == 1


def test_a_failed_run_is_told_and_its_success_resolves(watch: Watch) -> None:
    @dg.op(config_schema=bool)
    def work(context: dg.OpExecutionContext) -> None:
        if context.op_config:
            raise RuntimeError(f"no good {api.TOKEN}")

    @dg.job
    def nightly() -> None:
        work()

    def end(*, fails: bool) -> None:
        config = {"ops": {"work": {"config": fails}}}
        nightly.execute_in_process(instance=watch.instance, run_config=config, raise_on_error=False)
        watch.now = datetime.now(DAY.tzinfo) + timedelta(seconds=1)

    end(fails=True)
    watch.tick("run_failure_sensor")
    end(fails=True)
    watch.tick("run_failure_sensor")
    (text,) = watch.bot.texts
    assert "runs of nightly fail" in text
    assert api.TOKEN not in text
    end(fails=False)
    watch.tick("run_failure_sensor")
    assert "runs of nightly succeed again" in watch.bot.texts[1]
    assert [incident.topic for incident in firing(watch.engine)] == []


@pytest.mark.parametrize(("will_retry", "told"), [("true", 0), ("false", 1), (None, 1)])
def test_a_failed_run_is_not_told_before_dagster_says_whether_it_is_retried(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, will_retry: str | None, told: int
) -> None:
    @dg.op
    def work() -> None:
        raise RuntimeError("no good")

    @dg.job
    def nightly() -> None:
        work()

    run_id = nightly.execute_in_process(instance=watch.instance, raise_on_error=False).run_id
    monkeypatch.setattr(type(watch.instance), "run_retries_enabled", True)
    watch.now = datetime.now(DAY.tzinfo) + timedelta(seconds=1)
    watch.tick("run_failure_sensor")
    assert watch.bot.texts == []
    if will_retry is not None:
        watch.instance.add_run_tags(run_id, {"dagster/will_retry": will_retry})
    watch.now += timedelta(minutes=1)
    watch.tick("run_failure_sensor")
    assert len(watch.bot.texts) == told


def evaluation(watch: Watch, minute: float, mae: float, day: str = "2026-11-24") -> None:
    end = DAY + minute * MINUTE
    watch.instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "forecast_evaluation",
            partition=day,
            metadata={
                "window": f"{(end - timedelta(days=1)).isoformat()} to {end.isoformat()}",
                "mae": mae,
                "baseline_mae": 0.01,
                "degraded": mae > 0.02,
                "naive_mae": 0.012,
                "naive_baseline_mae": 0.012,
                "skill_ratio_7d": 0.8,
            },
        )
    )


def test_a_degraded_forecast_is_told_and_the_past_is_history(watch: Watch) -> None:
    for back in range(30, 1, -1):
        bad = back in {10, 11}
        day = (DAY - timedelta(days=back)).date().isoformat()
        evaluation(watch, (1 - back) * 1440, 0.05 if bad else 0.01, day)
    evaluation(watch, 600, 0.01)
    at(watch, 610)
    (request,) = requests_of(watch.tick("mae_degradation_sensor"))
    watch.run("mae_alerts", request)
    assert watch.bot.requests == []
    (past,) = recent(watch.engine, DAY - timedelta(days=40))
    assert (past.topic, past.origin) == ("mae_prophet_price_forecast", "historical")
    assert past.since == DAY - timedelta(days=10)
    evaluation(watch, 660, 0.031)
    evaluation(watch, 660, 0.031)
    at(watch, 665)
    (request,) = requests_of(watch.tick("mae_degradation_sensor"))
    metadata = watch.run("mae_alerts", request)
    (text,) = watch.bot.texts
    assert "3.1 times its baseline" in text
    assert "look at the model" in text
    assert request.tags["tsobs/topic"] == "mae_prophet_price_forecast"
    assert metadata["threshold"] == pytest.approx(0.02)


def test_the_heartbeat_goes_out_while_all_is_well_and_only_then(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = StubSidecar({"/beat": {}})
    with served(server):
        heart = watch.settings.model_copy(update={"heartbeat_url": SecretUrl(f"{server.url}/beat")})
        monkeypatch.setattr(resources.opened, "settings", lambda: heart)
        watch.collect(rows([20] * 10, start=600))
        at(watch, 610)
        assert "heartbeat answered with 200" in reason_of(watch.tick("silence_sensor"))
        with monkeypatch.context() as broken:
            broken.setattr(SqlStore, "read", unavailable)
            watch.tick("silence_sensor")
        at(watch, 640)
        watch.tick("silence_sensor")
        assert server.requests == ["/beat"]
        watch.collect(rows([20] * 2, start=640))
        at(watch, 641)
        watch.tick("silence_sensor")
        assert server.requests == ["/beat", "/beat"]

        def send() -> None:
            outbox.enqueue_test(alert_engine(heart), "x", watch.now)
            outbox.deliver(alert_engine(heart), channels_of(heart), lambda: watch.now)

        watch.bot.order(api.status(403, "Forbidden: bot was kicked from the group chat"))
        at(watch, 642)
        send()
        assert "no heartbeat" in reason_of(watch.tick("silence_sensor"))
        assert server.requests == ["/beat", "/beat"]
        at(watch, 643)
        send()
    assert "heartbeat not sent (ConnectError)" in reason_of(watch.tick("silence_sensor"))


def test_without_a_token_the_outbox_keeps_the_message(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = watch.settings.model_copy(update={"telegram_bot_token": None})
    monkeypatch.setattr(resources.opened, "settings", lambda: bare)
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    (request,) = requests_of(watch.tick("latency_alert_sensor"))
    assert outbox.NO_CHANNEL in str(watch.run("latency_alerts", request)["fate"])


def test_the_token_shows_nowhere_in_dagster(watch_on_disk: Watch) -> None:
    watch = watch_on_disk
    watch.bot.order(api.hang_up)
    watch.collect(rows([150] * 10, start=600))
    at(watch, 610)
    (request,) = requests_of(watch.tick("latency_alert_sensor"))
    watch.run("latency_alerts", request)
    assert isinstance(watch.settings.telegram_bot_token, SecretStr)
    kept = b"".join(
        path.read_bytes() for path in Path(watch.instance.root_directory).rglob("*") if path.is_file()
    )
    assert b"delivery_unknown" in kept
    assert api.TOKEN.encode() not in kept


def test_alert_assets_hang_below_their_metrics(watch: Watch) -> None:
    rest = dg.Definitions(assets=[metrics], resources=RESOURCES)
    graph = dg.Definitions.merge(alert_definitions(watch.settings.tailnets), rest).resolve_asset_graph()
    for name, upstream in (
        ("latency_alerts", "connection_metrics"),
        ("relay_alerts", "connection_metrics"),
        ("mae_alerts", "forecast_evaluation"),
    ):
        assert graph.get(dg.AssetKey(name)).parent_keys == {dg.AssetKey(upstream)}
