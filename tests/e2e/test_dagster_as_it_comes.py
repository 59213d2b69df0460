"""Without any patch, and as plain ``dagster dev``: slower, but working."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.backfills import wait_idle
from tests.support.ports import free_port
from tests.support.running import ROOT, eventually, running, up_environment
from tests.support.watching import runs

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LOCATIONS = "{repositoriesOrError {... on RepositoryConnection {nodes {location {name}}}}}"


def yesterday() -> str:
    return f"{datetime.now(UTC).date() - timedelta(days=1)}"


def test_tsobs_works_without_its_changes_to_dagster(tmp_path: Path) -> None:
    with running(tmp_path, TSOBS_DAGSTER_PATCHES="off", TSOBS_START_DATE=yesterday()) as tsobs:
        eventually(lambda: "SUCCESS" in {run["status"] for run in runs(tsobs)}, 240, "a run succeeds")
        storage = tsobs.state / "dagster" / "dagster.yaml"
        assert "tsobs_pipelines" not in storage.read_text("utf-8").split("python_logs")[0]
        wait_idle(tsobs)
        assert {run["status"] for run in runs(tsobs)} == {"SUCCESS"}
        assert tsobs.interrupt() == 0
        assert tsobs.descendants() == []


def test_plain_dagster_dev_needs_no_home(tmp_path: Path) -> None:
    port = free_port()
    environment = up_environment(tmp_path / "var", TSOBS_START_DATE=yesterday())
    with (tmp_path / "dev.out").open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-p", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )

    def loaded() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.post(f"http://127.0.0.1:{port}/graphql", json={"query": LOCATIONS}, timeout=30)
            return '"tsobs"' in answer.text
        return False

    try:
        eventually(loaded, 180, "the code location is loaded")
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
