"""Which requests a server without authentication accepts: its own host names, and no cross-site requests."""

from __future__ import annotations

import pytest

from tsobs_pipelines.serving.requests import HostNames, RefusedError, refuse_foreign

HOSTS = HostNames("100.64.0.9", "watch.example.ts.net")
NAVIGATION = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def scope(headers: dict[str, str], method: str = "GET", kind: str = "http") -> dict[str, object]:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": kind, "method": method, "headers": raw, "server": ("100.64.0.9", 3000)}


def is_refused(headers: dict[str, str], method: str = "GET", kind: str = "http") -> bool:
    try:
        refuse_foreign(scope(headers, method, kind), headers["host"], ["https://front.example.com"])
    except RefusedError:
        return True
    return False


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:3000", True),
        ("LOCALHOST:9999", True),
        ("[::1]:3000", True),
        ("watch.example.ts.net", True),
        ("100.64.0.9:3000", True),
        ("[::ffff:100.64.0.9]:3000", True),
        ("", False),
        ("evil.example", False),
        ("127.0.0.1.evil.example:3000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1:3000@evil.example", False),
        ("evil.example#127.0.0.1", False),
        ("127.0.0.1:port", False),
        ("100.64.0.8:3000", False),
        ("localhost.", False),
        ("[::1].evil.example", False),
        ("[::1]evil.example", False),
        ("[localhost]", False),
        ("user@localhost", False),
        (":@localhost", False),
        ("localhost:99999", False),
        ("localhost:80:80", False),
        ("localhost\t", False),
        ("localhost,evil.example", False),
    ],
)
def test_a_server_answers_to_its_own_names_only(host: str, allowed: bool) -> None:
    assert HOSTS.allow(host, "100.64.0.9") == allowed


def test_two_host_headers_are_none() -> None:
    twice = scope({})
    twice["headers"] = [(b"host", b"localhost"), (b"host", b"localhost")]
    with pytest.raises(RefusedError, match="TSOBS_DAGSTER_URL"):
        HOSTS.check(twice, "TSOBS_DAGSTER_URL")


@pytest.mark.parametrize(
    ("headers", "method", "refused"),
    [
        ({}, "POST", False),
        ({"origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin"}, "POST", False),
        ({"origin": "https://127.0.0.1:3000"}, "POST", False),
        ({"origin": "https://front.example.com", "sec-fetch-site": "cross-site"}, "POST", False),
        ({"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, "GET", False),
        (NAVIGATION, "GET", False),
        (NAVIGATION, "POST", True),
        ({**NAVIGATION, "sec-fetch-dest": "iframe"}, "GET", True),
        ({**NAVIGATION, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, "GET", True),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, "GET", True),
        ({"origin": "null"}, "POST", True),
        ({"origin": "https://evil.example"}, "POST", True),
        ({"origin": "http://127.0.0.1:3001"}, "POST", True),
        ({"origin": "http://localhost:3000"}, "POST", True),
        ({"origin": "http://127.0.0.1:3000.evil.example"}, "POST", True),
        ({"origin": "file://"}, "GET", True),
        ({"origin": ""}, "GET", True),
    ],
)
def test_what_a_foreign_page_sends_is_refused(headers: dict[str, str], method: str, refused: bool) -> None:
    assert is_refused({"host": "127.0.0.1:3000", **headers}, method) == refused


def test_default_ports_are_the_same_as_none() -> None:
    assert not is_refused({"host": "watch.example.ts.net", "origin": "https://watch.example.ts.net:443"})
    assert not is_refused({"host": "watch.example.ts.net:443", "origin": "https://watch.example.ts.net"})
    assert is_refused({"host": "watch.example.ts.net:8443", "origin": "https://watch.example.ts.net"})


def test_a_websocket_is_never_a_navigation() -> None:
    assert is_refused({"host": "127.0.0.1:3000", **NAVIGATION}, kind="websocket")
