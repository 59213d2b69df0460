"""A rule that is written in one file appears in Dagster, on the command line, in the API and in the docs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from msgspec import structs

from tests.support.alert_rows import DAY, MINUTE, TAILNET, rows
from tests.support.api_world import api_of, demo_sidecar, parts_of, settings_of
from tsobs_pipelines.alerting.evaluation import evaluate, observe_rows
from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.machine import Confirmation, Signal, Verdict
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.reference import rules_messages, rules_table
from tsobs_pipelines.alerting.rule import AlertAsset, Doc, Example, Icon, Rule, Severity, Unit
from tsobs_pipelines.alerting.rules import RULES
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.cli.alerts import alerts
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.definitions import build_defs
from tsobs_pipelines.registry import UnknownKeyError
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.sql import SqlStore

EXAMPLE_LIMIT = 0.5


def example_signals(data: Sequence[ConnectionRow]) -> dict[str, list[Signal]]:
    """Whether more than half of a round's pings were lost."""
    found: dict[str, list[Signal]] = {}
    for row in data:
        loss = 1 - (row.pings_received or 0) / (row.pings_sent or 1)
        verdict = Verdict.BAD if loss > EXAMPLE_LIMIT else Verdict.GOOD
        found.setdefault(row.hostname, []).append(Signal(row.time, row.time, verdict, loss, EXAMPLE_LIMIT))
    return found


EXAMPLE = Rule(
    key="example",
    title="Pings are lost",
    unit=Unit.TIMES,
    icon=Icon.TRIANGLE,
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=2),
    evidence=RowEvidence(CONNECTIONS, lambda data, _tailnet: example_signals(data)),
    asset=AlertAsset("example_alerts", "example_alert_sensor", "Nodes that lose pings."),
    firing=lambda change: f"{change.subject} loses pings",
    resolved=lambda change: f"{change.subject} loses no pings any more",
    doc=Doc("node", "two rounds in a row lost more than half of their pings", "one did not", Example("git")),
)


@pytest.fixture
def added() -> Iterator[None]:
    RULES.add(EXAMPLE)
    yield
    RULES.remove(EXAMPLE.key)


@pytest.mark.usefixtures("added")
def test_dagster_has_its_asset_its_job_and_its_sensor(tmp_path: Path) -> None:
    defs = build_defs(settings_of(tmp_path))
    graph = defs.resolve_asset_graph()
    assert graph.get(dg.AssetKey("example_alerts")).parent_keys == {dg.AssetKey("connection_metrics")}
    sensor = defs.get_repository_def().get_sensor_def("example_alert_sensor")
    assert sensor.job_name == "tell_example_alerts"


@pytest.mark.usefixtures("added")
def test_its_alerts_are_shown_by_the_command_the_api_and_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path))
    settings = settings_of(tmp_path)
    store = SqlStore(settings.database_url)
    lost = [structs.replace(row, pings_sent=5, pings_received=1) for row in rows([20.0] * 3)]
    store.write(CONNECTIONS, lost)
    complete_to = DAY + 2 * MINUTE
    alert_store = AlertStore(engine_for(settings.database_url), TAILNET.name)
    observe = observe_rows(store, TAILNET, EXAMPLE, complete_to)
    evaluate(alert_store, EXAMPLE, observe, Source("http://page", "http://dagster"), complete_to + MINUTE)
    output = CliRunner().invoke(alerts).output
    assert "example_git" in output
    assert "worst 0.80 times" in output
    with demo_sidecar() as url, api_of(parts_of(settings, url)) as api:
        (firing,) = api.get("/alerts").json()["firing"]
    shown = {key: firing[key] for key in ("rule", "title", "unit", "icon", "severity")}
    assert shown == {
        "rule": "example",
        "title": "Pings are lost",
        "unit": "times",
        "icon": "triangle",
        "severity": "WARNING",
    }
    assert "| `example_<node>` | two rounds in a row lost" in rules_table()
    assert "WARNING git loses pings; since" in rules_messages()


def test_an_unknown_rule_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UnknownKeyError, match=r"unknown alert rule 'latenci': .* did you mean 'latency'"):
        RULES["latenci"]


def test_no_two_rules_share_a_key() -> None:
    with pytest.raises(ValueError, match="alert rule 'latency' is registered twice"):
        RULES.add(LATENCY)


def test_a_rule_needs_an_asset_if_and_only_if_rows_or_forecasts_judge_it() -> None:
    with pytest.raises(ValueError, match="expected an asset"):
        replace(EXAMPLE, asset=None)
