"""``/health-monitoring/strips``: the last hour by round, the last thirty days by day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from tests.support.api_world import NODES, NOW, api_of, demo_sidecar, parts_of, rounds, settings_of
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

DAY = timedelta(days=1)


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    with demo_sidecar() as url:
        made = parts_of(settings_of(tmp_path), url)
        yield made
        made.store.close()


def git_of(parts: Parts) -> dict[str, list[dict[str, object]]]:
    with api_of(parts) as api:
        answer = api.get("/health-monitoring/strips").json()
    assert [node["hostname"] for node in answer["nodes"]] == list(NODES)
    found: dict[str, list[dict[str, object]]] = answer["nodes"][0]
    return found


def test_an_hour_has_a_slot_for_each_round_that_was_due(parts: Parts) -> None:
    parts.store.write(CONNECTIONS, rounds(60))
    gap = Window(NOW - timedelta(minutes=20), NOW - timedelta(minutes=10))
    parts.store.delete(CONNECTIONS, gap)
    slots = git_of(parts)["rounds"]
    times = [datetime.fromisoformat(str(slot["at"])) for slot in slots]
    assert times == [NOW.replace(second=0) - timedelta(minutes=59 - place) for place in range(60)]
    # 60 rounds: five relayed, one lost, ten of them gone.
    assert Counter(slot["state"] for slot in slots) == {
        "direct": 44,
        "relay": 5,
        "unreachable": 1,
        "none": 10,
    }
    lost = next(slot for slot in slots if slot["state"] == "unreachable")
    assert (lost["latency_ms"], lost["loss"]) == (None, 1.0)


def test_rounds_every_twenty_minutes_are_twelve_slots(parts: Parts) -> None:
    parts.store.write(CONNECTIONS, rounds(30, every_s=1200, end=NOW.replace(minute=0)))
    slots = git_of(parts)["rounds"]
    assert len(slots) == 12
    assert "none" not in {slot["state"] for slot in slots}


def test_a_day_counts_its_rounds_by_state(parts: Parts) -> None:
    noon_before = NOW.replace(minute=0, second=0) - DAY
    parts.store.write(CONNECTIONS, rounds(720, end=noon_before - timedelta(minutes=1)))
    days = git_of(parts)["days"]
    assert len(days) == 30
    assert [day["day"] for day in days[-2:]] == ["2026-11-23", "2026-11-24"]
    yesterday, today = days[-2:]
    assert yesterday["states"] == {"direct": 714, "relay": 5, "unreachable": 1}
    assert (yesterday["rounds"], yesterday["missing"]) == (720, 720)
    assert yesterday["availability"] == round(719 / 720, 6)
    # Of today, the rounds of the last ten minutes may be on their way.
    assert (today["rounds"], today["missing"], today["availability"]) == (0, 710, None)
    assert all(day["states"] == {} for day in days[:-2])


def test_a_round_without_a_verdict_is_not_one_that_was_not_taken(parts: Parts) -> None:
    found = rounds(60)
    for place in range(50, 60):
        evidence = "absent" if place < 56 else "not-taken"
        row = {"connection_type": "unknown", "evidence": evidence, "answered": 0 if place < 56 else None}
        silent = {"latency_avg": None, "latency_min": None, "latency_max": None, "pings_received": 0}
        found[place] = msgspec.structs.replace(found[place], **row, **silent)
    parts.store.write(CONNECTIONS, found)
    git = git_of(parts)
    assert [slot["state"] for slot in git["rounds"][-10:]] == ["absent"] * 6 + ["unknown"] * 4
    assert git["rounds"][-10]["reason"] == "git is not in the tailnet"
    states = git["days"][-1]["states"]
    assert isinstance(states, dict)
    assert (states["absent"], states["unknown"]) == (6, 4)
