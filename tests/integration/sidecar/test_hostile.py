"""Hostile requests: refused with the right status, nothing executed, and ``/status`` answers meanwhile."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.support.sidecar_process import (
    GIT,
    FakeTailscale,
    Reply,
    Sidecar,
    node,
    poll,
    read_reply,
    running,
    status,
)

HOSTILE_NAMES = [
    "$(touch canary)",
    "`touch canary`",
    ";touch canary",
    "|touch canary",
    "&&touch canary",
    "git;touch canary",
    "git\ntouch canary",
    "git\r\nX-Injected: 1",
    ">canary",
    "${IFS}",
    "$((a[$(touch canary)]))",
    "a[$(touch canary)]",
    "*",
    "?",
    "~root",
    "'",
    '"',
    "\\",
    "-c",
    "--help",
    "--socket=/tmp/x",
    "-",
    "..",
    ".",
    "../../etc/passwd",
    "..%2f",
    "git/../git",
    "git\x00",
    "\x7f",
    "git é",
    "x" * 254,
    "100.64.0.2/8",
    "[fd7a::1]",
    'include "tailnet"; env',
    '" | env | "',
]
ROUTES = ["/ping/{}", "/ping/{}?format=json", "/debug/{}", "/whois/{}", "/samples/{}"]


def status_in_time(sidecar: Sidecar) -> None:
    """The last line of every test here: the sidecar still answers, within 2 s."""
    assert answered_in_time(sidecar)


def answered_in_time(sidecar: Sidecar) -> bool:
    started = time.monotonic()
    assert sidecar.get("/status").status == 200
    return time.monotonic() - started < 2


def nothing_ran(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    assert {call.split()[0] for call in tailscale.calls} <= {"status"}
    root = sidecar.place.parent
    assert not list(root.rglob("canary*"))
    assert not (sidecar.place / "canary").exists()


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_refused_and_runs_nothing(
    sidecar: Sidecar, tailscale: FakeTailscale, name: str
) -> None:
    for route in ROUTES:
        encoded = sidecar.get(route.format(quote(name, safe="")))
        assert encoded.status in {400, 404}, route
        assert encoded.error
        assert "x-injected" not in encoded.headers
        if "\0" in name:
            continue  # bash reads over NUL: see below
        raw = sidecar.send(
            f"GET {route.format(name)} HTTP/1.1\r\nHost: 127.0.0.1:{sidecar.port}\r\n\r\n".encode(
                "latin-1", "replace"
            )
        )
        assert raw.status in {400, 404}, route
    nothing_ran(sidecar, tailscale)
    status_in_time(sidecar)


@pytest.mark.parametrize(
    "target",
    [
        "/%",
        "/%2",
        "/%zz",
        "/%00",
        "/ping/%0a",
        "/ping/%ff",
        "/ping/git%",
        "/ping/%c0%ae",
        "/#status",
        "status",
        "http://127.0.0.1/status",
        "//status/x",
        "*",
        "/..",
        "/%2e%2e/status",
        "/ping/../status",
    ],
)
def test_a_malformed_path_is_refused(sidecar: Sidecar, target: str) -> None:
    assert sidecar.get(target).status in {400, 404}


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/nothing",
        "/status/",
        "/status/x",
        "/ping",
        "/ping/",
        "/ping/git/x",
        "/STATUS",
        "/sample",
        "/samples/",
    ],
)
def test_an_unknown_path_is_not_found(sidecar: Sidecar, target: str) -> None:
    assert sidecar.get(target).status == 404


@pytest.mark.parametrize(
    "target", ["/status?x=1", "/ping/git?format=xml", "/ping/git?format=json&format=json", "/healthz?a"]
)
def test_an_unknown_query_is_refused(sidecar: Sidecar, target: str) -> None:
    assert sidecar.get(target).status == 400


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "get", "G$(id)"]
)
def test_only_get(sidecar: Sidecar, method: str) -> None:
    reply = sidecar.send(f"{method} /status HTTP/1.1\r\nHost: localhost:{sidecar.port}\r\n\r\n".encode())
    assert reply.status == 405
    assert reply.headers["allow"] == "GET"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /status\r\n\r\n",
        b"GET /status HTTP/2.0\r\n\r\n",
        b"GET  /status HTTP/1.1\r\n\r\n",
        b" GET /status HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n",
        b"GET /status HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost : HOST\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: HOST\r\n folded\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: HOST\r\nno colon\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /status HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: HOST\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
    ],
)
def test_a_malformed_request_is_refused(sidecar: Sidecar, request_bytes: bytes) -> None:
    assert sidecar.send(request_bytes.replace(b"HOST", f"127.0.0.1:{sidecar.port}".encode())).status == 400
    status_in_time(sidecar)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost",
        "127.0.0.1:PORT.evil.example",
        "127.0.0.1:PORT localhost:PORT",
        "*",
        "[::1]",
        "x@127.0.0.1:PORT",
        "127.0.0.1:PORT:",
    ],
)
def test_a_wrong_host_is_refused(sidecar: Sidecar, tailscale: FakeTailscale, host: str) -> None:
    assert sidecar.get("/status", host=host.replace("PORT", str(sidecar.port))).status == 403
    assert tailscale.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_loopback_are_allowed(sidecar: Sidecar, host: str) -> None:
    assert sidecar.get("/status", host=f"{host}:{sidecar.port}").status == 200


@pytest.mark.parametrize(
    "header",
    [
        "Origin: http://evil.example",
        "Origin: null",
        "origin:",
        "Referer: http://127.0.0.1:8765/",
        "REFERER: x",
    ],
)
def test_a_request_from_a_web_page_is_refused(
    sidecar: Sidecar, tailscale: FakeTailscale, header: str
) -> None:
    assert sidecar.get("/ping/git", header).status == 403
    assert tailscale.calls == []


def test_a_request_line_of_a_megabyte(sidecar: Sidecar) -> None:
    assert sidecar.get("/" + "a" * 1_000_000).status == 414
    assert sidecar.send(b"A" * 1_000_000).status == 414
    status_in_time(sidecar)


def test_nul_bytes_are_read_over_before_anything_is_checked(
    sidecar: Sidecar, tailscale: FakeTailscale
) -> None:
    host = f"Host: 127.0.0.1:{sidecar.port}\r\n\r\n".encode()
    assert sidecar.send(b"GET /whois/-\0c HTTP/1.1\r\n" + host).status == 400
    assert sidecar.send(b"GET /ping/\0.\0. HTTP/1.1\r\n" + host).status == 400
    assert sidecar.send(b"GET /status HTTP/1.1\r\nOri\0gin: x\r\n" + host).status == 403
    assert sidecar.send(b"\0" * 1_000_000).status == 408
    assert {call.split()[0] for call in tailscale.calls} <= {"status"}
    status_in_time(sidecar)


@pytest.mark.long
def test_header_floods(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["SIDECAR_REQUEST_SECONDS"] = "20"
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/status", "X: " + "a" * 1_000_000).status == 431
        assert sidecar.get("/status", *(f"X-{i}: {i}" for i in range(50_000))).status == 431
        assert sidecar.get("/status", *(":" for _ in range(10))).status == 400
        status_in_time(sidecar)


@pytest.mark.parametrize("sent_at_once", [b"", b"GET /sta", b"GET /status HTTP/1.1\r\nHost: x\r\nX: "])
def test_one_byte_a_second_is_cut(sidecar: Sidecar, sent_at_once: bytes) -> None:
    started = time.monotonic()
    with sidecar.connect() as connection:
        connection.sendall(sent_at_once)
        connection.settimeout(0.5)
        reply = Reply(0, {}, b"")
        while reply.status == 0 and time.monotonic() - started < 10:
            with contextlib.suppress(OSError):
                connection.sendall(b"a")
            with contextlib.suppress(TimeoutError):
                reply = read_reply(connection)
            status_in_time(sidecar)
    assert reply.status == 408
    assert time.monotonic() - started < 5


def test_a_connection_that_closes_leaves_nothing(sidecar: Sidecar) -> None:
    for part in (b"", b"GET /status", b"GET /status HTTP/1.1\r\nHost: 127"):
        with sidecar.connect() as connection:
            connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            assert read_reply(connection).status in {0, 400}
    status_in_time(sidecar)


@contextlib.contextmanager
def crowd(sidecar: Sidecar, count: int, first: bytes) -> Iterator[None]:
    """So many connections at once that sent ``first`` and nothing more."""
    with contextlib.ExitStack() as open_ones:
        for _ in range(count):
            open_ones.enter_context(sidecar.connect()).sendall(first)
        yield


@pytest.mark.long
@pytest.mark.parametrize("first", [b"", b"GET /status HTTP/1.1\r\nX: "])
def test_two_hundred_idle_connections_at_once(new_sidecar: Sidecar, first: bytes) -> None:
    new_sidecar.settings["SIDECAR_REQUEST_SECONDS"] = "60"
    with running(new_sidecar) as sidecar, crowd(sidecar, 200, first):
        # Two hundred handlers take a busy machine a while to start; none of them gives up that soon.
        poll(lambda: answered_in_time(sidecar), 30, "an answer within 2 s")


@pytest.mark.long
def test_two_hundred_requests_at_once_share_what_they_ask(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    with ThreadPoolExecutor(200) as pool:
        replies = list(pool.map(lambda _: sidecar.get("/status"), range(200)))
    assert {reply.status for reply in replies} == {200}
    assert len(tailscale.calls) < 100


@pytest.mark.long
def test_slow_pings_starve_nobody(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.hang("ping", 3)
    with ThreadPoolExecutor(24) as pool:
        pings = [pool.submit(sidecar.get, "/ping/git") for _ in range(24)]
        poll(lambda: sum(call.startswith("ping") for call in tailscale.calls) >= 8, 30, "8 pings")
        status_in_time(sidecar)
        assert sidecar.get("/ping/git?format=json").status == 200
        statuses = sorted(ping.result().status for ping in pings)
    assert statuses.count(200) >= 8
    assert statuses.count(503) >= 1
    assert set(statuses) == {200, 503}
    assert sum(call.startswith("ping") for call in tailscale.calls) == statuses.count(200)


@pytest.mark.long
def test_too_much_debugging_is_refused(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.linger("watch-ipn")
    with ThreadPoolExecutor(4) as pool:
        replies = [reply.status for reply in pool.map(lambda _: sidecar.get("/debug/git"), range(4))]
    assert sorted(replies) == [200, 200, 503, 503]


def test_a_client_that_does_not_read_keeps_nobody_waiting(sidecar: Sidecar) -> None:
    day = sidecar.journal / "2026-11-20.ndjson"
    day.write_bytes(b'{"v":1,"at":"2026-11-20T00:00:00Z"}\n' * 1_000_000)
    request = f"GET /samples/2026-11-20 HTTP/1.1\r\nHost: 127.0.0.1:{sidecar.port}\r\n\r\n".encode()
    with crowd(sidecar, 12, request):
        status_in_time(sidecar)


def test_a_token_is_required_where_one_is_set(new_sidecar: Sidecar) -> None:
    token = new_sidecar.place / "token"
    token.write_text("0123456789abcdef-secret\n")
    token.chmod(0o600)
    new_sidecar.settings["SIDECAR_TOKEN_FILE"] = str(token)
    with running(new_sidecar) as sidecar:
        wrong = [
            [],
            ["Authorization: Bearer 0123456789abcdef-secreT"],
            ["Authorization: Bearer 0123456789abcdef-secret0"],
            ["Authorization: Bearer 0123456789abcdef-secre"],
            ["Authorization: Bearer "],
            ["Authorization: Bearer *"],
            ["Authorization: Basic 0123456789abcdef-secret"],
            ["X-Authorization: Bearer 0123456789abcdef-secret"],
        ]
        for headers in wrong:
            for target in ("/status", "/healthz", "/nothing", "/samples"):
                reply = sidecar.get(target, *headers)
                assert reply.status == 401, (target, headers)
                assert reply.headers["www-authenticate"] == "Bearer"
        assert sidecar.get("/status", "Authorization: bearer 0123456789abcdef-secret").status == 200
        token.write_text("another-token-0123456789\n")
        assert sidecar.get("/status", "Authorization: Bearer 0123456789abcdef-secret").status == 401
        assert sidecar.get("/status", "Authorization: Bearer another-token-0123456789").status == 200
        for unusable in (
            "",
            "x" * 15,
            "x" * 513,
            "x" * 100_000,
            "two words of a token",
            "one-line-of-two\nanother",
        ):
            token.write_text(unusable)
            begun = time.monotonic()
            given = unusable[:500].splitlines() or [""]
            assert sidecar.get("/status", f"Authorization: Bearer {given[0]}").status == 503
            assert time.monotonic() - begun < 5
        token.unlink()
        assert sidecar.get("/status").status == 503
        os.mkfifo(token)
        assert sidecar.get("/status").status == 503
    assert "secret" not in (sidecar.place / "log").read_text()


@pytest.mark.parametrize(
    "hostile", ["8.8.8.8", '"TailscaleIPs":["8.8.8.8"]', 'x","TailscaleIPs":["8.8.8.8"],"y":"', '["8.8.8.8"']
)
def test_a_name_cannot_pose_as_an_address(sidecar: Sidecar, tailscale: FakeTailscale, hostile: str) -> None:
    tailscale.say("status", status(node("git", GIT, hostile)))
    sidecar.get("/ping/8.8.8.8?format=json")
    sidecar.get("/ping/8.8.8.8")
    assert not [call for call in tailscale.calls if "8.8.8.8" in call]


def test_hostile_names_in_the_status_stay_text(sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    """A peer chooses its own host name."""
    for hostile in ("$(touch canary)", '"; env; "', "git\nfake: header", "\u202egit", "x" * 5000, "{{}}"):
        tailscale.say("status", status(node("git", GIT, hostile)))
        reply = sidecar.get("/status")
        peers = reply.json["Peer"]
        assert isinstance(peers, dict)
        assert peers["nodekey:0"]["HostName"] == hostile
        assert sidecar.get("/ping/git?format=json").status == 200
    assert not list(sidecar.place.rglob("canary"))
