"""Every route of the API over a seeded store: its form, its limits, and conditional requests."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from tests.support.api_world import (
    NODES,
    NOW,
    Api,
    api_of,
    demo_sidecar,
    listening,
    parts_of,
    rounds,
    settings_of,
    write_log,
)
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.timeseries.schema import CONNECTIONS

HISTORY = "/health-monitoring/latency-history"
POLLED = [
    "/health-monitoring/nodes",
    f"{HISTORY}/git?hours=24",
    "/alerts",
    "/models/metrics-history",
    "/models/forecast",
    "/health-monitoring/strips",
    "/vpn.html",
]


def body(answer: httpx.Response) -> dict[str, object]:
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def test_connection_stats_are_live_and_of_the_requested_shape(api: Api) -> None:
    found = body(api.get("/health-monitoring/connection-stats/git"))
    assert list(found) == ["hostname", "connection_stats", "ping_stats"]
    stats, pings = found["connection_stats"], found["ping_stats"]
    assert isinstance(stats, dict)
    assert isinstance(pings, dict)
    names = "hostname connection_type relay_node tx_bytes rx_bytes last_handshake endpoint"
    assert list(stats) == names.split()
    assert list(pings) == ["min", "max", "avg", "count"]
    assert stats["hostname"] == found["hostname"] == "git"
    assert pings["min"] <= pings["avg"] <= pings["max"]
    assert pings["count"] == 5


def test_the_history_of_a_day_is_every_round(api: Api) -> None:
    found = body(api.get(f"{HISTORY}/git?hours=24"))
    history = found["history"]
    assert isinstance(history, list)
    assert found["hostname"] == "git"
    assert list(history[0])[:2] == ["timestamp", "latency_ms"]
    times = [datetime.fromisoformat(point["timestamp"]) for point in history]
    assert times == sorted(times)
    assert len(set(times)) == len(times)
    assert 1380 <= len(times) <= 1440
    assert found["step_s"] == 60
    assert all(NOW - timedelta(hours=24) <= at <= NOW for at in times)
    assert body(api.get(f"{HISTORY}/git"))["hours"] == 24


def test_every_node_with_its_day(api: Api) -> None:
    found = body(api.get("/health-monitoring/nodes"))
    nodes = found["nodes"]
    assert isinstance(nodes, list)
    assert [node["hostname"] for node in nodes] == list(NODES)
    assert found["sidecar"] == {"ok": True, "detail": "tailscaled 1.102.5-demo is Running"}
    for node in nodes:
        assert node["day"]["rounds"] > 1380
        assert 0.9 < node["day"]["availability"] <= 1
        assert node["measured_at"] == "2026-11-24T12:00:00Z"


def test_what_fires_and_what_was(api: Api) -> None:
    found = body(api.get("/alerts"))
    (firing,) = found["firing"] if isinstance(found["firing"], list) else []
    assert (firing["topic"], firing["state"], firing["threshold"]) == ("latency_git", "firing", 100.0)
    assert firing in (found["recent"] if isinstance(found["recent"], list) else [])
    assert firing["message"]["text"].startswith("⚠️ WARNING high latency to git: 150 ms")
    assert "http" not in firing["message"]["text"]
    assert firing["message"]["fate"] == firing["fate"] == "pending"
    # Without a run, the day of the asset that holds the data.
    where = "assets/connection_metrics?view=partitions&partition=2026-11-24"
    assert firing["source_url"] == f"http://127.0.0.1:3000/{where}"


def test_the_last_evaluations_oldest_first(api: Api) -> None:
    found = body(api.get(f"/models/metrics-history?model_name={DEFAULT_MODEL}&limit=2"))
    metrics = found["metrics"]
    assert isinstance(metrics, list)
    assert found["model_name"] == DEFAULT_MODEL
    assert [row["mae"] for row in metrics] == [0.02, 0.01]
    assert {"rmse", "r2", "timestamp", "version"} <= metrics[0].keys()
    assert body(api.get("/models/metrics-history"))["model_name"] == DEFAULT_MODEL


def test_logs_newest_first_and_that_level_and_above(api: Api) -> None:
    found = body(api.get("/logs/search?level=ERROR&hours=24&limit=100"))
    assert found["count"] == 1
    assert isinstance(found["entries"], list)
    assert found["entries"][0]["message"] == "the store is down"
    assert body(api.get("/logs/search?level=INFO"))["count"] == 2
    assert body(api.get("/logs/search?level=INFO&q=5 rounds"))["count"] == 1
    assert body(api.get("/logs/search?level=DEBUG&logger=tsobs_pipelines.tailnet"))["count"] == 1
    assert body(api.get("/logs/search"))["count"] == 1


def test_health_metrics_about_and_the_document(api: Api) -> None:
    health = body(api.get("/healthz"))
    assert health["ok"] is True
    assert isinstance(health["parts"], dict)
    assert list(health["parts"]) == ["store", "sidecar", "alerts", "daemon", "schedule", "outbox"]
    text = api.get("/metrics").text
    assert 'tsobs_node_latency_seconds{hostname="git",tailnet="demo"}' in text
    assert 'tsobs_part_up{part="store"} 1.0' in text
    assert 'tsobs_http_requests_total{method="GET",route="/healthz",status="200"}' in text
    assert body(api.get("/about"))["demo_tailnet"] is True
    documented = body(api.get("/openapi.json"))["paths"]
    assert isinstance(documented, dict)
    assert {"/alerts", "/logs/search", f"{HISTORY}/{{hostname}}", "/models/metrics-history"} <= set(
        documented
    )
    assert api.get("/docs").status_code == 200
    assert api.get("/").headers["location"] == "/vpn.html"


@pytest.mark.parametrize("path", POLLED)
def test_what_is_polled_is_not_sent_twice(api: Api, path: str) -> None:
    first = api.get(path)
    assert first.status_code == 200
    again = api.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert api.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_new_round_is_another_etag(seeded: Parts, tmp_path: Path) -> None:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path), url)
        parts.store.write(CONNECTIONS, rounds(5, end=NOW - timedelta(minutes=1)))
        with api_of(parts) as before:
            first = before.get(f"{HISTORY}/git")
        parts.store.write(CONNECTIONS, rounds(1))
        with api_of(parts) as after:
            second = after.get(f"{HISTORY}/git", headers={"If-None-Match": first.headers["etag"]})
        assert second.status_code == 200
        assert len(second.json()["history"]) == 6
        parts.store.close()


def test_bodies_are_compressed_for_those_who_read_it(seeded: Parts) -> None:
    path = f"{HISTORY}/git?hours=24"
    with listening(create_app(seeded.settings, seeded)) as url, httpx.Client(base_url=url) as client:
        with client.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
            raw = b"".join(answer.iter_raw())
        plain = client.get(path, headers={"Accept-Encoding": "identity"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in answer.headers["vary"].lower()
        assert len(raw) < len(plain.content) / 5
        assert json.loads(gzip.decompress(raw)) == plain.json()


@pytest.mark.parametrize("hours", [24, 34, 168, 720, 8760])
def test_a_month_in_2000_points_keeps_extremes_and_gaps(tmp_path: Path, hours: int) -> None:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path), url)
        count = 43_200 if hours >= 720 else 60 * hours
        written = rounds(count)
        hole = range(count // 8, count // 8 + 180)
        parts.store.write(CONNECTIONS, [row for number, row in enumerate(written) if number not in hole])
        with api_of(parts) as api:
            found = body(api.get(f"{HISTORY}/git?hours={hours}"))
        parts.store.close()
    history = found["history"]
    assert isinstance(history, list)
    assert len(history) <= 2000
    assert max(point["latency_max"] or 0 for point in history) == 901.0
    assert min(point["latency_min"] or 99 for point in history) == 9.0
    assert sum(point["rounds"] for point in history) == count - 180
    times = [datetime.fromisoformat(point["timestamp"]) for point in history]
    steps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    step = found["step_s"]
    assert isinstance(step, int)
    if hours < 8760:
        assert max(steps) >= 180 * 60 - 2 * step
        assert max(steps) > 2 * step
    assert any(point["relayed"] > 0 for point in history)
    assert any((point["loss"] or 0) > 0 for point in history)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"{HISTORY}/nobody", 404),
        ("/health-monitoring/connection-stats/nobody", 404),
        ("/models/metrics-history?model_name=nobody", 404),
        ("/nothing", 404),
        (f"{HISTORY}/git?hours=0", 422),
        (f"{HISTORY}/git?hours=-1", 422),
        (f"{HISTORY}/git?hours=1e9", 422),
        (f"{HISTORY}/git?hours=x", 422),
        (f"{HISTORY}/git?points=5000", 422),
        ("/logs/search?limit=0", 422),
        ("/logs/search?hours=-1", 422),
        ("/logs/search?hours=1e9", 422),
        ("/logs/search?level=LOUD", 422),
        ("/logs/search?run_id=x", 422),
        ("/models/metrics-history?limit=0", 422),
        ("/alerts?hours=999999999", 422),
    ],
)
def test_what_can_not_be_answered_says_why_in_one_line(api: Api, path: str, status: int) -> None:
    answer = api.get(path)
    assert answer.status_code == status
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert "\n" not in detail
    assert answer.headers["cache-control"] == "no-store"


def test_a_surrogate_in_a_foreign_line_is_an_answer(api: Api, seeded: Parts) -> None:
    path = seeded.settings.state_dir / "logs" / f"tsobs-{NOW:%Y-%m-%d}.jsonl"
    stamp = f"{NOW - timedelta(minutes=2):%Y-%m-%dT%H:%M:%S}Z"
    with path.open("a") as file:
        file.write(f'{{"event": "half \\ud800 a pair", "level": "critical", "timestamp": "{stamp}"}}\n')
    found = body(api.get("/logs/search?level=CRITICAL"))
    assert found["count"] == 1


def test_a_path_from_outside_never_becomes_a_file(api: Api, seeded: Parts) -> None:
    write_log(seeded.settings, "INFO", "x")
    for path in ("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/js/..%2f..%2fapp.py", "/vendor/"):
        assert api.get(path).status_code == 404, path
