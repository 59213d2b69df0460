"""``tsobs status`` against a real API on a socket, over the demo."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from tests.support.api_world import NODES, demo_sidecar, listening, parts_of, seed, settings_of
from tests.support.ports import free_port
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.api.app import create_app
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
