"""The API when its dependencies are down or slow: 503 with a reason, and no request blocks another."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.support.api_world import api_of, demo_sidecar, listening, parts_of, rounds, seed, settings_of
from tests.support.ports import free_port
from tests.support.sidecars import raw_sidecar
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.api.cache import Shared
from tsobs_pipelines.timeseries.schema import CONNECTIONS, Measurement, RowT
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Where, Window

DEAD = "http://127.0.0.1:9"
NODES = "/health-monitoring/nodes"
HISTORY = "/health-monitoring/latency-history/git"
LIVE = "/health-monitoring/connection-stats/git"


def test_without_the_sidecar_the_nodes_are_as_they_were(tmp_path: Path) -> None:
    parts = parts_of(settings_of(tmp_path), DEAD)
    parts.store.write(CONNECTIONS, rounds(10))
    with api_of(parts) as api:
        nodes = api.get(NODES)
        assert nodes.status_code == 200
        assert nodes.json()["sidecar"]["ok"] is False
        assert nodes.json()["nodes"][0]["latency_ms"] == 19.0
        assert api.get(HISTORY).status_code == 200
        live = api.get(LIVE)
        assert live.status_code == 503
        assert "sidecar" in live.json()["detail"]
        assert live.headers["retry-after"] == "5"
        health = api.get("/healthz")
        assert health.status_code == 503
        assert health.json()["parts"]["sidecar"]["ok"] is False
        assert health.json()["parts"]["store"]["ok"] is True
        assert 'tsobs_part_up{part="sidecar"} 0.0' in api.get("/metrics").text
    parts.store.close()


def test_without_influxdb_every_route_that_needs_it_says_so(tmp_path: Path) -> None:
    secret = "a-token-that-nobody-may-see"
    settings = settings_of(
        tmp_path, influx_url=DEAD, influx_org="lab", influx_token=secret, influx_bucket="analytics"
    )
    with demo_sidecar() as url:
        parts = parts_of(settings, url)
        with api_of(parts) as api:
            for path in (NODES, HISTORY):
                answer = api.get(path)
                assert answer.status_code == 503, path
                assert "InfluxDB" in answer.json()["detail"]
                assert secret not in answer.text
            assert api.get(LIVE).status_code == 200
            assert api.get("/alerts").status_code == 200
            assert api.get("/healthz").json()["parts"]["store"]["ok"] is False
            assert api.get("/metrics").status_code == 200
            assert 'tsobs_part_up{part="store"} 0.0' in api.get("/metrics").text
        parts.store.close()


def test_without_its_database_the_alerts_say_so(tmp_path: Path) -> None:
    password = "a-password-that-nobody-may-see"
    url = f"postgresql+psycopg2://tsobs:{password}@127.0.0.1:9/tsobs"
    store = SqlStore(f"sqlite:///{tmp_path / 'rows.db'}")
    with demo_sidecar() as sidecar:
        parts = parts_of(settings_of(tmp_path, database_url_override=url), sidecar, store)
        with api_of(parts) as api:
            answer = api.get("/alerts")
            assert answer.status_code == 503
            assert password not in answer.text
            assert password not in api.get("/healthz").text
    store.close()


def test_logs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path), url)
        (tmp_path / "logs").write_text("a file where a directory should be")
        with api_of(parts) as api:
            answer = api.get("/logs/search")
        assert answer.status_code == 503
        assert "logs can't be read" in answer.json()["detail"]
        parts.store.close()


def test_an_empty_store_is_an_answer(tmp_path: Path) -> None:
    parts = parts_of(settings_of(tmp_path), f"http://127.0.0.1:{free_port()}")
    with api_of(parts) as api:
        assert api.get(HISTORY).json()["history"] == []
        nodes = api.get(NODES).json()["nodes"]
        assert [node["measured_at"] for node in nodes] == [None, None, None]
        assert api.get("/alerts").json() == {"firing": [], "recent": []}
        assert api.get("/logs/search").json()["count"] == 0
        assert api.get("/models/metrics-history").json()["metrics"] == []
        assert api.get("/models/metrics-history?model_name=nobody").status_code == 404
    parts.store.close()


def test_a_bug_shows_no_traceback(tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret-inside")

    with demo_sidecar() as url:
        parts = replace(parts_of(settings_of(tmp_path), url), search_logs=broken)  # type: ignore[arg-type]
        with api_of(parts) as api:
            answer = api.get("/logs/search")
        assert answer.status_code == 500
        assert answer.json() == {"detail": "internal error; the log of the API has the details"}
        parts.store.close()


def test_a_silent_sidecar_delays_nobody_else(tmp_path: Path) -> None:
    """Four requests hang on a sidecar that accepts and says nothing; the others are answered at once."""
    hang = threading.Event()

    def hangs(_: socket.socket) -> None:
        hang.wait(20)

    with raw_sidecar(hangs) as url:
        parts = parts_of(settings_of(tmp_path), url)
        parts.store.write(CONNECTIONS, rounds(60))
        with listening(create_app(parts.settings, parts)) as api, ThreadPoolExecutor(4) as pool:
            slow = [pool.submit(_status, f"{api}{LIVE}") for _ in range(4)]
            time.sleep(0.3)
            for path in ("/about", HISTORY, "/alerts", "/logs/search", "/vpn.html"):
                begun = time.monotonic()
                assert httpx.get(f"{api}{path}", timeout=10).status_code == 200
                assert time.monotonic() - begun < 1.5, path
            begun = time.monotonic()
            nodes = httpx.get(f"{api}{NODES}", timeout=10)
            assert time.monotonic() - begun < 4
            assert nodes.json()["sidecar"]["ok"] is False
            hang.set()
            assert {future.result(30) for future in slow} == {503}
        parts.store.close()


def _status(url: str) -> int | None:
    return httpx.get(url, timeout=30).status_code


class SlowStore(SqlStore):
    """A store whose reads wait until they are let go, and are counted."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reads = 0
        self.reading = threading.Event()
        self.let_go = threading.Event()

    def read(self, measurement: Measurement[RowT], window: Window, where: Where | None = None) -> list[RowT]:
        self.reads += 1
        self.reading.set()
        self.let_go.wait(20)
        return super().read(measurement, window, where)


def test_fifty_readers_cost_one_read_and_do_not_block_the_loop(tmp_path: Path) -> None:
    store = SlowStore(f"sqlite:///{tmp_path / 'rows.db'}")
    store.write(CONNECTIONS, rounds(60))
    parts = parts_of(settings_of(tmp_path), DEAD, store)
    with listening(create_app(parts.settings, parts)) as api, ThreadPoolExecutor(50) as pool:
        waiting = [pool.submit(_status, f"{api}{HISTORY}") for _ in range(50)]
        assert store.reading.wait(20)
        assert httpx.get(f"{api}/about", timeout=10).status_code == 200
        assert not any(future.done() for future in waiting), "the page was answered before the readers"
        store.let_go.set()
        assert {future.result(20) for future in waiting} == {200}
    assert store.reads == 1
    store.close()


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path), url)
        seed(parts)
        moved = tmp_path / "models" / "metrics_history.csv"
        text = moved.read_text("utf-8")
        moved.write_text("not,a,history\n1,2,3\n", "utf-8")
        with api_of(parts) as api:
            assert api.get("/models/metrics-history").status_code == 503
            moved.write_text(text, "utf-8")
            assert api.get("/models/metrics-history").status_code == 200
        parts.store.close()


@pytest.mark.parametrize("age", [0.0, 9.9])
def test_a_value_is_handed_out_while_it_is_fresh(age: float) -> None:
    import asyncio  # noqa: PLC0415

    from anyio import CapacityLimiter  # noqa: PLC0415

    calls: list[str] = []
    at = 0.0

    def compute(key: str) -> int:
        calls.append(key)
        return len(calls)

    async def ask() -> tuple[int, int, int]:
        nonlocal at
        shared = Shared(compute, fresh_s=10, stale_s=20, limiter=CapacityLimiter(1), clock=lambda: at)
        first = await shared.get("a")
        at = age
        second = await shared.get("a")
        at = 30
        return first, second, await shared.get("a")

    assert asyncio.run(ask()) == (1, 1, 2)
