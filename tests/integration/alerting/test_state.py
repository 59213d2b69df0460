"""Alert state and outbox in a real database: exactly once, with concurrent, killed or late evaluations."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from tests.support import bot_api as api
from tests.support.alert_rows import DAY, MINUTE, TAILNET, paths, rows
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channel import TELEGRAM
from tsobs_pipelines.alerting.evaluation import RuleEvaluation, evaluate, observe_rows, past_rows
from tsobs_pipelines.alerting.history import firing, recent
from tsobs_pipelines.alerting.machine import Status, TopicState
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.mutes import mute, retire
from tsobs_pipelines.alerting.replay import pending_replays, replay_pending, request_replays
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.store import AlertStore, Step
from tsobs_pipelines.alerting.tables import changes, messages
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.database import engine_for, reading
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.sql import SqlStore

SOURCE = Source("http://page", "http://dagster", run_id="run-1", partition="2026-11-24")
YESTERDAY = -24 * 60


class World:
    """A store with rows, a alert_store, and a clock that is the data's."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'tsobs.db'}"
        self.store = SqlStore(self.url)
        self.engine: Engine = engine_for(self.url)
        self.alert_store = AlertStore(self.engine, "demo")

    def write(self, data: Sequence[ConnectionRow]) -> None:
        self.store.write(CONNECTIONS, data)

    def look(self, rule: Rule, minute: float, alert_store: AlertStore | None = None) -> RuleEvaluation:
        """Evaluate what is there up to a minute of the day, at that time."""
        complete_to = DAY + minute * MINUTE
        observe = observe_rows(self.store, TAILNET, rule, complete_to)
        return evaluate(alert_store or self.alert_store, rule, observe, SOURCE, complete_to + MINUTE)

    def replay(self, rule: Rule, *days: int, source: int = 1) -> None:
        request_replays(self.alert_store, rule, {(DAY + timedelta(days=day)).date(): source for day in days})
        replay_pending(self.alert_store, rule, past_rows(lambda: self.store, TAILNET, rule))
        assert pending_replays(self.alert_store, rule) == {}

    def fates(self) -> list[tuple[str, str]]:
        return [(m.fate, plain(m.html)) for m in reversed(outbox.newest(self.engine))]

    def history(self) -> list[tuple[str, str, float, float | None]]:
        found = recent(self.engine, DAY - timedelta(days=60))
        return sorted((i.topic, i.origin, minutes(i.since), minutes(i.until)) for i in found)


def minutes(time: datetime | None) -> float:
    return 1e9 if time is None else (time - DAY) / MINUTE


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_one_message_when_it_begins_and_one_when_it_ends(world: World) -> None:
    world.write(rows([20] * 30 + [150] * 10 + [20] * 30, start=600))
    for minute in range(604, 670, 5):
        world.look(LATENCY, minute)
    (first, began), (second, ended) = world.fates()
    assert (first, second) == ("pending", "pending")
    assert "WARNING" in began
    assert "high latency to git: 150 ms" in began
    assert "since 10:30 UTC" in began
    assert "RESOLVED" in ended
    assert "10:30 UTC to 10:40 UTC (10 min)" in ended
    assert world.history() == [("latency_git", "live", 630, 640)]


def test_three_of_three_nodes_are_one_message_about_the_uplink(world: World) -> None:
    for host in ("a", "b", "c"):
        world.write(rows([20] * 10 + [150] * 10, start=600, host=host))
    world.look(LATENCY, 609)
    world.look(LATENCY, 619)
    ((fate, text),) = world.fates()
    assert fate == "pending"
    assert "CRITICAL" in text
    assert "3 of 3 nodes" in text
    assert "uplink" in text


def test_two_sensors_at_once_tell_it_once(world: World) -> None:
    world.write(paths("dddddrrrrr", start=600))
    world.look(RELAY, 604)
    threads = [threading.Thread(target=world.look, args=(RELAY, 609)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.fates()) == 1
    assert world.look(RELAY, 609) == RuleEvaluation()


def test_a_step_from_a_stale_look_is_not_written(world: World) -> None:
    world.write(paths("dddddrrrrr", start=600))
    world.look(RELAY, 604)
    stale = world.alert_store.progress(RELAY)
    world.look(RELAY, 606)
    assert stale is not None
    until = DAY + 700 * MINUTE
    step = Step(RELAY, stale, stale.started_at, until, {"relay_git": TopicState("relay_git", "git")}, [])
    assert world.alert_store.commit(step, SOURCE, until) is None
    assert [incident.topic for incident in firing(world.engine)] == ["relay_git"]
    assert world.alert_store.states(RELAY)["relay_git"].status is Status.FIRING


def test_the_end_of_one_incident_is_not_the_end_of_another(world: World) -> None:
    world.write(paths("dddddrrrrrrrrrr", start=600))
    world.write(paths("dddddrrrrrddddd", start=600, host="dev"))
    for minute in (604, 609, 614):
        world.look(RELAY, minute)
    assert [incident.topic for incident in firing(world.engine)] == ["relay_git"]


def test_first_start_tells_what_goes_on_and_keeps_the_rest_as_history(world: World) -> None:
    world.write(rows([150] * 20 + [20] * 400 + [150] * 400))
    world.look(LATENCY, 819)
    assert [fate for fate, _ in world.fates()] == ["pending"]
    assert world.history() == [("latency_git", "historical", 0, 20), ("latency_git", "live", 420, 1e9)]


def test_first_start_with_old_incidents_only_tells_nothing(world: World) -> None:
    world.write(rows([150] * 20 + [20] * 400))
    world.look(LATENCY, 419)
    assert [fate for fate, _ in world.fates()] == ["suppressed"]
    assert firing(world.engine) == []


def test_an_outage_of_the_watcher_is_told_in_one_message(world: World) -> None:
    world.write(rows([20] * 100 + [150] * 50 + [20] * 150 + [20] * 100))
    world.write(rows([20] * 250 + [200] * 50 + [20] * 100, host="dev"))
    world.look(LATENCY, 99)
    world.look(LATENCY, 399)
    ((fate, text),) = world.fates()
    assert fate == "pending"
    assert "01:40 UTC to 02:30 UTC" in text
    assert "04:10 UTC to 05:00 UTC" in text


@pytest.mark.parametrize("order", [(-3, -2, -1), (-1, -2, -3), (-2, -3, -1), (-1, -3, -2)])
def test_the_past_is_history_whole_in_any_order_and_sends_nothing(world: World, order: Sequence[int]) -> None:
    long = 2 * 24 * 60
    # From 20:00 three days ago to 04:00 yesterday, over two midnights; and a short one yesterday.
    world.write(rows([150] * (long - 12 * 60 - 4 * 60), start=-3 * 1440 + 20 * 60))
    end = -3 * 1440 + 20 * 60 + long - 16 * 60
    world.write(rows([20] * 600, start=end))
    world.write(rows([130] * 30, start=end + 300))
    world.write(rows([20] * 60, start=0))
    world.look(LATENCY, 59)
    expected = [("latency_git", "historical", -3 * 1440 + 20 * 60, end)]
    expected.append(("latency_git", "historical", end + 300, end + 330))
    for number, day in enumerate(order):
        world.replay(LATENCY, day, source=number)
    assert world.history() == expected
    world.replay(LATENCY, *order, source=99)
    assert world.history() == expected
    assert [fate for fate, _ in world.fates()] == []


def test_a_day_that_is_corrected_replaces_its_incidents(world: World) -> None:
    world.write(rows([150] * 60, start=YESTERDAY + 600))
    world.write(rows([20] * 60, start=YESTERDAY + 660))
    world.write(rows([20] * 60))
    world.look(LATENCY, 59)
    world.replay(LATENCY, -1)
    assert world.history() == [("latency_git", "historical", YESTERDAY + 600, YESTERDAY + 660)]
    world.write(rows([20] * 60, start=YESTERDAY + 600))
    world.replay(LATENCY, -1, source=2)
    assert world.history() == []


def test_an_incident_that_went_on_before_the_watch_began_is_one(world: World) -> None:
    world.write(paths("r" * 180, start=-120))
    world.look(RELAY, 59)
    world.replay(RELAY, -1)
    assert world.history() == [("relay_git", "live", -120, 1e9)]


def test_a_live_incident_is_not_doubled_by_a_replay_of_its_day(world: World) -> None:
    world.write(paths("d" * 100 + "r" * 30 + "d" * 30))
    world.look(RELAY, 99)
    for minute in range(104, 160, 5):
        world.look(RELAY, minute)
    before = world.history()
    world.replay(RELAY, 0)
    assert world.history() == before == [("relay_git", "live", 100, 130)]


def test_a_muted_topic_is_kept_back_and_reminded_of_afterwards(world: World) -> None:
    world.write(paths("d" * 10 + "r" * 100, start=600))
    world.look(RELAY, 609)
    mute(world.engine, "relay_*", DAY + 640 * MINUTE)
    world.look(RELAY, 614)
    ((fate, _),) = world.fates()
    assert fate == "suppressed"
    assert world.alert_store.remind(RELAY, SOURCE, DAY + 630 * MINUTE) == []
    assert len(world.alert_store.remind(RELAY, SOURCE, DAY + 641 * MINUTE)) == 1
    assert world.alert_store.remind(RELAY, SOURCE, DAY + 642 * MINUTE) == []
    assert "still, since 10:10 UTC" in world.fates()[-1][1]


def test_what_keeps_firing_is_repeated_after_six_hours(world: World) -> None:
    world.write(paths("d" * 10 + "r" * 500))
    world.look(RELAY, 9)
    world.look(RELAY, 14)
    told = DAY + 15 * MINUTE
    world.look(RELAY, 370)
    assert world.alert_store.remind(RELAY, SOURCE, told + timedelta(hours=5, minutes=59)) == []
    assert len(world.alert_store.remind(RELAY, SOURCE, told + timedelta(hours=6))) == 1
    assert world.alert_store.remind(RELAY, SOURCE, told + timedelta(hours=6)) == []


def test_nothing_is_repeated_that_newer_data_do_not_say(world: World) -> None:
    world.write(paths("d" * 10 + "r" * 10))
    world.write(paths("d" * 10 + "r" * 10 + "o" * 400, host="dev"))
    for minute in (9, 19, 400):
        world.look(RELAY, minute)
    assert world.alert_store.remind(RELAY, SOURCE, DAY + timedelta(hours=6, minutes=40)) == []
    assert len(firing(world.engine)) == 2


@pytest.mark.parametrize("newest", [50, 90], ids=["good", "between"])
def test_no_reminder_says_still_while_the_newest_evidence_is_not_bad(world: World, newest: float) -> None:
    world.write(rows([150] * 380 + [newest] * 5 + [150] * 5))
    world.look(LATENCY, 4)
    world.look(LATENCY, 384)
    assert firing(world.engine), "one span is not enough to be over"
    assert world.alert_store.remind(LATENCY, SOURCE, DAY + 385 * MINUTE) == []
    world.look(LATENCY, 389)
    assert len(world.alert_store.remind(LATENCY, SOURCE, DAY + 390 * MINUTE)) == 1
    assert "150 ms in the 5-minute mean, over 100 ms; still, since 00:00 UTC" in world.fates()[-1][1]


def test_a_backfill_of_one_old_day_before_the_watch_began_sends_nothing(world: World) -> None:
    world.write(paths("d" * 1430 + "r" * 10, start=2 * YESTERDAY))
    observe = observe_rows(world.store, TAILNET, RELAY, DAY + (2 * YESTERDAY + 1439) * MINUTE)
    evaluate(world.alert_store, RELAY, observe, SOURCE, DAY + 600 * MINUTE)
    ((fate, _),) = world.fates()
    assert fate == "suppressed"
    world.write(paths("r" * 20, start=590))
    world.look(RELAY, 609)
    assert len(world.alert_store.remind(RELAY, SOURCE, DAY + 610 * MINUTE)) == 1, (
        "it still goes on: now it is told"
    )


def test_a_node_that_is_not_watched_any_more_fires_no_longer(world: World) -> None:
    for host in ("git", "dev"):
        world.write(paths("d" * 10 + "r" * 10, host=host))
    world.look(RELAY, 19)
    assert retire(world.alert_store, RELAY, ["git", "dev"]) == []
    assert retire(world.alert_store, RELAY, ["git"]) == ["relay_dev"]
    assert [incident.topic for incident in firing(world.engine)] == ["relay_git"]
    assert ("relay_dev", "live", 10, 19) in world.history()
    assert len(world.fates()) == 1


def test_the_end_of_what_was_never_told_is_not_told(world: World) -> None:
    world.write(paths("d" * 10 + "r" * 20 + "d" * 20, start=600))
    world.look(RELAY, 609)
    mute(world.engine, "relay_git", DAY + 625 * MINUTE)
    world.look(RELAY, 614)
    world.look(RELAY, 640)
    assert [fate for fate, _ in world.fates()] == ["suppressed", "suppressed"]


def test_no_change_can_be_told_twice(world: World) -> None:
    world.write(paths("dddddrrrrr", start=600))
    world.look(RELAY, 609)
    with reading(world.engine) as connection:
        assert len(connection.execute(select(changes)).all()) == 1
        assert len(connection.execute(select(messages)).all()) == 1


@pytest.fixture
def server() -> Iterator[api.BotApi]:
    with api.bot_api() as running:
        yield running


def bot(server: api.BotApi) -> Telegram:
    return Telegram(server.url, api.TOKEN, api.CHAT)


def pend(world: World, minute: float = 0) -> int:
    return outbox.enqueue_test(world.engine, f"<b>m</b> {minute}", DAY + minute * MINUTE)


def fate(world: World, number: int) -> tuple[str, str]:
    found = outbox.message(world.engine, number)
    assert found is not None
    return found.fate, found.reason


def test_messages_go_out_once_in_their_order(world: World, server: api.BotApi) -> None:
    numbers = [pend(world, minute) for minute in range(5)]
    threads = [
        threading.Thread(target=outbox.deliver, args=(world.engine, [bot(server)], lambda: DAY))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outbox.deliver(world.engine, [bot(server)], lambda: DAY)
    assert server.texts == [f"<b>m</b> {minute}" for minute in range(5)]
    assert {fate(world, number)[0] for number in numbers} == {"sent"}


def test_429_holds_everything_for_as_long_as_it_says(world: World, server: api.BotApi) -> None:
    server.order(api.status(429, "Too Many Requests", retry_after=10_000))
    first, second = pend(world), pend(world, 1)
    assert outbox.deliver(world.engine, [bot(server)], lambda: DAY) == [first]
    early = DAY + timedelta(seconds=9_999)
    assert outbox.deliver(world.engine, [bot(server)], lambda: early) == []
    assert len(server.requests) == 1
    late = DAY + timedelta(seconds=10_001)
    assert outbox.deliver(world.engine, [bot(server)], lambda: late) == [first, second]


def test_a_chat_that_moved_is_followed_and_reported(world: World, server: api.BotApi) -> None:
    server.order(api.status(400, "upgraded", migrate_to_chat_id=-100777))
    number = pend(world)
    outbox.deliver(world.engine, [bot(server)], lambda: DAY)
    assert fate(world, number)[0] == "sent"
    later = pend(world, 5)
    outbox.deliver(world.engine, [bot(server)], lambda: DAY)
    assert fate(world, later)[0] == "sent"
    assert [message["chat_id"] for message in server.accepted] == ["-100777", "-100777"]


def test_without_a_bot_the_outbox_keeps_it_and_says_so(world: World) -> None:
    number = pend(world)
    assert outbox.deliver(world.engine, [], lambda: DAY) == []
    assert fate(world, number) == ("suppressed", outbox.NO_CHANNEL)


def test_a_day_of_500_gives_up_and_lets_others_pass(world: World, server: api.BotApi) -> None:
    server.order(*[api.status(500, "no")] * 200)
    number, now = pend(world), DAY
    while fate(world, number)[0] == "pending":
        outbox.deliver(world.engine, [bot(server)], lambda now=now: now)  # type: ignore[misc]
        now += timedelta(minutes=15)
    assert fate(world, number)[0] == "failed"
    assert now - DAY > timedelta(hours=24)


def test_a_dead_sender_leaves_the_delivery_unknown(world: World, server: api.BotApi) -> None:
    number = pend(world)
    outbox.hand_over(world.engine, [TELEGRAM], DAY)
    assert outbox.claim(world.engine, bot(server), DAY) is not None
    assert outbox.deliver(world.engine, [bot(server)], lambda: DAY + timedelta(seconds=59)) == []
    assert fate(world, number)[0] == "pending"
    assert outbox.deliver(world.engine, [bot(server)], lambda: DAY + timedelta(seconds=61)) == []
    assert fate(world, number)[0] == "delivery_unknown"
    assert server.requests == []
