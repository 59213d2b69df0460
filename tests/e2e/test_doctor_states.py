"""``tsobs doctor`` raises no false alarm, whatever state a healthy tsobs is in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.running import ROOT, eventually, running, up_environment

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

PARTS = ("code", "webserver", "daemon", "api")
ANSWERING = {"Dagster UI", "API"}


def examined(environment: Mapping[str, str]) -> dict[str, str]:
    """The level of each finding, none of which may be a failure."""
    done = subprocess.run(
        [sys.executable, "-m", "tsobs_pipelines", "doctor", "--json"],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    found = json.loads(done.stdout)["findings"]
    assert [one for one in found if one["level"] == "failed"] == []
    assert done.returncode == 0
    return {one["name"]: one["level"] for one in found}


@contextmanager
def service(environment: Mapping[str, str], part: str, output: Path) -> Iterator[None]:
    """A part of its own, as systemd or a container starts it."""
    with output.open("wb") as sink:
        process = subprocess.Popen(  # the program under test, with arguments of our own
            [sys.executable, "-m", "tsobs_pipelines", "run", part],
            cwd=ROOT,
            env=dict(environment),
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code in {200, 503}
    except httpx.HTTPError:
        return False


def test_never_started_running_and_stopped(tmp_path: Path) -> None:
    never = examined(up_environment(tmp_path / "never"))
    assert never["state directory"] == "warning"
    assert {never[name] for name in ANSWERING} == {"warning"}
    with running(tmp_path) as tsobs:
        assert {examined(tsobs.environment)[name] for name in ANSWERING} == {"ok"}
        assert tsobs.interrupt() == 0
    stopped = examined(tsobs.environment)
    assert stopped["state directory"] == stopped["Dagster storage, history/runs.db"] == "ok"
    assert {stopped[name] for name in ANSWERING} == {"warning"}


@pytest.mark.parametrize("required", ["false", "true"])
def test_parts_as_services(tmp_path: Path, required: str) -> None:
    environment = up_environment(tmp_path / "var", TSOBS_REQUIRE_TAILSCALE_USER=required)
    with ExitStack() as parts:
        for part in PARTS:
            parts.enter_context(service(environment, part, tmp_path / f"{part}.out"))
        for port, path in (("TSOBS_DAGSTER_PORT", "server_info"), ("TSOBS_API_PORT", "healthz")):
            url = f"http://127.0.0.1:{environment[port]}/{path}"
            eventually(lambda url=url: answers(url), 150, f"{url} answers")  # type: ignore[misc]
        assert {examined(environment)[name] for name in ANSWERING} == {"ok"}
