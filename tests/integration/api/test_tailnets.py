"""The API over two tailnets: each is selected by name, the first one by default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.api_world import NOW, Api, api_of, demo_sidecar, parts_of, rounds, settings_of
from tsobs_pipelines.alerting.evaluation import Observed, evaluate
from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS

HISTORY = "/health-monitoring/latency-history"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    office = Tailnet(
        name="office", sidecar_url=NOWHERE, critical_nodes=("printer", "git"), latency_threshold_ms=50
    )
    settings = settings_of(tmp_path_factory.mktemp("two"), further_tailnets=(office,))
    with demo_sidecar() as url:
        made = parts_of(settings, url)
        away = TailscaleHealthService(NOWHERE, critical_nodes=office.critical_nodes)
        made = replace(made, sidecars={**made.sidecars, "office": away})
        made.store.write(CONNECTIONS, rounds(60))
        made.store.write(CONNECTIONS, rounds(30, tailnet="office"))
        made.store.write(CONNECTIONS, rounds(30, tailnet="office", hostname="printer"))
        alert_store = AlertStore(engine_for(settings.database_url), "office")
        bad = Signal(NOW, NOW - timedelta(minutes=5), Verdict.BAD, 80.0, 50.0)
        observed = Observed(NOW - timedelta(hours=1), NOW, {"git": [bad]})
        evaluate(alert_store, LATENCY, lambda _: observed, Source("", ""), NOW)
        yield made
        made.store.close()


@pytest.fixture
def api(parts: Parts) -> Iterator[Api]:
    with api_of(parts) as made:
        yield made


def test_the_first_tailnet_is_meant_where_none_is_named(api: Api) -> None:
    unnamed, named = (api.get(f"/health-monitoring/nodes{query}").json() for query in ("", "?tailnet=demo"))
    assert unnamed == named
    assert unnamed["tailnet"] == "demo"
    assert unnamed["sidecar"]["ok"] is True
    assert len(api.get(f"{HISTORY}/git").json()["history"]) == 60
    about = api.get("/about").json()
    assert (about["tailnet"], about["tailnets"]) == ("demo", ["demo", "office"])


def test_another_one_has_nodes_limits_and_history_of_its_own(api: Api) -> None:
    found = api.get("/health-monitoring/nodes?tailnet=office").json()
    assert [node["hostname"] for node in found["nodes"]] == ["printer", "git"]
    assert {node["threshold_ms"] for node in found["nodes"]} == {50}
    assert found["sidecar"]["ok"] is False
    assert len(api.get(f"{HISTORY}/git?tailnet=office").json()["history"]) == 30
    assert api.get(f"{HISTORY}/printer").status_code == 404
    assert api.get("/health-monitoring/connection-stats/git?tailnet=office").status_code == 503


@pytest.mark.parametrize(
    "path", ["/health-monitoring/nodes", f"{HISTORY}/git", "/health-monitoring/connection-stats/git"]
)
def test_a_tailnet_that_nobody_watches_is_not_found(api: Api, path: str) -> None:
    answer = api.get(f"{path}?tailnet=plant")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no tailnet 'plant', expected one of demo, office"


def test_alerts_say_of_which_tailnet_they_are(api: Api) -> None:
    (firing,) = api.get("/alerts").json()["firing"]
    assert (firing["tailnet"], firing["topic"]) == ("office", "latency_git")


def test_health_and_metrics_tell_the_tailnets_apart(api: Api) -> None:
    parts = api.get("/healthz").json()["parts"]
    assert parts["sidecar"]["ok"] is False
    assert parts["sidecar"]["detail"].startswith("demo: demo tailnet; office: ")
    text = api.get("/metrics").text
    assert 'tsobs_node_latency_seconds{hostname="git",tailnet="demo"}' in text
    assert 'tsobs_node_latency_seconds{hostname="git",tailnet="office"}' in text
    assert 'tsobs_node_rounds_missing_24h{hostname="printer",tailnet="office"}' in text
    assert 'tsobs_part_up{part="sidecar"} 0.0' in text
