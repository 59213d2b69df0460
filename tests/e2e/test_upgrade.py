"""An upgrade from the first version whose ``tsobs up`` starts: its state directory is used by this version.

``tests/support/old_state.py`` made the archive by running that version.
"""

from __future__ import annotations

import sqlite3
import tarfile
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.support.growing_sidecar import GrowingSidecar
from tests.support.running import running
from tests.support.sidecars import served
from tests.support.watching import runs

pytestmark = pytest.mark.long

ARCHIVE = Path(__file__).parents[1] / "data" / "first-state.tar.xz"
GOES_ON = {"alert_progress", "alert_topics"}
"""Tables whose rows are what is known now."""

MOVED = {
    "alert_sender": ("alert_channels", {}),
    "alert_messages": ("alert_deliveries", {"id": "message_id", "telegram_id": "receipt"}),
}
"""Where what these tables said of Telegram is now, and the columns that have another name there."""

DETAILS = """query($run: ID!, $day: String!) {
  logsForRun(runId: $run) {... on EventConnection {events {__typename}}}
  assetNodeOrError(assetKey: {path: ["connection_metrics"]}) {
    ... on AssetNode {assetMaterializations(partitions: [$day]) {runId}}}}"""

Table = tuple[tuple[str, ...], Counter[tuple[object, ...]]]


def opened(file: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True))


def tables(file: Path) -> dict[str, Table]:
    """The columns and rows of every table of a SQLite file."""
    with opened(file) as connection:
        names = [
            str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: (columns_of(connection, name), rows_of(connection, name)) for name in names}


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(str(row[1]) for row in connection.execute(f'PRAGMA table_info("{table}")'))


def rows_of(connection: sqlite3.Connection, table: str) -> Counter[tuple[object, ...]]:
    return Counter(connection.execute(f'SELECT * FROM "{table}"'))  # noqa: S608 - names from the file


def seen_in(table: Table, columns: Iterable[str]) -> Counter[tuple[object, ...]]:
    """The rows of a table by some of its columns."""
    places = [table[0].index(column) for column in columns]
    return Counter(tuple(row[place] for place in places) for row in table[1].elements())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(tmp_path / "var", filter="data")
    return tmp_path / "var"


@pytest.mark.timeout(300)
def test_all_that_the_first_version_kept_is_there(state: Path) -> None:
    before = tables(state / "tsobs.db")
    history = state / "dagster" / "storage" / "history" / "runs.db"
    with opened(history) as connection:
        ended = set(connection.execute("SELECT run_id, status, pipeline_name FROM runs"))
    with opened(state / "tsobs.db") as connection:
        ((first,),) = connection.execute("SELECT min(time) FROM tailscale_connections")
        fires = dict(connection.execute("SELECT topic, since FROM alert_incidents WHERE until IS NULL"))
    day = f"{datetime.fromtimestamp(first / 1e6, UTC):%Y-%m-%d}"
    assert len(ended) >= 4
    assert sum(before["tailscale_connections"][1].values()) >= 100
    assert list(fires) == ["latency_git"]
    sidecar = GrowingSidecar()
    settings = {"TSOBS_SIDECAR_URL": sidecar.url, "TSOBS_START_DATE": day}
    with served(sidecar), running(state.parent, **settings) as tsobs:
        known = {(run["runId"], run["status"], run["jobName"]) for run in runs(tsobs, 500)}
        assert ended <= known
        collected = next(run_id for run_id, _, job in ended if job == "collect_connections")
        details = tsobs.graphql(DETAILS, run=collected, day=day)
        assert len(details["logsForRun"]["events"]) > 10  # type: ignore[index]
        assert details["assetNodeOrError"]["assetMaterializations"]  # type: ignore[index]
        answer = httpx.get(f"http://127.0.0.1:{tsobs.api_port}/alerts", timeout=30).json()
        firing = {one["topic"]: datetime.fromisoformat(one["since"]) for one in answer["firing"]}
        assert firing["latency_git"] == datetime.fromtimestamp(fires["latency_git"] / 1e6, UTC)
        assert tsobs.interrupt() == 0
    after = tables(state / "tsobs.db")
    for name in before.keys() - GOES_ON:
        stayed = [column for column in before[name][0] if name in after and column in after[name][0]]
        left = set(before[name][0]) - set(stayed)
        assert seen_in(before[name], stayed) <= seen_in(after[name], stayed) if stayed else name in MOVED
        place, renamed = MOVED.get(name, (name, {}))
        there = {column: renamed.get(column, column) for column in before[name][0]}
        moved = [column for column in there if there[column] in after[place][0]]
        assert left <= set(moved) | {"id"}, f"every column of {name}"
        assert seen_in(before[name], moved) <= seen_in(after[place], [there[column] for column in moved])
