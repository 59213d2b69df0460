"""``docs/ALERTS.md`` shows the rules and their messages as the code has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args, get_origin

import pytest
from click.testing import CliRunner

from tsobs_pipelines.alerting.evidence import Evidence
from tsobs_pipelines.alerting.machine import Change, Kind, Voice
from tsobs_pipelines.alerting.reference import NOW, example, message, rules_messages, rules_table
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules import RULES, alert_assets
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.cli.alerts import alerts
from tsobs_pipelines.settings import known_names

PAGE = Path(__file__).parents[3] / "docs" / "ALERTS.md"
SLOW = example(LATENCY)
OTHERS = [replace(SLOW, topic=f"latency_{name}", subject=name) for name in ("dev", "prod")]

GROUPED: list[tuple[Rule, Sequence[Change], int]] = [
    (LATENCY, [SLOW], 1),
    (LATENCY, [replace(SLOW, kind=Kind.STILL, since=NOW - timedelta(hours=6, minutes=11))], 1),
    (LATENCY, [replace(SLOW, voice=Voice.LATE, flaps=5)], 1),
    (LATENCY, [SLOW, *OTHERS], 3),
]


def test_the_page_has_the_table_and_the_messages_of_the_rules() -> None:
    page = PAGE.read_text("utf-8")
    result = CliRunner().invoke(alerts, ["rules"])
    assert result.exit_code == 0
    assert result.output == f"{rules_table()}\n\n```\n{rules_messages()}\n```\n"
    for part in (rules_table(), rules_messages()):
        assert part in page, "docs/ALERTS.md: put in what `tsobs alerts rules` prints"


@pytest.mark.parametrize(("rule", "changes", "firing"), GROUPED)
def test_the_page_shows_grouped_messages_as_the_code_writes_them(
    rule: Rule, changes: Sequence[Change], firing: int
) -> None:
    page = PAGE.read_text("utf-8").splitlines()
    for line in message(rule, *changes, firing=firing).splitlines():
        assert line in page


def test_the_page_names_every_alert_asset() -> None:
    page = PAGE.read_text("utf-8")
    assert [asset.name for asset in alert_assets() if f"`{asset.name}`" not in page] == []


def test_the_page_names_every_kind_of_evidence() -> None:
    page = PAGE.read_text("utf-8")
    kinds = [(get_origin(kind) or kind).__name__ for kind in get_args(Evidence)]
    assert len(kinds) >= 5
    assert [name for name in kinds if f"| `{name}` |" not in page] == []


def test_every_rule_has_texts_for_its_beginning_and_its_end() -> None:
    lines = rules_messages().splitlines()
    assert len([line for line in lines if line]) == 2 * len(RULES)
    assert "None" not in rules_messages()


def test_every_setting_of_the_alerts_is_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    of_alerts = ("TELEGRAM_", "TSOBS_LATENCY_", "TSOBS_HEARTBEAT_")
    assert [name for name in known_names() if name.startswith(of_alerts) and name not in page] == []
