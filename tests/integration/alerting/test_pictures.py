"""Pictures after messages: each text once, each picture at most once, whatever the Bot API does with it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from zoneinfo import ZoneInfo

import httpx
import pytest
from PIL import Image

from tests.support import bot_api as api
from tests.support.alert_rows import DAY, MINUTE, paths, rows
from tests.support.api_world import settings_of
from tsobs_pipelines.alerting import outbox, telegram
from tsobs_pipelines.alerting.channels import channels_of
from tsobs_pipelines.alerting.drawing import MAX_BYTES, DrawnHour, forecast_picture
from tsobs_pipelines.alerting.evaluation import Observed, evaluate, observe_rows
from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.pictures import claim_picture
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.rules.mae import MAE
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.tables import pictures
from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.database import reading
from tsobs_pipelines.defs.alerts import pictures as drawn
from tsobs_pipelines.defs.alerts.pictures import follow_with_pictures
from tsobs_pipelines.defs.alerts.scopes import alert_engine, model_alert_store, tailnet_alert_store
from tsobs_pipelines.demo.tailnet import INCIDENTS, NODES, DemoTailnet
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.timeseries.schema import CONNECTIONS, FORECASTS, PRICES, ConnectionRow, ForecastRow
from tsobs_pipelines.timeseries.sql import SqlStore

SOURCE = Source("http://page", "http://dagster")


class World:
    """A store, the alert state, and a bot; what a run does at a time of the data."""

    def __init__(self, place: Path, server: api.BotApi, **values: object) -> None:
        bot = {"telegram_bot_token": api.TOKEN, "telegram_chat_id": api.CHAT, "telegram_api_url": server.url}
        self.settings = settings_of(place, **bot, **values)
        self.engine = alert_engine(self.settings)
        self.store = SqlStore(self.settings.database_url)
        self.now = DAY

    def look(self, rule: Rule, now: datetime) -> None:
        self.now = now
        tailnet = self.settings.first_tailnet
        observe = observe_rows(self.store, tailnet, rule, now)
        store = tailnet_alert_store(self.settings, tailnet)
        evaluate(store, rule, observe, SOURCE, now)
        store.remind(rule, SOURCE, now)

    def run(self, rule: Rule, now: datetime | None = None) -> list[str]:
        """Send what waits, then the pictures, as the asset of the rule does."""
        self.now = now or self.now
        outbox.deliver(self.engine, channels_of(self.settings), lambda: self.now)
        assert rule.asset is not None
        return follow_with_pictures(self.settings, lambda: self.store, rule.asset, self.now)

    def slow(self, minutes: Sequence[float], host: str = "git") -> None:
        """Some quiet rounds, then these latencies from 10:10 on."""
        self.store.write(CONNECTIONS, rows([20.0] * 10 + list(minutes), start=600, host=host))
        self.look(LATENCY, DAY + 609 * MINUTE)
        self.look(LATENCY, DAY + (609 + len(minutes)) * MINUTE)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telegram, "TIMEOUT", httpx.Timeout(0.5))


@pytest.fixture
def server() -> Iterator[api.BotApi]:
    with api.bot_api() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, server: api.BotApi) -> World:
    return World(tmp_path, server)


def check_png(png: bytes) -> None:
    assert len(png) <= MAX_BYTES
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.width >= 720
    plain_image = image.convert("RGB")
    assert plain_image.getpixel((2, 2)) == (0x17, 0x21, 0x2B), "a dark ground"
    assert len(plain_image.getcolors(1_000_000) or []) > 20, "something is drawn"


def test_a_latency_alert_is_followed_by_the_nodes_day(world: World, server: api.BotApi) -> None:
    world.slow([150.0] * 10)
    assert world.run(LATENCY) == ["1: sent"]
    assert world.run(LATENCY) == []
    (photo,) = server.photos
    assert photo["reply_parameters"] == {"message_id": 1}
    assert photo["chat_id"] == api.CHAT
    check_png(photo["photo"])


def test_the_worst_of_several_nodes_is_drawn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for host, latency in (("git", 150.0), ("chocolate-factory", 400.0), ("chocolate-factory-dev", 200.0)):
        world.store.write(CONNECTIONS, rows([20.0] * 10 + [latency] * 10, start=600, host=host))
    world.look(LATENCY, DAY + 609 * MINUTE)
    world.look(LATENCY, DAY + 619 * MINUTE)
    seen: list[str] = []

    def draw(node: str, *_others: object) -> bytes:
        seen.append(node)
        return b"png"

    monkeypatch.setattr(drawn, "latency_picture", draw)
    assert world.run(LATENCY) == ["1: sent"]
    assert seen == ["chocolate-factory"]


def test_a_forecast_alert_is_followed_by_forecast_and_prices(world: World, server: api.BotApi) -> None:
    market, source = market_of(world.settings), open_price_source(world.settings).name
    hours = [hour for day in (-1, 0) for hour in market.hours_of((DAY + timedelta(days=day)).date())]
    stamp = int(DAY.timestamp())
    world.store.write(PRICES, [{"time": hour, "source": source, "price": 0.1} for hour in hours[:36]])
    frozen = [
        ForecastRow(hour, source, DEFAULT_MODEL, "1", 0.2, 0.1, 0.3, issued_at=stamp, trained_to=stamp)
        for hour in hours
    ]
    world.store.write(FORECASTS, frozen)
    now = DAY + timedelta(hours=12)
    signal = Signal(now, now, Verdict.BAD, 0.1, 0.02)
    observed = Observed(now - timedelta(hours=1), now, {DEFAULT_MODEL: [signal]})
    evaluate(model_alert_store(world.settings, DEFAULT_MODEL), MAE, lambda _: observed, SOURCE, now)
    assert world.run(MAE, now) == ["1: sent"]
    check_png(server.photos[0]["photo"])


def test_hours_without_a_forecast_or_a_price_can_be_drawn() -> None:
    hours = [DAY + timedelta(hours=hour) for hour in range(30)]
    nothing = [DrawnHour(hour, None, None, None, None) for hour in hours]
    for points in (nothing, [DrawnHour(hour, 0.1, 0.0, 0.2, None) for hour in hours]):
        check_png(forecast_picture("a_model_with_$a_long$_name" * 4, points, ZoneInfo("Europe/Madrid")))


def test_what_has_no_picture(world: World, server: api.BotApi) -> None:
    world.store.write(CONNECTIONS, paths("dddddrrrrr", start=600))
    world.look(RELAY, DAY + 604 * MINUTE)
    world.look(RELAY, DAY + 609 * MINUTE)
    assert world.run(RELAY) == []
    world.slow([150.0] * 10 + [20.0] * 15)
    world.run(LATENCY)
    assert len(server.texts) == 2, "the relay, and a latency that is over"
    assert len(server.photos) == 0, "by then it is over"


def test_none_when_they_are_switched_off(tmp_path: Path, server: api.BotApi) -> None:
    world = World(tmp_path, server, telegram_pictures=False)
    world.slow([150.0] * 10)
    assert world.run(LATENCY) == []
    assert (len(server.texts), server.photo_requests) == (1, [])


FAULTS: list[tuple[str, api.Fault]] = [
    ("429", api.status(429, "Too Many Requests", retry_after=30)),
    ("413", api.html(413)),
    ("photo refused", api.status(400, "Bad Request: PHOTO_INVALID_DIMENSIONS")),
    ("500", api.status(500, "Internal Server Error")),
    ("cut off", api.hang_up),
    ("half an answer", api.cut_in_half),
    ("time-out", api.silent_after_accepting),
    ("a proxy's page", api.html(200)),
]


@pytest.mark.parametrize("fault", [row[1] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_picture_that_fails_is_not_sent_again(world: World, server: api.BotApi, fault: api.Fault) -> None:
    server.photo_faults.append(fault)
    world.slow([150.0] * 10)
    (said,) = world.run(LATENCY)
    assert said.startswith("1: not sent: ")
    for minute in (1, 5, 20):
        assert world.run(LATENCY, DAY + (620 + minute) * MINUTE) == []
    assert len(server.photo_requests) == 1
    assert len(server.texts) == 1
    found = outbox.message(world.engine, 1)
    assert found is not None
    assert (found.fate, found.reason) == ("sent", "")


def test_the_token_is_in_no_outcome(world: World, server: api.BotApi) -> None:
    server.photo_faults.append(api.status(400, f"Bad Request: {api.TOKEN}"))
    world.slow([150.0] * 10)
    assert api.TOKEN not in str(world.run(LATENCY))


def test_a_picture_that_can_not_be_drawn_costs_nothing(
    world: World, server: api.BotApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(drawn, "latency_picture", fail)
    world.slow([150.0] * 10)
    assert world.run(LATENCY) == ["1: not drawn (MemoryError)"]
    assert world.run(LATENCY) == []
    assert (len(server.texts), server.photo_requests) == (1, [])


def test_a_run_that_died_after_its_claim_leaves_no_second_picture(world: World, server: api.BotApi) -> None:
    world.slow([150.0] * 10)
    outbox.deliver(world.engine, channels_of(world.settings), lambda: world.now)
    assert claim_picture(world.engine, 1, world.now)
    assert not claim_picture(world.engine, 1, world.now)
    assert world.run(LATENCY) == []
    assert server.photo_requests == []


def test_a_text_that_comes_late_has_its_picture_still_and_one_that_waits_has_none(
    world: World, server: api.BotApi
) -> None:
    server.order(api.status(500, "no"))
    world.slow([150.0] * 10)
    assert world.run(LATENCY) == []
    assert world.run(LATENCY, DAY + 625 * MINUTE) == ["1: sent"]
    assert [photo["reply_parameters"]["message_id"] for photo in server.photos] == [1]


def demo_month(begin: datetime, days: int) -> list[ConnectionRow]:
    """The demo's nodes every five minutes."""
    tailnet, found = DemoTailnet(), []
    for step in range(days * 288):
        at = begin + step * 5 * MINUTE
        for node in NODES:
            pings = [one["LatencySeconds"] for one in tailnet.pings(node, at, 3) if not one["Err"]]
            latency = fmean(float(str(one)) for one in pings) * 1000 if pings else None
            path = "direct" if pings else "offline"
            row = ConnectionRow(at, "demo", node.name, path, "none", latency_avg=latency, pings_sent=3)
            found.append(row)
    return found


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_month_of_the_demo_with_a_bot_api_that_fails(tmp_path: Path, server: api.BotApi) -> None:
    """One node's limit is so low that it fires for the whole month, with a reminder every six hours."""
    limits = {"git": 100.0, "chocolate-factory": 36.0}
    world = World(tmp_path, server, latency_thresholds_ms=limits)
    begin = datetime(2026, 10, 1, tzinfo=UTC)
    world.store.write(CONNECTIONS, demo_month(begin, 28))
    text_faults = [api.status(429, "Too Many", retry_after=60), api.status(500, "no"), api.html(403)]
    number = 0
    for half_hour in range(1, 28 * 48):
        world.look(LATENCY, begin + half_hour * 30 * MINUTE)
        if not outbox.pending(world.engine):
            continue
        number += 1
        if number % 4 == 0:
            server.order(text_faults[number // 4 % len(text_faults)])
        server.photo_faults.append(([api.accept] + [row[1] for row in FAULTS])[number % (1 + len(FAULTS))])
        for seconds in (0, 70, 140):
            world.run(LATENCY, begin + half_hour * 30 * MINUTE + timedelta(seconds=seconds))
        server.photo_faults.clear()
        server.faults.clear()
    told = outbox.newest(world.engine, 10_000)[::-1]
    assert {message.fate for message in told} <= {"sent", "suppressed"}
    assert server.texts == [message.html for message in told if message.fate == "sent"]
    assert any("high latency to git" in plain(text) for text in server.texts), INCIDENTS
    replies = Counter(photo["reply_parameters"]["message_id"] for photo in server.photo_requests)
    assert len(replies) >= 20
    assert max(replies.values()) == 1
    arrived = Counter(photo["reply_parameters"]["message_id"] for photo in server.photos)
    assert max(arrived.values()) == 1
    for photo in server.photos:
        check_png(photo["photo"])
    with reading(world.engine) as connection:
        outcomes = Counter(row.outcome for row in connection.execute(pictures.select()))
    assert sum(outcomes.values()) == len(replies)
    assert outcomes["sent"] >= 1
    print(len(server.texts), "texts,", len(replies), "pictures:", dict(outcomes))  # noqa: T201 - for the report
