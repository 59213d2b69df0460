"""Between two ticks: a tick is requested when uncollected rounds would change an alert."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.chain import START, Chain, answers, chain, peer, round_at
from tsobs_pipelines.defs.alerts.early import early_requests
from tsobs_pipelines.tailnet.errors import SidecarUnavailableError

MINUTE = timedelta(minutes=1)
PEERS = {"git": peer("git"), "dev": peer("dev")}
PONGS = {"git": answers(), "dev": answers()}
RELAYED = PONGS | {"git": answers("fra")}
SILENT = PONGS | {"git": [{"Err": "no reply within 2 s"}] * 6}


class Early(Chain):
    """A chain that is only collected when the test says so, with the sensor's look."""

    cursors: dict[str, str]

    def add(self, minute: int, pings: object) -> None:
        """A round that the journal has, and the store not yet."""
        self.now = START + minute * MINUTE
        self.journal.append(round_at(self.now, PEERS, pings), day=self.now.date())  # type: ignore[arg-type]

    def look(self, seconds: int = 5) -> list[str]:
        """What the sensor asks for some seconds after the newest round: the run keys."""
        now = self.now + timedelta(seconds=seconds)
        requests = early_requests(self.settings, self.store, lambda _: self.journal, self.cursors, now)
        assert all(request.job_name == "collect_connections" for request in requests)
        assert all(request.partition_key == "2026-11-24" for request in requests)
        return [str(request.run_key) for request in requests]


@pytest.fixture
def early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Early]:
    monkeypatch.setattr("tests.support.chain.Chain", Early)
    with chain(tmp_path, ("git", "dev")) as made:
        assert isinstance(made, Early)
        made.cursors = {}
        for minute in range(11):
            made.add(minute, PONGS)
        made.tick()
        yield made


def test_a_relay_is_asked_for_at_its_second_round_and_only_once(early: Early) -> None:
    early.add(11, RELAYED)
    assert early.look() == []
    early.add(12, RELAYED)
    [key] = early.look()
    assert key == "early/default/relay_git/firing/2026-11-24T06:12:00+00:00"
    early.add(13, RELAYED)
    assert early.look() == [key]
    early.tick()
    assert early.messages[0].startswith("⚠️ WARNING git is reached through DERP relay fra")
    early.add(14, RELAYED)
    assert early.look() == []


def test_its_end_is_asked_for_as_well(early: Early) -> None:
    for minute in (11, 12):
        early.add(minute, RELAYED)
    early.tick()
    for minute in (13, 14):
        early.add(minute, PONGS)
        wanted = minute == 14
        assert bool(early.look()) is wanted


def test_silence_is_asked_for_when_its_fifteen_minutes_are_over(early: Early) -> None:
    asked: list[datetime] = []
    for minute in range(11, 30):
        early.add(minute, SILENT)
        if early.look():
            asked.append(early.now)
            early.tick()
        elif minute % 5 == 0:
            early.tick()
    assert asked == [START + 26 * MINUTE]


def test_good_rounds_ask_for_nothing_and_cost_a_request_a_round(early: Early) -> None:
    early.add(11, PONGS)
    before = len(early.journal.reads)
    assert [early.look(5), early.look(35), early.look(55)] == [[], [], []]
    assert len(early.journal.reads) - before == 1


def test_latency_is_left_to_the_tick_that_closes_its_span(early: Early) -> None:
    slow = [{"LatencySeconds": 0.4, "Endpoint": "10.88.2.2:41641"}] * 6
    for minute in range(11, 17):
        early.add(minute, PONGS | {"git": slow})
        assert early.look() == []


def test_a_sidecar_that_does_not_answer_is_asked_again(early: Early, monkeypatch: pytest.MonkeyPatch) -> None:
    for minute in (11, 12):
        early.add(minute, RELAYED)

    def down(*_: object) -> None:
        raise SidecarUnavailableError("http://127.0.0.1:1/samples", "no answer")

    with monkeypatch.context() as away:
        away.setattr(early.journal, "samples", down)
        assert early.look() == []
    assert len(early.look()) == 1


def test_before_the_first_collection_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    with chain(tmp_path, ("git",)) as made:
        found = early_requests(made.settings, made.store, lambda _: made.journal, {}, made.now)
    assert found == []
