"""The alert state and the outbox in a real Postgres: two sensors, two senders, one message."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from tests.support import bot_api as api
from tests.support.alert_rows import DAY, MINUTE, TAILNET, paths
from tests.support.alert_sender import look
from tests.support.lab.databases import Postgres
from tests.support.old_outbox import check_taken_over, write_old_outbox
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.evaluation import past_rows
from tsobs_pipelines.alerting.history import firing, recent
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.mutes import mute
from tsobs_pipelines.alerting.replay import replay_pending, request_replays
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore

pytestmark = pytest.mark.lab


def at_once(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()


def test_an_outbox_of_the_days_of_one_channel_is_taken_over(postgres: Postgres) -> None:
    engine = engine_for(postgres.new_database("old_outbox"))
    write_old_outbox(engine, DAY + timedelta(hours=1))
    check_taken_over(engine)


def test_two_of_everything_tell_it_once(postgres: Postgres) -> None:
    url = postgres.new_database("alerts")
    engine = engine_for(url)
    store = SqlStore(url)
    store.write(CONNECTIONS, paths("ddrrrdd", start=-600))
    store.write(CONNECTIONS, paths("dddddrrrrr", start=600))
    at_once([threading.Thread(target=look, args=(url, 604)) for _ in range(4)])
    at_once([threading.Thread(target=look, args=(url, 609)) for _ in range(6)])
    (incident,) = firing(engine)
    assert (incident.topic, incident.since) == ("relay_git", DAY + 605 * MINUTE)
    with api.bot_api() as server:
        bot = Telegram(server.url, api.TOKEN, api.CHAT)
        now = DAY + 611 * MINUTE
        at_once(
            [threading.Thread(target=outbox.deliver, args=(engine, [bot], lambda: now)) for _ in range(4)]
        )
        outbox.deliver(engine, [bot], lambda: now)
        assert len(server.accepted) == 1
    alert_store = AlertStore(engine, "demo")
    request_replays(alert_store, RELAY, {(DAY - timedelta(days=1)).date(): 1})
    done = replay_pending(alert_store, RELAY, past_rows(lambda: store, TAILNET, RELAY))
    assert done.incidents == 1
    found = recent(engine, DAY - timedelta(days=2))
    assert [one.origin for one in found] == ["live", "historical"]
    source = Source("http://page", "http://dagster")
    store.write(CONNECTIONS, paths("r" * 610, start=610))
    look(url, 1199)
    assert len(alert_store.remind(RELAY, source, DAY + timedelta(hours=20))) == 1
    mute(engine, "relay_*", DAY + timedelta(days=2))
    assert alert_store.remind(RELAY, source, DAY + timedelta(hours=20, minutes=10)) == []
