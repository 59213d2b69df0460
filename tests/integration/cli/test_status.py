"""``tsobs status`` against a real API on a socket, over the demo."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from tests.support.api_world import NODES, demo_sidecar, listening, parts_of, seed, settings_of
from tests.support.ports import free_port
from tests.support.sidecars import Behaviour, StubSidecar, answer, raw_sidecar, says, served
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.cli import remote
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.cli.status import NO_ANSWER, UNHEALTHY


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp("state")
    with demo_sidecar() as sidecar:
        parts = parts_of(settings_of(state), sidecar)
        seed(parts)
        with listening(create_app(parts.settings, parts)) as address:
            yield address
        parts.store.close()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")


def status(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["status", *arguments])


def test_nodes_alerts_forecast_and_parts(url: str) -> None:
    shown = status("--url", f"{url}/")
    assert shown.exit_code == UNHEALTHY  # an alert fires
    for node in NODES:
        assert node in shown.output
    assert "latency_git" in shown.output
    assert "forecast prophet_price_forecast" in shown.output
    for part in ("store", "sidecar", "outbox"):
        assert part in shown.output
    assert "DEMO" in shown.output
    assert "\x1b" not in shown.output


def test_json_is_the_same_for_programs(url: str) -> None:
    shown = status("--url", url, "--json")
    answer = json.loads(shown.output)
    assert answer["ok"] is False
    assert [node["hostname"] for node in answer["tailnets"][0]["nodes"]["nodes"]][:1]
    assert answer["firing"][0]["topic"] == "latency_git"
    assert set(answer) == {"ok", "url", "about", "tailnets", "firing", "forecast", "health"}
    assert answer["health"] == httpx.get(f"{url}/healthz").json()


def test_nobody_there_is_one_line_and_a_status_of_its_own() -> None:
    shown = status("--url", f"http://127.0.0.1:{free_port()}")
    assert shown.exit_code == NO_ANSWER
    assert len(shown.output.splitlines()) == 1
    assert "ConnectError" in shown.output


@pytest.mark.parametrize("body", [{"login": "please"}, ["x"], {}])
def test_something_else_there_is_named(body: object) -> None:
    server = StubSidecar({"/about": body})
    with served(server):
        shown = status("--url", server.url)
    assert shown.exit_code == NO_ANSWER
    assert server.url in shown.output
    assert len(shown.output.splitlines()) == 1


def test_the_default_is_the_tsobs_of_these_settings(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_API_PORT", url.rpartition(":")[2])
    assert "latency_git" in status().output


def test_watch_and_json_exclude_each_other(url: str) -> None:
    assert status("--watch", "--json").exit_code == 2


def test_an_address_with_a_password_is_masked(url: str) -> None:
    secret = url.replace("http://", "http://anna:CANARYPASSWORD@")
    for arguments in (["--json"], []):
        shown = status("--url", secret, *arguments)
        assert shown.exit_code == UNHEALTHY
        assert "CANARY" not in shown.output
        assert url.replace("http://", "http://[redacted]@") in shown.output
    nobody = status("--url", "http://anna:CANARYPASSWORD@127.0.0.1:1")
    assert nobody.exit_code == NO_ANSWER
    assert "CANARY" not in nobody.output


def test_the_password_of_the_address_is_sent() -> None:
    server = StubSidecar({})
    with served(server):
        status("--url", server.url.replace("http://", "http://anna:secret@"))
    assert server.tokens == ["Basic YW5uYTpzZWNyZXQ="]


@pytest.mark.parametrize(
    "bad",
    [
        "http://u:CANARYPW@127.0.0.1:1/?token=CANARYTOKEN",
        "http://127.0.0.1:1/#CANARY",
        "http://u:CANARY?PW@127.0.0.1:1",
        "http://a..b",
        "http://xn--a",
        "http://.example",
        f"http://{'a' * 64}.example",
        "http://127.0.0.1:1\r\nX: y",
        "http://\x1b[31m",
        "http://x:99999",
        "http://[::1",
        "ftp://example.com",
        "example.com",
        "",
    ],
)
def test_an_address_that_is_none_is_one_line_and_wrong_usage(bad: str) -> None:
    shown = status("--url", bad)
    assert shown.exit_code == 2
    assert len(shown.output.splitlines()) == 1
    assert shown.output.startswith("tsobs: --url ")
    assert "CANARY" not in shown.output
    assert shown.output.strip().isprintable()


HOSTILE = (
    "a[/x] [link=http://evil.example]b[/link] http://[fe80::1]:8765/ :a:\x1b]0;title\x07\x9b31m\r\n\u202ec"
)
PLAIN = "a[/x] [link=http://evil.example]b[/link] http://[fe80::1]:8765/ :a: ]0;title 31m c"


def altered(value: object) -> object:
    """An answer with a hostile text in place of each that a person writes or another program said."""
    if isinstance(value, list):
        return [altered(item) for item in value]
    if not isinstance(value, dict):
        return value
    texts = {"detail", "topic", "hostname", "version", "text", "relay_node"}
    return {
        key: HOSTILE if key in texts and isinstance(item, str) else altered(item)
        for key, item in value.items()
    }


def test_foreign_text_is_shown_as_text_alone(url: str) -> None:
    routes = ("/about", "/health-monitoring/nodes", "/health-monitoring/strips", "/models/metrics-history")
    answers = {path: altered(httpx.get(f"{url}{path}").json()) for path in (*routes, "/alerts", "/healthz")}
    server = StubSidecar(answers)
    with served(server):
        shown = status("--url", server.url)
    assert shown.exit_code == UNHEALTHY, shown.output
    assert shown.output.count(PLAIN) > len(NODES)
    assert shown.output.replace("\n", "").isprintable()


def test_what_an_error_repeats_has_no_control_characters() -> None:
    garbled = f"HTTP/1.1 200 {HOSTILE[-20:]}".encode() + b"\r\n\r\n"
    bodies = (answer(HOSTILE.encode(), "500 No"), garbled, answer(b'{"version": "\x1b[31m"}'))
    packed = answer(b"x", headers="Content-Encoding: gzip\r\n")
    for raw in (*bodies, packed, b"\x1b[31m", answer(b"[" * 100_000), answer(b"9" * 5_000)):
        with raw_sidecar(says(raw)) as place:
            shown = status("--url", place)
        assert shown.exit_code == NO_ANSWER
        assert len(shown.output.splitlines()) == 1
        assert shown.output.strip().isprintable()


def drips(start: bytes) -> Behaviour:
    """An answer without an end, a byte at a time."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(start)
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)

    return behave


def floods(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"]
)
def test_an_answer_that_drips_ends_at_its_deadline(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_WITHIN_S", 1.0)
    with raw_sidecar(drips(start)) as place:
        began = time.monotonic()
        shown = status("--url", place)
    assert (shown.exit_code, "no whole answer within 1 s" in shown.output) == (NO_ANSWER, True), shown.output
    assert time.monotonic() - began < 8


def test_all_answers_together_have_a_deadline(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ALL_WITHIN_S", 1.0)
    about = httpx.get(f"{url}/about").content
    with raw_sidecar(says(answer(about, headers="Connection: close\r\n")), drips(b"HTTP/1.1 200 ")) as place:
        shown = status("--url", place)
    assert (shown.exit_code, "within 1 s" in shown.output) == (NO_ANSWER, True), shown.output


def test_an_answer_without_end_is_cut_off() -> None:
    with raw_sidecar(floods) as place:
        shown = status("--url", place)
    assert (shown.exit_code, "is over 8388608 bytes" in shown.output) == (NO_ANSWER, True), shown.output


@pytest.mark.parametrize("no_color", [True, False])
def test_watch_shows_it_again_in_a_terminal(url: str, no_color: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    command = [sys.executable, "-m", "tsobs_pipelines", "status", "--url", url, "--watch", "--every", "1"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b""
        while seen.count(b"Nothing fires") + seen.count(b"latency_git") < 2:
            seen += os.read(ours, 1 << 16)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    os.close(ours)
    coloured = b"\x1b[1;31m" in seen or b"\x1b[32m" in seen or b"\x1b[33m" in seen
    assert coloured is not no_color
