"""What tsobs reports about itself, from records that Dagster, the collector and the alerts wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, repeat
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.api_world import NOW, Api, api_of, demo_sidecar, parts_of, rounds, settings_of
from tests.support.dagster_records import HOUR, MINUTE, beat, check_records, ended_run, tick
from tsobs_pipelines.alerting.channel import TELEGRAM, Letter, Outcome, Refused
from tsobs_pipelines.alerting.depth import Depth
from tsobs_pipelines.alerting.notify import AppriseChannel
from tsobs_pipelines.alerting.outbox import deliver, enqueue_test, hand_over
from tsobs_pipelines.alerting.tables import deliveries, messages
from tsobs_pipelines.api.dagster_records import DagsterRecords, Heartbeat, Tick
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.self_checks import Moment, judge_outbox
from tsobs_pipelines.api.self_metrics import Records, SelfMetrics
from tsobs_pipelines.database import engine_for, writing
from tsobs_pipelines.run_tags import TICK_SCHEDULE
from tsobs_pipelines.secret_url import SecretTarget
from tsobs_pipelines.tailnet.summary import summary_rows
from tsobs_pipelines.timeseries.schema import COLLECTIONS, CONNECTIONS, SUMMARY, CollectionRow, ConnectionRow

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass(frozen=True)
class World:
    """An API, and what it reads from."""

    parts: Parts
    api: Api
    instance: dg.DagsterInstance

    def samples(self) -> Samples:
        """Every sample of ``/metrics`` by name and labels, as Prometheus' own parser reads it."""
        text = self.api.get("/metrics").text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def message(self, age: timedelta, fate: str = "pending", reason: str = "") -> None:
        """Put a message into the outbox."""
        engine = engine_for(self.parts.settings.database_url)
        number = enqueue_test(engine, "a test", NOW - age)
        hand_over(engine, [TELEGRAM], NOW)
        with writing(engine) as connection:
            values = {"fate": fate, "reason": reason, "settled_at": None if fate == "pending" else NOW - age}
            connection.execute(messages.update().where(messages.c.id == number).values(values))
            mine = deliveries.c.message_id == number
            connection.execute(deliveries.update().where(mine).values(values))


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def storage(state: Path) -> Path:
    return state / "dagster" / "storage"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    storage(tmp_path).mkdir(parents=True)
    with demo_sidecar() as url, dg.DagsterInstance.local_temp(str(storage(tmp_path))) as instance:
        bot = {"telegram_bot_token": "1:x", "telegram_chat_id": "-1"}
        parts = parts_of(settings_of(tmp_path, **bot), url)
        with api_of(parts) as api:
            yield World(parts, api, instance)
        parts.store.close()


def test_the_records_that_dagster_writes(world: World) -> None:
    check_records(world.instance, DagsterRecords(world.parts.settings))


def test_reading_leaves_nothing_beside_dagsters_files(world: World) -> None:
    def files() -> set[Path]:
        return set(storage(world.parts.settings.state_dir).rglob("*"))

    before = files()
    world.samples()
    assert files() == before


def test_ticks_runs_and_heartbeats(world: World) -> None:
    beat(world.instance, "SCHEDULER", NOW - timedelta(seconds=40))
    tick(world.instance, TICK_SCHEDULE, NOW - 5 * MINUTE)
    tick(world.instance, TICK_SCHEDULE, NOW - 2 * HOUR)
    ended_run(world.instance, NOW - 3 * MINUTE, NOW - MINUTE)
    long_over = ended_run(world.instance, NOW - 3 * HOUR, NOW - 2 * HOUR)
    world.instance.add_run_tags(long_over, {"touched": "lately"})
    found = world.samples()
    schedule = {"automation": TICK_SCHEDULE, "kind": "schedule"}
    assert found[key("tsobs_daemon_heartbeat_age_seconds", daemon="SCHEDULER")] == pytest.approx(40)
    assert found[key("tsobs_tick_timestamp_seconds", **schedule)] == (NOW - 5 * MINUTE).timestamp()
    assert found[key("tsobs_tick_status", **schedule, status="SUCCESS")] == 1
    assert found[key("tsobs_tick_status", **schedule, status="FAILURE")] == 0
    assert found[key("tsobs_ticks_1h", **schedule, status="SUCCESS")] == 1
    run = {"dagster_job": "summary_job", "status": "SUCCESS"}
    assert found[key("tsobs_runs_1h", **run)] == 1
    assert found[key("tsobs_run_duration_1h_mean_seconds", **run)] == pytest.approx(120)
    assert found[key("tsobs_run_duration_1h_max_seconds", **run)] == pytest.approx(120)


def test_what_is_not_known_any_more_is_taken_back() -> None:
    registry = CollectorRegistry()
    metrics = SelfMetrics(registry)
    seen = Tick("a_sensor", "sensor", "SKIPPED", NOW)
    metrics.set_records(Records([Heartbeat("SENSOR", "one", NOW)], [seen], [], []), NOW)
    metrics.set_missing({"demo": {"git": 3}})
    assert b"a_sensor" in generate_latest(registry)
    metrics.set_records(None, NOW)
    metrics.set_missing(None)
    text = generate_latest(registry)
    assert b"a_sensor" not in text
    assert b'"SENSOR"' not in text
    assert b'"git"' not in text


def test_messages_by_fate_and_the_age_of_the_oldest(world: World) -> None:
    empty = world.samples()
    assert empty[key("tsobs_outbox_messages", fate="pending")] == 0
    assert empty[key("tsobs_outbox_oldest_pending_age_seconds")] == 0
    world.message(HOUR, "failed")
    world.message(2 * HOUR, "delivery_unknown")
    world.message(3 * HOUR, "sent")
    world.message(20 * MINUTE)
    world.message(MINUTE)
    with api_of(world.parts) as api:
        found = World(world.parts, api, world.instance).samples()
    counts = {fate: found[key("tsobs_outbox_messages", fate=fate)] for fate in ("pending", "failed")}
    assert counts == {"pending": 2, "failed": 1}
    assert found[key("tsobs_outbox_messages", fate="delivery_unknown")] == 1
    assert found[key("tsobs_outbox_oldest_pending_age_seconds")] == pytest.approx(1200)


def missing(world: World, hostname: str) -> float | None:
    return world.samples().get(key("tsobs_node_rounds_missing_24h", tailnet="demo", hostname=hostname))


def known_since_yesterday(world: World, written: list[ConnectionRow]) -> None:
    """Store rounds, and the summary of their first day."""
    world.parts.store.write(CONNECTIONS, written)
    day = (NOW - timedelta(days=2)).date()
    world.parts.store.write(
        SUMMARY,
        summary_rows(day, [row for row in written if row.time.date() == day]),
    )


def test_rounds_that_a_known_node_lacks(world: World) -> None:
    written = rounds(3 * 1440)
    hole = [row for row in written if NOW - 5 * HOUR < row["time"] <= NOW - 5 * HOUR + 7 * MINUTE]  # type: ignore[operator]
    known_since_yesterday(world, [row for row in written if row not in hole])
    assert len(hole) == 7
    assert missing(world, "git") == 7


def test_an_outage_from_the_start_of_the_day_until_now_counts_whole(world: World) -> None:
    known_since_yesterday(world, rounds(1440, end=NOW - 30 * HOUR))
    assert missing(world, "git") == 1440


def test_rounds_before_a_node_was_known_are_not_missed(world: World) -> None:
    world.parts.store.write(CONNECTIONS, rounds(60)[:20] + rounds(60)[25:])
    assert missing(world, "git") == 5
    assert missing(world, "chocolate-factory") is None


def test_what_can_not_be_read_has_no_sample(world: World) -> None:
    tick(world.instance, TICK_SCHEDULE, NOW)
    assert key("tsobs_tick_timestamp_seconds", automation=TICK_SCHEDULE, kind="schedule") in world.samples()
    file = storage(world.parts.settings.state_dir) / "schedules" / "schedules.db"
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE job_ticks RENAME TO gone")
    with api_of(world.parts) as api:
        found = World(world.parts, api, world.instance).samples()
    assert not [name for name, _ in found if name.startswith(("tsobs_tick", "tsobs_daemon"))]
    assert key("tsobs_outbox_messages", fate="pending") in found


def part(world: World, name: str, now: datetime = NOW, begun: datetime = NOW - HOUR) -> tuple[bool, str]:
    """What ``/healthz`` says at ``now`` of a part, in an API that began then; the metrics say the same."""
    times = chain([begun], repeat(now))
    with api_of(replace(world.parts, clock=lambda: next(times))) as api:
        answer = api.get("/healthz")
        up = World(world.parts, api, world.instance).samples()[key("tsobs_part_up", part=name)]
    parts = answer.json()["parts"]
    assert answer.status_code == (200 if all(state["ok"] for state in parts.values()) else 503)
    assert "\n" not in parts[name]["detail"]
    assert up == parts[name]["ok"]
    return parts[name]["ok"], parts[name]["detail"]


def test_a_loop_of_the_daemon_that_is_silent_is_named(world: World) -> None:
    beat(world.instance, "SENSOR", NOW - 40 * MINUTE, "predecessor")
    beat(world.instance, "SCHEDULER", NOW - 4 * MINUTE)
    beat(world.instance, "BACKFILL", NOW)
    assert part(world, "daemon") == (True, "2 loops, the oldest heartbeat 4 min ago")
    later = NOW + 2 * MINUTE
    assert part(world, "daemon", later) == (False, "no heartbeat of SCHEDULER for 6 min")


def test_the_schedule_needs_its_tick_and_a_round(world: World) -> None:
    tick(world.instance, TICK_SCHEDULE, NOW - 14 * MINUTE)
    tick(world.instance, TICK_SCHEDULE, NOW - MINUTE, TickStatus.FAILURE)
    tick(world.instance, "another_schedule", NOW)
    world.parts.store.write(CONNECTIONS, rounds(3))
    assert part(world, "schedule") == (True, "last successful tick 14 min ago; newest round 0 min ago")
    ok, detail = part(world, "schedule", NOW + 2 * MINUTE)
    assert (ok, detail.partition(";")[0]) == (False, "last successful tick 16 min ago")


def test_a_clock_that_was_set_back_is_named(world: World) -> None:
    beat(world.instance, "SCHEDULER", NOW + 40 * MINUTE)
    tick(world.instance, TICK_SCHEDULE, NOW + 40 * MINUTE)
    world.parts.store.write(CONNECTIONS, rounds(3))
    for name, what in (("daemon", "heartbeat"), ("schedule", "tick")):
        ok, detail = part(world, name)
        assert not ok
        assert f"the clock was set back: the newest {what} is 40 min ahead" in detail


def test_ticks_that_bring_no_round_are_no_health(world: World) -> None:
    tick(world.instance, TICK_SCHEDULE, NOW)
    account = CollectionRow(NOW - 3 * HOUR, "demo", lines=9, rounds=9, skipped=0, duplicates=0)
    world.parts.store.write(COLLECTIONS, [account])
    world.parts.store.write(CONNECTIONS, rounds(3, end=NOW - 16 * MINUTE))
    ok, detail = part(world, "schedule", begun=NOW)
    assert (ok, detail) == (False, "last successful tick 0 min ago; no round of the last 15 min in the store")


def test_a_refused_message_is_an_ailment_until_a_later_one_arrives(world: World) -> None:
    world.message(HOUR, "failed", reason="configuration: check TELEGRAM_CHAT_ID: 400 chat not found")
    ok, detail = part(world, "outbox")
    assert not ok
    assert "TELEGRAM_CHAT_ID" in detail
    world.message(MINUTE, "sent")
    assert part(world, "outbox") == (True, "no message waits")


def test_channels_are_named(tmp_path: Path) -> None:
    storage(tmp_path).mkdir(parents=True)
    address = SecretTarget("json://u:sesame@127.0.0.1:1/x")
    settings = settings_of(tmp_path, notify_urls=(address,), telegram_bot_token="1:x", telegram_chat_id="-1")
    engine = engine_for(settings.database_url)

    class Stub:
        name, chat_id = TELEGRAM, ""

        def deliver(self, letter: Letter) -> Outcome:
            return Refused("400 chat not found")

    with demo_sidecar() as url, dg.DagsterInstance.local_temp(str(storage(tmp_path))) as instance:
        parts = parts_of(settings, url)
        enqueue_test(engine, "a test", NOW - HOUR)
        deliver(engine, [Stub(), AppriseChannel(address)], lambda: NOW - HOUR)
        with api_of(parts) as api:
            samples = World(parts, api, instance).samples()
            ok, detail = part(World(parts, api, instance), "outbox")
        waits = parts.outbox().channels[address.name]
        parts.store.close()
    assert samples[key("tsobs_channel_messages", channel=TELEGRAM, fate="failed")] == 1
    assert samples[key("tsobs_channel_messages", channel=address.name, fate="pending")] == 1
    assert samples[key("tsobs_channel_refused", channel=TELEGRAM)] == 1
    assert samples[key("tsobs_channel_refused", channel=address.name)] == 0
    assert (ok, detail) == (False, "telegram: the newest message was refused: 400 chat not found")
    depth = Depth(1, 0, 0, NOW - HOUR, {address.name: waits})
    state = judge_outbox(depth, Moment(NOW, NOW - HOUR))
    assert not state.ok
    assert state.detail.endswith(f"{address.name}: not sent (ConnectionError: Connection refused)")


def test_a_message_that_waits_for_long_is_an_ailment(world: World) -> None:
    world.message(HOUR, "delivery_unknown")
    assert part(world, "outbox") == (True, "no message waits")
    world.message(14 * MINUTE)
    world.message(MINUTE)
    assert part(world, "outbox") == (True, "2 messages wait, the oldest for 14 min")
    assert part(world, "outbox", NOW + 2 * MINUTE) == (False, "2 messages wait, the oldest for 16 min")


@pytest.mark.parametrize("dagster", [True, False], ids=["empty storage", "no storage"])
def test_what_was_never_there_is_no_ailment_right_after_the_start(world: World, dagster: bool) -> None:
    state = world.parts.settings.state_dir
    if not dagster:
        storage(state).rename(state / "elsewhere")
    for minutes, well in ((1, True), (16, False)):
        begun = NOW - minutes * MINUTE
        since = f"yet, {minutes} min after the start"
        daemon, schedule = part(world, "daemon", begun=begun), part(world, "schedule", begun=begun)
        assert daemon == (well, f"no heartbeat of Dagster's daemon {since}")
        assert schedule == (well, f"no successful tick {since}; no round {since}")
        assert part(world, "outbox", begun=begun)[0] is True


def test_days_that_were_filled_before_the_first_tick_are_no_ailment(world: World) -> None:
    account = CollectionRow(NOW - 3 * HOUR, "demo", lines=9, rounds=9, skipped=0, duplicates=0)
    world.parts.store.write(COLLECTIONS, [account])
    for minutes, well in ((1, True), (16, False)):
        ok, detail = part(world, "schedule", begun=NOW - minutes * MINUTE)
        since = f"yet, {minutes} min after the start"
        assert (ok, detail) == (well, f"no successful tick {since}; no round {since}")


def test_storage_that_can_not_be_read_is_named(world: World) -> None:
    file = storage(world.parts.settings.state_dir) / "history" / "runs.db"
    file.write_bytes(b"no database" * 500)
    ok, detail = part(world, "daemon")
    assert not ok
    assert str(file) in detail
    assert part(world, "outbox")[0] is True
