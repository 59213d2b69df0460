"""Alerting rules and Grafana dashboard, against a real Prometheus that scrapes the API."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.api_world import NOW, demo_sidecar, listening, parts_of, seed, settings_of
from tests.support.lab.processes import Server
from tests.support.lab.runs import Run
from tests.support.ports import free_port
from tsobs_pipelines.alerting.outbox import enqueue_test
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.database import engine_for

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "tsobs.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def prometheus(lab_run: Run) -> Iterator[str]:
    """A Prometheus that scrapes, every few seconds, an API with a message that waits; rules wait for 1 s."""
    place = lab_run.place("prometheus")
    with demo_sidecar() as sidecar:
        parts = parts_of(settings_of(place / "state"), sidecar)
        seed(parts)
        enqueue_test(engine_for(parts.settings.database_url), "x", NOW - timedelta(hours=1))
        with listening(create_app(parts.settings, parts)) as api:
            quick = re.sub(r"for: \d+m", "for: 1s", RULES.read_text("utf-8"))
            (place / "alerts.yml").write_text(quick)
            config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
            config["global"] = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "1s"}
            config["scrape_configs"][0]["static_configs"][0]["targets"] = [api.removeprefix("http://")]
            (place / "prometheus.yml").write_text(yaml.safe_dump(config))
            port = free_port()
            server = Server(
                name="prometheus",
                command=[
                    "prometheus",
                    f"--config.file={place / 'prometheus.yml'}",
                    f"--storage.tsdb.path={place / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                log=place / "prometheus.log",
                patience_s=15,
            )
            server.start()
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                server.stop()
        parts.store.close()


def query(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """The samples of an expression; fails if Prometheus does not take it."""
    answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=10)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["result"]
    return found


def eventually(prometheus: str, expression: str) -> list[dict[str, Any]]:
    """The samples of an expression once there are some."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if found := query(prometheus, expression):
                return found
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"no sample of {expression} within 60 s")


def test_promtool_finds_nothing_wrong() -> None:
    for check in (["config", str(DEPLOY / "prometheus" / "prometheus.yml")], ["rules", str(RULES)]):
        done = subprocess.run(["promtool", "check", *check], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_rule_fires_for_a_part_that_ails(prometheus: str) -> None:
    (firing, *_) = eventually(prometheus, 'ALERTS{alertname="TsobsPartAils",alertstate="firing"}')
    assert (firing["metric"]["part"], firing["metric"]["severity"]) == ("outbox", "warning")


def test_every_metric_of_the_rules_is_known_or_of_prometheus(prometheus: str) -> None:
    text = RULES.read_text("utf-8")
    names = set(re.findall(r"\btsobs_[a-z0-9_]+", re.sub(r"name: .*|summary: .*", "", text)))
    api = eventually(prometheus, "up")[0]["metric"]["instance"]
    exposed = httpx.get(f"http://{api}/metrics", timeout=30).text
    assert sorted(name for name in names if f"# TYPE {name} " not in exposed) == []


def panels() -> list[tuple[str, str]]:
    """Title and expression of each query, with the variables replaced as Grafana does for "All"."""
    return [
        (panel["title"], target["expr"].replace("$tailnet", ".*").replace("$node", ".*"))
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


@pytest.mark.parametrize(("title", "expression"), panels())
def test_a_panel_finds_something(prometheus: str, title: str, expression: str) -> None:
    eventually(prometheus, "tsobs_node_loss_ratio")
    found = query(prometheus, expression)
    # Without a daemon there are no runs.
    assert found or title == "Runs of the last hour"


def test_the_dashboard_has_the_form_that_grafana_takes() -> None:
    assert set(DASHBOARD) >= {"title", "uid", "schemaVersion", "panels", "templating", "time"}
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    for panel in DASHBOARD["panels"]:
        position = panel["gridPos"]
        assert position["x"] + position["w"] <= 24
        assert panel["type"] in {"timeseries", "stat", "state-timeline", "table", "gauge"}
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
