"""Disks that are full, read-only or damaged: what is lost (nothing that was acknowledged), and recovery.

Each fault is real: a small tmpfs that fills up, a file system mounted read-only, bytes overwritten.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support import history_contract as contract
from tests.support.lab.disks import fill, mounted
from tests.support.lab.processes import run
from tests.support.running import up_environment
from tsobs_pipelines.logs.files import DayFiles
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreError, Window

START = datetime(2026, 11, 20, tzinfo=UTC)
DAY = Window.of_day(START.date())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk") as disk:
        yield disk


def rows(minute: int) -> list[dict[str, str | float | datetime]]:
    time = START + timedelta(minutes=minute)
    return [
        {
            "time": time,
            "tailnet": "demo",
            "hostname": f"node-{number}",
            "connection_type": "direct",
            "relay_node": "none",
            "latency_avg": float(minute),
        }
        for number in range(100)
    ]


def test_a_full_disk_under_the_store(small_disk: Path) -> None:
    store = SqlStore(f"sqlite:///{small_disk}/tsobs.db")
    store.write(CONNECTIONS, rows(0))
    filler = fill(small_disk)
    written = 1
    with pytest.raises(StoreError, match="make room"):  # noqa: PT012 - which write it is depends on the disk
        while written < 1000:
            store.write(CONNECTIONS, rows(written))
            written += 1
    assert len(store.read(CONNECTIONS, DAY)) == 100 * written, (
        "what was acknowledged is there, and no part of the rest"
    )
    filler.unlink()
    store.write(CONNECTIONS, rows(written))
    assert len(store.read(CONNECTIONS, DAY)) == 100 * (written + 1)


def test_a_store_that_turns_read_only(small_disk: Path) -> None:
    store = SqlStore(f"sqlite:///{small_disk}/tsobs.db")
    store.write(CONNECTIONS, rows(0))
    store.close()
    mode = small_disk / "tsobs.db"
    run(["mount", "-o", "remount,ro", small_disk])
    again = SqlStore(f"sqlite:///{small_disk}/tsobs.db")
    with pytest.raises(StoreError, match="must be able to write"):
        again.write(CONNECTIONS, rows(1))
    run(["mount", "-o", "remount,rw", small_disk])
    again.write(CONNECTIONS, rows(1))
    assert len(again.read(CONNECTIONS, DAY)) == 200
    assert mode.exists()


def test_a_full_disk_under_the_logs(small_disk: Path) -> None:
    files = DayFiles(small_disk)
    files.append("2026-11-20", b"before\n")
    filler = fill(small_disk)
    lost = 0
    for _ in range(100):
        try:
            files.append("2026-11-20", b"during" * 200 + b"\n")
        except OSError:
            lost += 1
    assert lost
    filler.unlink()
    files.append("2026-11-20", b"after\n")
    lines = (small_disk / "tsobs-2026-11-20.jsonl").read_bytes().splitlines()
    assert (lines[0], lines[-1]) == (b"before", b"after")
    assert set(lines[1:-1]) <= {b"during" * 200}, "no torn line"
    assert len(lines) == 102 - lost


def test_a_full_disk_under_dagster(small_disk: Path) -> None:
    with dg.DagsterInstance.local_temp(str(small_disk)) as instance:
        kept = contract.run(instance, "metrics_job", "2026-11-01", 0)
        filler = fill(small_disk)
        with pytest.raises(Exception, match=r"full|No space|disk I/O"):
            contract.run(instance, "metrics_job", "2026-11-02", 0)
        filler.unlink()
        contract.run(instance, "metrics_job", "2026-11-02", 0)
        assert instance.get_materialized_partitions(contract.METRICS) == {"2026-11-01", "2026-11-02"}
        assert any(entry.dagster_event for entry in instance.all_logs(kept))


@pytest.mark.parametrize("kib_left", [0, 100, 300])
def test_a_start_on_a_full_disk_ends_with_one_line(small_disk: Path, kib_left: int) -> None:
    filler = fill(small_disk)
    os.truncate(filler, filler.stat().st_size - kib_left * 1024)
    command = [sys.executable, "-m", "tsobs_pipelines", "up"]
    environment = up_environment(small_disk / "var")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(small_disk / "var") in line
    assert line.endswith(("disk is full", "(No space left on device)", "make room on its disk"))
    assert "Background" not in line
    assert "Error" not in line


@pytest.mark.parametrize(
    "name", ["dagster/storage/history/runs.db", "dagster/storage/history/runs/index.db", "tsobs.db"]
)
def test_nothing_starts_afresh_beside_a_damaged_file(tmp_path: Path, name: str) -> None:
    environment = up_environment(tmp_path / "var")
    damaged = tmp_path / "var" / name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(os.urandom(64 * 1024))
    # What tells an instance from somebody else's directory.
    (tmp_path / "var" / "start_date").write_text("2026-11-01\n")
    content = damaged.read_bytes()
    command = [sys.executable, "-m", "tsobs_pipelines", "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert str(damaged) in line
    assert "backup" in line
    assert damaged.read_bytes() == content
    assert not (tmp_path / "var" / "dagster" / "initialised").exists()
