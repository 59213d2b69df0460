"""A backup of a running system and its restore, compared row by row."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from tests.support import history_contract as contract
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.dagster_storage.configuration import write_home
from tsobs_pipelines.dagster_storage.initialise import initialise_instance
from tsobs_pipelines.settings import known_names, load_settings
from tsobs_pipelines.state_directory import prepare_state
from tsobs_pipelines.timeseries.schema import CONNECTIONS, Value
from tsobs_pipelines.timeseries.sql import SqlStore

pytestmark = pytest.mark.long

NIGHT = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in (*known_names(), "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    prepare_state(settings, NIGHT.date())
    home = write_home(settings)
    monkeypatch.setenv("DAGSTER_HOME", str(home.root))
    initialise_instance(settings)
    return tmp_path / "var"


def rows(database: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: set(connection.execute(f"SELECT * FROM {name}")) for name in names}  # noqa: S608


def databases(state: Path) -> dict[str, dict[str, set[tuple[object, ...]]]]:
    return {str(path.relative_to(state)): rows(path) for path in state.rglob("*.db")}


def write_round(store: SqlStore, minute: int) -> None:
    row: dict[str, Value] = {
        "time": NIGHT + timedelta(minutes=minute),
        "tailnet": "demo",
        "hostname": "git",
        "relay_node": "none",
    }
    store.write(CONNECTIONS, [{**row, "connection_type": "direct", "latency_avg": float(minute)}])


def test_a_backup_of_a_live_system_comes_back_row_by_row(state: Path, tmp_path: Path) -> None:
    store = SqlStore(load_settings().database_url)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "metrics_history.csv").write_text("header\n1\n")
    stop = threading.Event()
    written: list[int] = []
    with dg.DagsterInstance.get() as instance:
        first = contract.run(instance, "metrics_job", "2026-11-01", 0)

        def work() -> None:
            while not stop.is_set():
                write_round(store, len(written))
                written.append(len(written))
                contract.run(instance, "summary_job", None, 0)

        before = databases(state)
        worker = threading.Thread(target=work)
        worker.start()
        try:
            done = [
                CliRunner().invoke(main, ["backup", str(tmp_path / f"backup{number}")]) for number in range(3)
            ]
        finally:
            stop.set()
            worker.join()
        assert [one.exit_code for one in done] == [0, 0, 0], done[0].output
        runs = set(instance.get_run_ids())
    after = databases(state)
    for number in range(3):
        copy = databases(tmp_path / f"backup{number}" / "state")
        for name, tables in copy.items():
            for table, found in tables.items():
                # Every row of before is there, unless it has changed since; and no row that never was.
                old, new = before.get(name, {}).get(table, set()), after[name][table]
                assert old & new <= found, (name, table)
        events = copy["dagster/storage/history/runs/index.db"]["event_logs"]
        named = {str(row[1]) for row in events if row[1]}
        assert first in named
        assert all(f"dagster/storage/history/runs/{run_id}.db" in copy for run_id in named)

    taken = databases(tmp_path / "backup2" / "state")
    state.rename(tmp_path / "lost")
    (tmp_path / "models").rename(tmp_path / "lost_models")
    restored = CliRunner().invoke(main, ["restore", str(tmp_path / "backup2")])
    assert restored.exit_code == 0, restored.output
    assert databases(state) == taken
    assert state.stat().st_mode & 0o777 == 0o700
    write_home(load_settings())  # as each start does
    with dg.DagsterInstance.get() as instance:
        assert first in instance.get_run_ids()
        assert set(instance.get_run_ids()) <= runs
        assert instance.get_materialized_partitions(contract.METRICS) == {"2026-11-01"}
    assert (tmp_path / "backup2" / "models" / "metrics_history.csv").read_text() == "header\n1\n"


def test_what_must_not_be_overwritten_is_not(state: Path, tmp_path: Path) -> None:
    CliRunner().invoke(main, ["backup", str(tmp_path / "backup")])
    again = CliRunner().invoke(main, ["backup", str(tmp_path / "backup")])
    assert (again.exit_code, "empty or new directory" in again.output) == (1, True)
    over = CliRunner().invoke(main, ["restore", str(tmp_path / "backup")])
    assert (over.exit_code, "move it away" in over.output) == (1, True)
    state.rename(tmp_path / "lost")
    (tmp_path / "backup" / ".unfinished").touch()
    unfinished = CliRunner().invoke(main, ["restore", str(tmp_path / "backup")])
    assert (unfinished.exit_code, "finished backup" in unfinished.output) == (1, True)


def test_a_damaged_backup_is_not_put_in_place(state: Path, tmp_path: Path) -> None:
    CliRunner().invoke(main, ["backup", str(tmp_path / "backup")])
    state.rename(tmp_path / "lost")
    index = tmp_path / "backup" / "state" / "dagster" / "storage" / "history" / "runs.db"
    index.write_bytes(index.read_bytes()[:5000])
    done = CliRunner().invoke(main, ["restore", str(tmp_path / "backup")])
    assert done.exit_code == 1
    assert "runs.db" in done.output
    assert not state.exists()


def test_a_backup_is_for_its_user_alone(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir(0o755)
    (state / "logs").mkdir(exist_ok=True)
    (state / "logs" / "tsobs-2026-11-20.jsonl").write_text("{}\n")
    (state / "logs" / "tsobs-2026-11-20.jsonl").chmod(0o644)
    assert CliRunner().invoke(main, ["backup", str(target)]).exit_code == 0
    everything = [target, *target.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in everything if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in everything if path.is_file()} == {0o600}


@pytest.mark.parametrize("place", ["var/copy", "var", "models/deep/copy"])
def test_a_backup_into_what_it_copies_is_refused(state: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "models").mkdir()
    before = sorted(state.rglob("*"))
    done = CliRunner().invoke(main, ["backup", str(tmp_path / place)])
    assert done.exit_code == 1
    assert "expected" in done.output
    assert sorted(state.rglob("*")) == before
