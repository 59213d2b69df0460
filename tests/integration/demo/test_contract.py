"""The sidecar's HTTP contract against the demo; the same tests run against a real sidecar.

Set ``CONTRACT_SIDECAR_URL`` (and ``CONTRACT_SIDECAR_TOKEN_FILE``) to test another than the demo. It needs a
tailnet with at least one peer and a sampler that has taken a round.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, urlsplit

import httpx
import pytest

from tests.support.sidecars import served
from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.localapi import ApiPing, read_ping
from tsobs_pipelines.tailnet.ping import Pong, parse_ping_text

Client: TypeAlias = httpx.Client


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    if (given := os.environ.get("CONTRACT_SIDECAR_URL")) is not None:
        yield given.rstrip("/")
        return
    server = DemoServer(0, clock=lambda: datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC))
    with served(server):
        yield server.url


@pytest.fixture(scope="module")
def sidecar(url: str) -> Iterator[Client]:
    file = os.environ.get("CONTRACT_SIDECAR_TOKEN_FILE")
    headers = {"Authorization": f"Bearer {Path(file).read_text().strip()}"} if file else {}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def peer(sidecar: Client) -> dict[str, object]:
    found: dict[str, object] = next(iter(sidecar.get("/status").json()["Peer"].values()))
    return found


@pytest.fixture(scope="module")
def newest_day(sidecar: Client) -> str:
    days: list[str] = sorted(sidecar.get("/samples").json()["days"])
    return days[-1]


def error_of(response: httpx.Response) -> str:
    body = response.json()
    assert set(body) == {"error"}
    assert isinstance(body["error"], str)
    assert body["error"]
    return body["error"]


def test_healthz(sidecar: Client) -> None:
    response = sidecar.get("/healthz")
    assert (response.status_code, response.json()["ok"]) == (200, True)


def test_status_is_an_allow_listed_projection_in_tailscale_s_shape(sidecar: Client) -> None:
    response = sidecar.get("/status")
    status = response.json()
    assert response.headers["content-type"].startswith("application/json")
    assert status["BackendState"] == "Running"
    assert {"Version", "Self", "Peer"} <= set(status)
    for key, peer in status["Peer"].items():
        assert key
        assert {"HostName", "DNSName", "Online", "TxBytes", "RxBytes", "TailscaleIPs"} <= set(peer)
        assert peer["DNSName"].endswith(".")
    for secret in ("AuthURL", "LoginName", "sshHostKeys", '"Addrs"', "CapMap", "@"):
        assert secret not in response.text


def test_netcheck_is_json_alone(sidecar: Client) -> None:
    report = sidecar.get("/netcheck").json()
    assert isinstance(report["UDP"], bool)
    assert all(isinstance(value, int) for value in (report["RegionLatency"] or {}).values())


@pytest.mark.parametrize("form", ["HostName", "DNSName", "ip"])
def test_ping_as_text_for_every_name_of_a_peer(sidecar: Client, peer: dict[str, object], form: str) -> None:
    name = peer["TailscaleIPs"][0] if form == "ip" else peer[form]  # type: ignore[index]
    response = sidecar.get(f"/ping/{quote(str(name), safe='')}")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    results = parse_ping_text(response.text)
    assert len(results) == 5
    assert any(isinstance(result, Pong) for result in results)


def test_ping_as_json_has_microseconds(sidecar: Client, peer: dict[str, object]) -> None:
    body = sidecar.get(f"/ping/{peer['HostName']}", params={"format": "json"}).json()
    pings = body if isinstance(body, list) else body["pings"]
    assert len(pings) == 5
    read = [read_ping(ping) for ping in pings]
    assert all(isinstance(ping, ApiPing) for ping in read)
    assert any(ping.seconds is not None and not ping.err for ping in read)


def test_whois_projects_name_and_login(sidecar: Client, peer: dict[str, object]) -> None:
    address = peer["TailscaleIPs"][0]  # type: ignore[index]
    body = sidecar.get(f"/whois/{address}").json()
    assert "LoginName" in json.dumps(body)
    assert "CapMap" not in body


def test_debug_shows_the_peer_s_status(sidecar: Client, peer: dict[str, object]) -> None:
    response = sidecar.get(f"/debug/{peer['HostName']}")
    assert response.status_code == 200
    assert str(peer["HostName"]) in response.text


def test_the_index_counts_the_lines_and_bytes_of_each_day(sidecar: Client) -> None:
    days = sidecar.get("/samples").json()["days"]
    assert days
    for day in (min(days), max(days)):
        assert str(date.fromisoformat(day)) == day
        response = sidecar.get(f"/samples/{day}")
        # A round may be added between the two requests.
        assert response.text.count("\n") >= days[day]["rounds"] > 0
        assert len(response.content) >= days[day]["bytes"]
        assert int(response.headers["content-length"]) == len(response.content)
        assert response.content.endswith(b"\n")


def test_every_line_of_a_day_is_a_round_of_that_day(sidecar: Client, newest_day: str) -> None:
    counts = JournalCounts()
    body = sidecar.get(f"/samples/{newest_day}").content
    rounds = list(read_rounds([body], counts, date.fromisoformat(newest_day)))
    assert counts.skipped_total == 0
    assert rounds
    taken = [this for this in rounds if this.taken]
    assert all(this.pings and this.peers and this.daemon for this in taken)
    assert any(ping.seconds for this in taken for pings in this.pings.values() for ping in pings)


def test_after_gives_the_later_rounds_alone(sidecar: Client, newest_day: str) -> None:
    rounds = list(read_rounds([sidecar.get(f"/samples/{newest_day}").content], JournalCounts()))
    middle = rounds[len(rounds) // 2].at
    for shown in (middle.isoformat().replace("+00:00", "Z"), middle.isoformat()):
        body = sidecar.get(f"/samples/{newest_day}", params={"after": shown}).content
        later = [this.at for this in read_rounds([body], JournalCounts())]
        expected = [this.at for this in rounds if this.at > middle]
        assert later[: len(expected)] == expected
    far = (rounds[-1].at + timedelta(days=2)).isoformat().replace("+00:00", "Z")
    empty = sidecar.get(f"/samples/{newest_day}", params={"after": far})
    assert (empty.status_code, empty.content) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/nothing", 404),
        ("/status/", 404),
        ("/ping/nobody-is-called-so", 404),
        ("/ping/%2e%2e", 404),
        ("/ping/-c", 404),
        ("/ping/--help", 404),
        ("/ping/%24%28id%29", 404),
        ("/ping/a%3Bid", 404),
        ("/debug/nobody-is-called-so", 404),
        ("/whois/nothing", 400),
        ("/whois/1.2.3.4;id", 400),
        ("/samples/yesterday", 400),
        ("/samples/2026-13-01", 400),
        ("/samples/..%2f..%2fetc%2fpasswd", 400),
        ("/samples/1999-01-01", 404),
    ],
)
def test_what_is_wrong_or_unknown_is_refused(sidecar: Client, path: str, status: int) -> None:
    response = sidecar.get(path)
    assert response.status_code in {status, 400 if status == 404 else status}
    assert not re.search(r"uid=|root:|Usage", error_of(response))


@pytest.mark.parametrize("after", ["yesterday", "2026-11-24", "", "2026-11-24T00:00:00", "$(id)"])
def test_a_time_that_is_none_is_refused(sidecar: Client, newest_day: str, after: str) -> None:
    response = sidecar.get(f"/samples/{newest_day}?after={quote(after)}")
    assert response.status_code == 400
    error_of(response)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_are_not_allowed(sidecar: Client, method: str) -> None:
    response = sidecar.request(method, "/status")
    assert response.status_code == 405
    error_of(response)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "null"},
        {"Referer": "http://evil.example/"},
    ],
)
def test_requests_of_web_pages_are_refused(sidecar: Client, headers: dict[str, str]) -> None:
    response = sidecar.get("/status", headers=headers)
    assert response.status_code in {400, 403, 421}
    assert "Peer" not in response.text


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /status HTTP/1.1\r\n" + b"X-Flood: 1\r\n" * 100_000 + b"\r\n",
        b"GET /status HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET\r\n\r\n",
    ],
    ids=["long request line", "header flood", "no host", "TLS", "no path"],
)
def test_hostile_bytes_get_no_status_and_do_no_harm(sidecar: Client, url: str, raw: bytes) -> None:
    parts = urlsplit(url)
    assert parts.hostname
    got = b""
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=15) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                got += chunk
        except OSError:
            pass  # it hung up on us: just as well
    assert b"BackendState" not in got
    assert b" 200 " not in got.partition(b"\r\n")[0]
    assert sidecar.get("/status").status_code == 200
