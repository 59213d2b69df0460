"""Rounds that the journal has and the store does not yet, in the routes about nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.api_world import NODES, NOW, Api, api_of, demo_sidecar, parts_of, settings_of
from tsobs_pipelines.api import views
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.fresh import FreshReader
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet.errors import SidecarUnavailableError
from tsobs_pipelines.timeseries.schema import COLLECTIONS, CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

STORED_UNTIL = datetime(2026, 11, 24, 11, 56, tzinfo=UTC)
HISTORY = "/health-monitoring/latency-history/git"
NODE_ROUTES = ("/health-monitoring/nodes", "/health-monitoring/strips", f"{HISTORY}?hours=1", HISTORY)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


class CountedSidecar(TailscaleHealthService):
    """The client of the demo sidecar; it remembers what it was asked for, and can be cut off."""

    def __init__(self, url: str) -> None:
        super().__init__(url, critical_nodes=NODES)
        self.asked: list[tuple[date, datetime | None]] = []
        self.down = False

    def samples(self, day: date, after: datetime | None = None) -> Iterator[bytes]:
        """As the client does it, unless it is cut off."""
        self.asked.append((day, after))
        if self.down:
            raise SidecarUnavailableError("http://sidecar", "no answer")
        return super().samples(day, after)


@dataclass
class World:
    """An API whose store ends at 11:56, and whose journal goes on."""

    parts: Parts
    sidecar: CountedSidecar
    clock: Clock = field(default_factory=Clock)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer waits for a look at the journal, also on a busy machine."""
    monkeypatch.setattr(views, "FRESH_PATIENCE_S", 10)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with demo_sidecar() as url, CountedSidecar(url) as sidecar:
        parts = parts_of(settings_of(tmp_path), url)
        home = parts.settings.first_tailnet
        Collector(sidecar, parts.store, home.critical_nodes, home.name).collect_day(NOW.date())
        parts.store.delete(CONNECTIONS, Window(STORED_UNTIL + timedelta(seconds=1), NOW))
        sidecar.asked.clear()
        made = World(parts, sidecar)
        made.parts = replace(parts, sidecars={home.name: sidecar}, clock=made.clock)
        yield made
        parts.store.close()


@pytest.fixture
def api(world: World) -> Iterator[Api]:
    with api_of(world.parts) as made:
        yield made


def marked(points: Iterable[dict[str, object]], key: str) -> list[object]:
    return [point[key] for point in points if not point["collected"]]


def test_the_newest_rounds_are_there_and_marked(api: Api) -> None:
    for node in api.get("/health-monitoring/nodes").json()["nodes"]:
        assert (node["measured_at"], node["collected"]) == ("2026-11-24T12:00:00Z", False)
    newest = [f"2026-11-24T{time}:00Z" for time in ("11:57", "11:58", "11:59", "12:00")]
    history = api.get(f"{HISTORY}?hours=24").json()["history"]
    assert marked(history, "timestamp") == newest
    assert [point["timestamp"] for point in history[-5:]] == ["2026-11-24T11:56:00Z", *newest]
    for strip in api.get("/health-monitoring/strips").json()["nodes"]:
        assert marked(strip["rounds"], "at") == newest
        assert len(strip["rounds"]) == 60


def test_they_are_not_added_to_a_history_of_buckets(api: Api) -> None:
    history = api.get(f"{HISTORY}?hours=168").json()["history"]
    assert marked(history, "timestamp") == []


def test_the_journal_is_asked_once_however_many_ask(api: Api, world: World) -> None:
    for _ in range(3):
        for route in NODE_ROUTES:
            assert api.get(route).status_code == 200
    assert world.sidecar.asked == [(NOW.date(), STORED_UNTIL)]


def test_the_next_look_is_when_the_round_after_the_stored_ones_is_due(world: World) -> None:
    """Also where the first look found nothing: the page is a minute behind, not two."""
    tailnet = world.parts.settings.first_tailnet
    reader = FreshReader({tailnet.name: world.sidecar}, world.clock)
    world.clock.now = NOW + timedelta(seconds=40)
    found = reader.read(tailnet, stored_until=NOW)
    assert list(found.rows) == []
    assert found.wait_s == 25


def test_a_sidecar_that_is_cut_off_leaves_what_was_read(api: Api, world: World) -> None:
    api.get("/health-monitoring/nodes")
    world.sidecar.down = True
    for route in NODE_ROUTES:
        assert api.get(route).status_code == 200
    history = api.get(f"{HISTORY}?hours=24").json()["history"]
    assert len(marked(history, "timestamp")) == 4


def test_without_the_journal_the_store_is_all_there_is(api: Api, world: World) -> None:
    world.sidecar.down = True
    for node in api.get("/health-monitoring/nodes").json()["nodes"]:
        assert (node["measured_at"], node["collected"]) == ("2026-11-24T11:56:00Z", True)
    (git, *_) = api.get("/health-monitoring/strips").json()["nodes"]
    # Not yet known is not the same as not taken.
    assert [slot["state"] for slot in git["rounds"][-4:]] == ["direct", "direct", "awaited", "awaited"]


def test_a_round_that_was_collected_meanwhile_is_not_doubled(api: Api, world: World) -> None:
    api.get("/health-monitoring/nodes")
    home = world.parts.settings.first_tailnet
    Collector(world.sidecar, world.parts.store, home.critical_nodes, home.name).collect_day(NOW.date())
    history = api.get(f"{HISTORY}?hours=24").json()["history"]
    times = [point["timestamp"] for point in history]
    assert len(times) == len(set(times))
    assert marked(history, "timestamp") == []


def test_over_midnight_both_days_are_asked(world: World) -> None:
    world.clock.now = datetime(2026, 11, 24, 0, 0, 30, tzinfo=UTC)
    world.parts.store.delete(CONNECTIONS, Window(NOW - timedelta(days=1), NOW))
    with api_of(world.parts) as api:
        nodes = api.get("/health-monitoring/nodes").json()["nodes"]
    assert {day for day, _ in world.sidecar.asked} == {date(2026, 11, 23), date(2026, 11, 24)}
    assert nodes[0]["measured_at"] == "2026-11-24T00:00:00Z"


def test_a_store_without_a_round_shows_the_last_hour_of_the_journal(world: World) -> None:
    world.parts.store.delete(CONNECTIONS, Window(NOW - timedelta(days=2), NOW))
    world.parts.store.delete(COLLECTIONS, Window(NOW - timedelta(days=2), NOW))
    with api_of(world.parts) as api:
        history = api.get(f"{HISTORY}?hours=24").json()["history"]
    assert len(history) == 60
    assert len(marked(history, "timestamp")) == 60
