"""``docs/ALERTS.md`` shows messages as the code writes them: of each rule, and of each way of grouping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tsobs_pipelines.alerting.machine import Change, Kind, Voice
from tsobs_pipelines.alerting.messages import Facts, Source, plan
from tsobs_pipelines.alerting.rules import (
    COLLECTION_SILENCE,
    FAILED_RUNS,
    LATENCY,
    MAE,
    NODE_SILENCE,
    RELAY,
    RULES,
    SKILL,
    Rule,
)
from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.settings import known_names

PAGE = Path(__file__).parents[3] / "docs" / "ALERTS.md"
NOW = datetime(2026, 11, 24, 10, 16, tzinfo=UTC)
SINCE = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)
SOURCE = Source("http://tsobs:8000/vpn.html", "http://tsobs:3000", "", "4f2a", "2026-11-24")


def change(rule: Rule, subject: str, **others: object) -> Change:
    first = Change(rule.topic(subject), subject, Kind.FIRING, Voice.NOW, NOW, SINCE)
    return replace(first, **others)  # type: ignore[arg-type]


def over(began: Change, **others: object) -> Change:
    return replace(began, kind=Kind.RESOLVED, until=SINCE + timedelta(minutes=10), **others)  # type: ignore[arg-type]


def message(rule: Rule, *changes: Change, firing: int = 1) -> str:
    facts = Facts(NOW, {}, frozenset(), frozenset(), firing, 3, NOW - timedelta(days=1))
    (draft,) = plan(rule, changes, facts, SOURCE)
    return plain(draft.html)


SLOW = change(LATENCY, "git", value=143.0, worst=143.0, limit=100.0)
RELAYED = change(RELAY, "git", detail="fra")
SILENT = change(NODE_SILENCE, "git", detail="unreachable", since=SINCE - timedelta(minutes=10))
STALE = change(
    COLLECTION_SILENCE,
    "",
    value=16.0,
    since=SINCE - timedelta(minutes=5),
    detail="nothing is collected: look at the sidecar and at the runs of collect_connections",
)
FAILED = change(FAILED_RUNS, "collect_connections", detail="run 4f2a9c01: no answer from the sidecar")
DEGRADED = change(
    MAE,
    "prophet_price_forecast",
    value=0.031,
    limit=0.02,
    detail="repeating yesterday did not fail (0.0120 EUR/kWh): look at the model",
)
LOST = change(SKILL, "prophet_price_forecast", value=1.6, limit=1.5)
OTHERS = [replace(SLOW, topic=f"latency_{name}", subject=name) for name in ("dev", "prod")]

EXAMPLES: list[tuple[Rule, Sequence[Change], int]] = [
    (LATENCY, [SLOW], 1),
    (LATENCY, [over(SLOW, value=23.0)], 0),
    (LATENCY, [replace(SLOW, kind=Kind.STILL, since=SINCE - timedelta(hours=6))], 1),
    (LATENCY, [replace(SLOW, voice=Voice.LATE, flaps=5)], 1),
    (LATENCY, [SLOW, *OTHERS], 3),
    (RELAY, [RELAYED], 1),
    (RELAY, [over(RELAYED)], 0),
    (NODE_SILENCE, [SILENT], 1),
    (NODE_SILENCE, [over(SILENT)], 0),
    (COLLECTION_SILENCE, [STALE], 1),
    (COLLECTION_SILENCE, [over(STALE)], 0),
    (FAILED_RUNS, [FAILED], 1),
    (FAILED_RUNS, [over(FAILED)], 0),
    (MAE, [DEGRADED], 1),
    (MAE, [over(DEGRADED, value=0.011)], 0),
    (SKILL, [LOST], 1),
    (SKILL, [over(LOST, value=0.9)], 0),
]


def test_every_rule_has_an_example_of_its_beginning_and_its_end() -> None:
    for rule in RULES.values():
        kinds = {one.kind for of, changes, _ in EXAMPLES if of is rule for one in changes}
        assert {Kind.FIRING, Kind.RESOLVED} <= kinds, rule.name


@pytest.mark.parametrize(("rule", "changes", "firing"), EXAMPLES)
def test_the_page_shows_what_the_code_writes(rule: Rule, changes: Sequence[Change], firing: int) -> None:
    lines = message(rule, *changes, firing=firing).splitlines()
    page = PAGE.read_text("utf-8").splitlines()
    for line in lines[:-1]:
        assert line in page
    assert lines[-1] in page


def test_every_setting_of_the_alerts_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    of_alerts = ("TELEGRAM_", "TSOBS_LATENCY_", "TSOBS_HEARTBEAT_")
    assert [name for name in known_names() if name.startswith(of_alerts) and name not in page] == []
