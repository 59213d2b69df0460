"""The tests of the request: pings, connection types, and connection metrics in InfluxDB, end to end.

Each starts from what a sidecar answers over HTTP. Their details have tests of their own beside this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support import bot_api
from tests.support.journals import round_line
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.alerting.evaluation import evaluate, observe_rows
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.outbox import deliver
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rows import connection_rows
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.sql import SqlStore

NODE = "chocolate-factory"
START = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)
UDP = {"LatencySeconds": 0.012, "Endpoint": "10.88.2.2:41641"}
DERP = {"LatencySeconds": 0.023, "DERPRegionID": 9, "DERPRegionCode": "fra"}
TIMEOUT = {"Err": "timeout"}


def status(**changes: object) -> dict[str, object]:
    peer = {"HostName": NODE, "DNSName": f"{NODE}.tail.test.", "Online": True, "CurAddr": "", "Relay": "fra"}
    return {"BackendState": "Running", "Peer": {"nodekey:1": {**peer, **changes}}}


@pytest.fixture
def sidecar() -> Iterator[StubSidecar]:
    server = StubSidecar({"/status": status(TxBytes=1024, RxBytes=2048)})
    with served(server):
        yield server


def answer_pings(sidecar: StubSidecar, *pings: object) -> None:
    sidecar.answers[f"/ping/{NODE}.tail.test"] = list(pings)


def test_ping_peer_returns_latency_stats(sidecar: StubSidecar) -> None:
    answer_pings(sidecar, DERP, UDP, TIMEOUT)
    with TailscaleHealthService(sidecar.url) as service:
        assert service.ping_peer(NODE, count=3) == {"min": 12.0, "max": 23.0, "avg": 17.5, "count": 2}


def test_ping_peer_without_a_pong_has_no_latency(sidecar: StubSidecar) -> None:
    answer_pings(sidecar, *[TIMEOUT] * 5)
    with TailscaleHealthService(sidecar.url) as service:
        assert service.ping_peer(NODE) == {"min": None, "max": None, "avg": None, "count": 0}


@pytest.mark.parametrize(
    ("pings", "online", "connection_type", "relay_node", "endpoint"),
    [
        ([DERP, UDP, UDP], True, "direct", "none", "10.88.2.2:41641"),
        ([DERP, DERP, DERP], True, "relay", "fra", "DERP(fra)"),
        ([UDP, {**UDP, "PeerRelay": "192.0.2.7:7:vni:1"}], True, "peer-relay", "none", "192.0.2.7:7:vni:1"),
        ([TIMEOUT] * 5, True, "unreachable", "none", None),
        ([TIMEOUT] * 5, False, "offline", "none", None),
        ([{"Err": "connection refused"}], True, "unknown", "none", None),
    ],
)
def test_get_connection_stats_returns_connection_type(
    sidecar: StubSidecar,
    pings: list[object],
    online: bool,
    connection_type: str,
    relay_node: str,
    endpoint: str | None,
) -> None:
    handshake = "2026-11-24T02:00:00Z"
    sidecar.answers["/status"] = status(Online=online, TxBytes=1024, RxBytes=2048, LastHandshake=handshake)
    answer_pings(sidecar, *pings)
    with TailscaleHealthService(sidecar.url) as service:
        assert service.get_connection_stats(NODE) == {
            "hostname": NODE,
            "connection_type": connection_type,
            "relay_node": relay_node,
            "tx_bytes": 1024,
            "rx_bytes": 2048,
            "last_handshake": handshake,
            "endpoint": endpoint,
        }


class _RecordingInflux(ThreadingHTTPServer):
    """An InfluxDB that is empty, takes every write and keeps its lines."""

    daemon_threads = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        super().__init__(("127.0.0.1", 0), _InfluxHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"


class _InfluxHandler(BaseHTTPRequestHandler):
    server: _RecordingInflux
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/api/v2/write"):
            self.server.lines += body.decode().splitlines()
            self.send_response(204)
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/csv")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_connection_metrics_are_written_to_influxdb(tmp_path: Path) -> None:
    lines = [
        round_line(START, 12.5, relay="fra", sent=1000),
        round_line(START + timedelta(minutes=1), sent=1500),
    ]
    rows = connection_rows(read_rounds(lines, JournalCounts()), ["git"], "default")
    influx = _RecordingInflux()
    with served(influx):
        store = InfluxStore(InfluxAddress(influx.url, "org", "analytics", "token"), tmp_path)
        store.write(CONNECTIONS, rows)
        store.close()
    relayed, direct = influx.lines
    series, fields, time = relayed.split(" ")
    assert series.split(",")[0] == "tailscale_connections"
    tags = {"hostname=git", "connection_type=relay", "relay_node=fra", "tailnet=default"}
    assert set(series.split(",")[1:]) == tags
    values = {
        "latency_avg=12.5",
        "latency_cold=37.5",
        "pings_received=6i",
        "tx_bytes=1000i",
        "rx_bytes=2000i",
    }
    assert values <= set(fields.split(","))
    assert "tx_delta" not in fields, "the first round has nothing to be measured from"
    assert time.startswith(str(int(START.timestamp())))
    assert "connection_type=direct" in direct
    assert {"tx_delta=500i", "rx_delta=1000i"} <= set(direct.split(" ")[1].split(","))


WATCHED = Tailnet(name="default", critical_nodes=("git",))


def alerted(rule: Rule, rows: list[ConnectionRow], database: Path) -> list[str]:
    """What the Bot API gets once the rounds of the node are looked at."""
    store = SqlStore(f"sqlite:///{database}")
    store.write(CONNECTIONS, rows)
    engine = engine_for(f"sqlite:///{database}")
    now = START + timedelta(minutes=5)
    observe = observe_rows(store, WATCHED, rule, START + timedelta(minutes=4))
    evaluate(AlertStore(engine, "default"), rule, observe, Source("http://page", "http://ui"), now)
    with bot_api.bot_api() as server:
        deliver(engine, [Telegram(server.url, bot_api.TOKEN, bot_api.CHAT)], lambda: now)
        return server.texts


def five_rounds(latency_ms: float, relay: str = "") -> list[ConnectionRow]:
    lines = [round_line(START + timedelta(minutes=minute), latency_ms, relay=relay) for minute in range(5)]
    return connection_rows(read_rounds(lines, JournalCounts()), ["git"], "default")


def test_alert_is_sent_if_latency_is_over_100_ms(tmp_path: Path) -> None:
    (text,) = alerted(LATENCY, five_rounds(101.0), tmp_path / "slow.db")
    assert "WARNING" in text
    assert "high latency to git: 101 ms" in text
    assert alerted(LATENCY, five_rounds(100.0), tmp_path / "fine.db") == []


def test_alert_is_sent_if_connection_is_relayed(tmp_path: Path) -> None:
    (text,) = alerted(RELAY, five_rounds(20.0, relay="fra"), tmp_path / "relayed.db")
    assert "WARNING" in text
    assert "git is reached through DERP relay fra" in text
    assert alerted(RELAY, five_rounds(20.0), tmp_path / "direct.db") == []
