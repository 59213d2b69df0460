"""The client of the sidecar against real servers: valid responses, and every kind of invalid one."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.sidecars import StubSidecar, answer, raw_sidecar, says, served
from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.demo.tailnet import OFFLINE_NIGHT, RELAYED_AFTERNOON, next_incidents
from tsobs_pipelines.demo.tailnet_journal import DEPTH_DAYS
from tsobs_pipelines.tailnet import client as client_module
from tsobs_pipelines.tailnet import transport
from tsobs_pipelines.tailnet.client import (
    AmbiguousPeerError,
    DayIndex,
    SidecarRefusedError,
    SidecarUnavailableError,
    TailscaleHealthService,
    UnknownPeerError,
)
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds

CALM = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
INCIDENTS = next_incidents(CALM)
TOKEN = "s3cr3t-t0ken"

DIRECT = {"LatencySeconds": 0.012, "Endpoint": "10.88.2.2:41641"}
DERP = {"LatencySeconds": 0.023, "DERPRegionID": 9, "DERPRegionCode": "fra"}
STATUS = {
    "BackendState": "Running",
    "Self": {"HostName": "watcher", "DNSName": "watcher.tail.test."},
    "Peer": {
        "nodekey:1": {
            "HostName": "git",
            "DNSName": "git.tail.test.",
            "Online": True,
            "CurAddr": "",
            "Relay": "nyc",
            "TxBytes": 10,
            "RxBytes": 20,
            "LastHandshake": "0001-01-01T00:00:00Z",
        }
    },
}


class Clock:
    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(CALM)


@pytest.fixture
def demo(clock: Clock) -> Iterator[TailscaleHealthService]:
    server = DemoServer(0, clock=clock)
    with served(server), TailscaleHealthService(server.url) as service:
        yield service


@pytest.fixture
def told() -> Iterator[StubSidecar]:
    server = StubSidecar({"/status": STATUS, "/ping/git.tail.test": [DERP, *[DIRECT] * 4]})
    with served(server):
        yield server


def test_ping_peer_and_connection_stats_of_a_direct_peer(told: StubSidecar) -> None:
    with TailscaleHealthService(told.url) as service:
        assert service.ping_peer("git") == {"min": 12.0, "max": 23.0, "avg": 14.2, "count": 5}
        assert service.get_connection_stats("GIT.tail.test") == {
            "hostname": "GIT.tail.test",
            "connection_type": "direct",
            "relay_node": "none",
            "tx_bytes": 10,
            "rx_bytes": 20,
            "last_handshake": None,
            "endpoint": "10.88.2.2:41641",
        }


@pytest.mark.parametrize(("count", "bursts"), [(1, 1), (5, 1), (6, 2), (12, 3)])
def test_a_count_takes_as_many_bursts_as_it_needs(told: StubSidecar, count: int, bursts: int) -> None:
    with TailscaleHealthService(told.url) as service:
        assert service.ping_peer("git", count)["count"] == count
    assert sum(path.startswith("/ping/") for path in told.requests) == bursts


@pytest.mark.parametrize("count", [0, -1, 51])
def test_a_count_out_of_range_is_refused(told: StubSidecar, count: int) -> None:
    with TailscaleHealthService(told.url) as service, pytest.raises(ValueError, match=f"count={count}"):
        service.ping_peer("git", count)


def test_a_sidecar_without_json_pings_is_read_as_text(told: StubSidecar) -> None:
    told.answers["/ping/git.tail.test?format=json"] = {"error": "format"}
    told.statuses["/ping/git.tail.test?format=json"] = 400
    told.answers["/ping/git.tail.test"] = (
        "pong from git (100.64.0.2) via DERP(fra) in 23ms\npong from git (100.64.0.2) via [direct] in 12ms\n"
    )
    with TailscaleHealthService(told.url) as service:
        stats, pings = service.observe_peer("git")
    assert pings == {"min": 12.0, "max": 23.0, "avg": 17.5, "count": 2}
    assert stats["connection_type"] == "direct"


def test_the_sidecar_s_own_node_is_not_pinged(told: StubSidecar) -> None:
    with TailscaleHealthService(told.url) as service:
        stats, pings = service.observe_peer("watcher")
        assert service.ping_peer("watcher")["count"] == 0
    assert (stats["connection_type"], pings["count"]) == ("self", 0)
    assert set(told.requests) == {"/status"}


def test_names_that_do_not_mean_one_peer(told: StubSidecar) -> None:
    twin = {"HostName": "git", "DNSName": "git-1.tail.test."}
    told.answers["/status"] = {**STATUS, "Peer": {**STATUS["Peer"], "nodekey:2": twin}}  # type: ignore[dict-item]
    with TailscaleHealthService(told.url) as service:
        for ask in (service.ping_peer, service.get_connection_stats, service.debug_peer):
            with pytest.raises(AmbiguousPeerError, match=r"git-1\.tail\.test, git\.tail\.test"):
                ask("git")
            with pytest.raises(UnknownPeerError, match="nobody"):
                ask("nobody")
        assert service.get_connection_stats("git.tail.test.")["connection_type"] == "direct"


@pytest.mark.parametrize("state", ["Stopped", "NeedsLogin", "Starting", ""])
def test_a_stopped_daemon_is_no_tailnet_without_peers(told: StubSidecar, state: str) -> None:
    told.answers["/status"] = {"BackendState": state, "Peer": {}}
    with TailscaleHealthService(told.url) as service:
        for ask in (service.ping_peer, service.get_connection_stats, service.debug_peer):
            with pytest.raises(SidecarUnavailableError, match="tailscaled is not running"):
                ask("git")


def test_a_name_reaches_the_sidecar_as_one_segment_of_the_path(told: StubSidecar) -> None:
    name = "a/../b?c#d %"
    told.answers["/status"] = {"Self": None, "Peer": {"k": {"HostName": name, "Online": True}, "x": 5}}
    with TailscaleHealthService(told.url) as service, pytest.raises(UnknownPeerError):
        service.ping_peer(name)
    assert told.requests[-1] == "/ping/a%2F..%2Fb%3Fc%23d%20%25?format=json"


def test_the_demo_s_incidents_are_seen_live(demo: TailscaleHealthService, clock: Clock) -> None:
    assert demo.healthz().demo
    assert {demo.get_connection_stats(name)["connection_type"] for name in demo.CRITICAL_NODES} == {"direct"}
    clock.now = INCIDENTS[RELAYED_AFTERNOON] + timedelta(hours=1)
    relayed, _ = demo.observe_peer("chocolate-factory")
    assert (relayed["connection_type"], relayed["relay_node"]) == ("relay", "fra")
    assert relayed["endpoint"] == "DERP(fra)"
    clock.now = INCIDENTS[OFFLINE_NIGHT] + timedelta(hours=1)
    offline, pings = demo.observe_peer("chocolate-factory-dev")
    assert (offline["connection_type"], pings["avg"], pings["count"]) == ("offline", None, 0)


def test_diagnostics_whois_and_debug(demo: TailscaleHealthService) -> None:
    assert demo.get_network_diagnostics()["PreferredDERP"] == 4
    who = demo.whois("127.0.0.1")
    assert who is not None
    assert (who.login, who.node) == ("demo@example.com", "demo-sidecar.demo-tailnet.ts.net")
    assert demo.whois("203.0.113.9") is None
    with pytest.raises(SidecarRefusedError, match="400"):
        demo.whois("not an address")
    assert "peer" in demo.debug_peer("git")


def test_whois_may_be_flat(told: StubSidecar) -> None:
    told.answers["/whois/100.64.0.2"] = {"node": "n.tail.test.", "LoginName": "a@example.com"}
    with TailscaleHealthService(told.url) as service:
        assert service.whois("100.64.0.2") == client_module.WhoIs("n.tail.test", "a@example.com", "")


def test_the_index_is_what_the_journal_holds(demo: TailscaleHealthService) -> None:
    index = demo.samples_index()
    assert len(index) == DEPTH_DAYS + 1
    for day in (min(index), max(index)):
        body = b"".join(demo.samples(day))
        assert (body.count(b"\n"), len(body)) == (index[day].rounds, index[day].bytes)


def test_samples_after_a_time_and_of_a_day_that_is_not_there(demo: TailscaleHealthService) -> None:
    counts = JournalCounts()
    after = CALM - timedelta(minutes=3)
    rounds = list(read_rounds(demo.samples(CALM.date(), after), counts))
    assert [this.at.minute for this in rounds] == [58, 59, 0]
    assert list(demo.samples(date(2020, 1, 1))) == []


@pytest.mark.parametrize("days", [None, [], {"x": {}}, {"2026-11-24": {"rounds": 1}}, {"2026-11-24": 5}])
def test_an_index_that_makes_no_sense_is_an_error(told: StubSidecar, days: object) -> None:
    told.answers["/samples"] = {"days": days}
    with TailscaleHealthService(told.url) as service, pytest.raises(SidecarUnavailableError, match="index"):
        service.samples_index()


@pytest.mark.parametrize(
    ("day", "entry"),
    [
        ("9999-12-31", {"rounds": 1, "bytes": 1}),
        ("0001-01-01", {"rounds": 1, "bytes": 1}),
        ("2026-13-45", {"rounds": 1, "bytes": 1}),
        ("20261124", {"rounds": 1, "bytes": 1}),
        ("2026-W48-2", {"rounds": 1, "bytes": 1}),
        ("2026-11-23", {"rounds": float("inf"), "bytes": 1}),
        ("2026-11-23", {"rounds": -1, "bytes": 1}),
        ("2026-11-23", {"rounds": 10**30, "bytes": 1}),
        ("2026-11-23", {"rounds": True, "bytes": 1}),
        ("2026-11-23", {"rounds": "1", "bytes": 1}),
        ("2026-11-23", {"rounds": 1.5, "bytes": 1}),
        ("2026-11-23", None),
    ],
)
def test_a_day_of_the_index_that_makes_no_sense_is_left_out_by_name(
    told: StubSidecar, caplog: pytest.LogCaptureFixture, day: str, entry: object
) -> None:
    told.answers["/samples"] = {"days": {day: entry, "2026-11-24": {"rounds": 3, "bytes": 9}}}
    with TailscaleHealthService(told.url) as service:
        for _ in range(3):
            assert service.samples_index() == {date(2026, 11, 24): DayIndex(3, 9)}
    assert [record.getMessage().count(day) for record in caplog.records] == [1]


def drip(connection: socket.socket, said: bytes) -> None:
    """Send a byte at a time, the last one for ever."""
    for byte in said + said[-1:] * 200:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


@pytest.mark.parametrize(
    "said",
    [b"HTTP/1.1 200 OK\r\nX-Slow: aaaaaaaaaa", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"],
    ids=["headers", "body"],
)
def test_a_byte_at_a_time_does_not_prolong_the_deadline(said: bytes) -> None:
    with raw_sidecar(lambda connection: drip(connection, said)) as url:
        slow = transport.SidecarTransport(url)
        began = time.monotonic()
        with pytest.raises(SidecarUnavailableError, match="1 s"):
            slow.json_object(transport.Request("/status", 1.0))
        assert time.monotonic() - began < 4
        slow.close()


def test_not_being_well_is_an_answer(told: StubSidecar) -> None:
    told.answers["/healthz"] = {"ok": False, "state": "Stopped"}
    told.statuses["/healthz"] = 503
    with TailscaleHealthService(told.url) as service:
        health = service.healthz()
        assert (health.ok, health.demo, health.details["state"]) == (False, False, "Stopped")
        told.answers["/healthz"] = "<html>busy</html>"
        assert not service.healthz().ok
        told.statuses["/healthz"] = 200
        with pytest.raises(SidecarUnavailableError):
            service.healthz()
        told.statuses["/healthz"] = 500
        with pytest.raises(SidecarUnavailableError, match="500"):
            service.healthz()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, SidecarUnavailableError),
        (502, SidecarUnavailableError),
        (503, SidecarUnavailableError),
        (504, SidecarUnavailableError),
        (429, SidecarUnavailableError),
        (400, SidecarRefusedError),
        (401, SidecarRefusedError),
        (403, SidecarRefusedError),
        (404, SidecarRefusedError),
        (204, SidecarRefusedError),
    ],
)
@pytest.mark.parametrize("body", ['{"error":"said\\nso\\u0007"}', "<html>", "[1]", ""])
def test_statuses_are_errors_that_name_the_address(status: int, kind: type[Exception], body: str) -> None:
    raw = answer(b"" if status == 204 else body.encode(), f"{status} Oops")
    with (
        raw_sidecar(says(raw)) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(kind, match=str(status)) as caught,
    ):
        service.get_tailscale_status()
    assert f"{url}/status" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_redirect_is_not_followed(told: StubSidecar) -> None:
    raw = answer(b"", "302 Found", f"Location: {told.url}/status\r\n")
    with (
        raw_sidecar(says(raw)) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(SidecarRefusedError, match="302"),
    ):
        service.get_tailscale_status()
    assert told.requests == []


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"SSH-2.0-OpenSSH\r\n",
    "cut body": answer(b'{"BackendState":', length=1000),
    "cut chunk": CHUNKED + b"ff\r\n{}",
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "no length": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "no JSON": answer(b"Warning: {}"),
    "deep JSON": answer(b"[" * 200_000),
    "a list": answer(b"[]"),
    "two lengths": answer(b"{}", headers="Content-Length: 5\r\n"),
}


@pytest.mark.parametrize("raw", BROKEN.values(), ids=BROKEN)
def test_broken_answers_are_errors_worth_a_retry(raw: bytes) -> None:
    with (
        raw_sidecar(says(raw)) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(SidecarUnavailableError, match=f"{url}/status"),
    ):
        service.get_tailscale_status()


def test_nobody_there() -> None:
    with raw_sidecar(says(b"")) as url:
        pass
    with TailscaleHealthService(url) as service, pytest.raises(SidecarUnavailableError, match=url):
        service.get_tailscale_status()


def test_a_journal_that_is_cut_is_an_error_and_not_a_short_day() -> None:
    day = date(2026, 11, 20)
    for raw in (answer(b'{"v":1}\n' * 3, length=1000), CHUNKED + b"8\r\n" + b'{"v":1}\n\r\n'):
        with raw_sidecar(says(raw)) as url, TailscaleHealthService(url) as service:
            got: list[bytes] = []
            with pytest.raises(SidecarUnavailableError):
                got.extend(service.samples(day))


def test_a_503_instead_of_a_journal_is_not_an_empty_day() -> None:
    with (
        raw_sidecar(says(answer(b"{}", "503 Busy"))) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(SidecarUnavailableError),
    ):
        list(service.samples(date(2026, 11, 20)))


def test_silence_and_dribbling_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "STATUS_DEADLINE_S", 0.3)
    released = threading.Event()

    def silent(connection: object) -> None:
        released.wait(10)

    def dribbling(connection: object) -> None:
        assert hasattr(connection, "sendall")
        connection.sendall(answer(b"", length=10_000))
        while not released.wait(0.05):
            connection.sendall(b" ")

    try:
        for behaviour in (silent, dribbling):
            with (
                raw_sidecar(behaviour) as url,
                TailscaleHealthService(url) as service,
                pytest.raises(SidecarUnavailableError, match=r"0\.3 s"),
            ):
                service.get_tailscale_status()
    finally:
        released.set()


def test_an_answer_without_end_is_not_taken_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 1000)
    with (
        raw_sidecar(says(answer(b'"' + b"x" * 100_000))) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(SidecarUnavailableError, match="over 1000 bytes"),
    ):
        service.get_tailscale_status()


def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing() -> None:
    body = json.dumps(STATUS).encode()
    with raw_sidecar(says(answer(body))) as url, TailscaleHealthService(url) as service:
        for _ in range(5):
            assert service.get_tailscale_status()["BackendState"] == "Running"


def test_a_proxy_in_the_environment_does_not_get_the_token(
    told: StubSidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with TailscaleHealthService(told.url) as service:
        assert service.get_tailscale_status() == STATUS


def test_the_token_is_read_again_for_each_request(told: StubSidecar, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with TailscaleHealthService(told.url, file) as service:
        service.get_tailscale_status()
        file.write_text("another")
        service.get_tailscale_status()
    assert told.tokens == [f"Bearer {TOKEN}", "Bearer another"]


@pytest.mark.parametrize(
    "content", [None, b"", b"two words", b"line\nline", b"\xff\xfe", b"x" * 513, b"x" * 100_000, b"\0" * 40]
)
def test_a_token_that_cannot_be_used_is_refused_before_anything_is_sent(
    told: StubSidecar, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with (
        TailscaleHealthService(told.url, file) as service,
        pytest.raises(SidecarRefusedError, match=str(file)),
    ):
        service.get_tailscale_status()
    assert told.requests == []


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/proc/self/mem", "pipe"])
def test_a_token_file_that_never_ends_is_refused_at_once(
    told: StubSidecar, tmp_path: Path, device: str
) -> None:
    file = tmp_path / "token"
    if device == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(device)
    with TailscaleHealthService(told.url, file) as service, pytest.raises(SidecarRefusedError):
        service.get_tailscale_status()
    assert told.requests == []


def test_no_error_shows_the_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    asks: list[Callable[[TailscaleHealthService], object]] = [
        lambda service: service.get_tailscale_status(),
        lambda service: service.healthz(),
        lambda service: service.samples_index(),
        lambda service: list(service.samples(date(2026, 11, 20))),
        lambda service: service.ping_peer("git"),
    ]
    texts: list[str] = []
    for raw in (*BROKEN.values(), answer(b"{}", "401 Unauthorized"), answer(b"{}", "500 Oops")):
        with raw_sidecar(says(raw)) as url, TailscaleHealthService(url, file) as service:
            for ask in asks:
                try:
                    ask(service)
                except (SidecarUnavailableError, SidecarRefusedError) as error:
                    texts.append("".join(traceback.format_exception(error)))
    assert len(texts) > 50
    assert not any(TOKEN in text for text in texts)


PACKED = gzip.compress(b'{"v":2}\n' * 100, mtime=0)
GZIP = "Content-Encoding: gzip\r\n"


def test_a_packed_journal_is_unpacked() -> None:
    with raw_sidecar(says(answer(PACKED, headers=GZIP))) as url, TailscaleHealthService(url) as service:
        assert b"".join(service.samples(date(2026, 11, 20))) == b'{"v":2}\n' * 100


@pytest.mark.parametrize(
    "body", [PACKED[:-1], PACKED[:20], b"", b"{}", PACKED + b"x", PACKED[:-8] + b"\0" * 8, b"\x1f\x8b" * 9]
)
def test_a_torn_pack_is_no_journal(body: bytes) -> None:
    with (
        raw_sidecar(says(answer(body, headers=GZIP))) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(SidecarUnavailableError, match="packed body"),
    ):
        list(service.samples(date(2026, 11, 20)))


def test_a_packing_that_nobody_asked_for_is_refused() -> None:
    with (
        raw_sidecar(says(answer(b"{}", headers="Content-Encoding: br\r\n"))) as url,
        TailscaleHealthService(url) as service,
        pytest.raises(SidecarUnavailableError, match="packed by br"),
    ):
        list(service.samples(date(2026, 11, 20)))


def test_a_pack_of_very_much_is_held_a_little_at_a_time() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)
    with raw_sidecar(says(answer(packed, headers=GZIP))) as url, TailscaleHealthService(url) as service:
        sizes = [len(chunk) for chunk in service.samples(date(2026, 11, 20))]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 2**20
