"""Backups of servers under write load, restored into new ones by the documented commands, row by row."""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from tests.support import history_contract as contract
from tests.support.lab.build import influx_client
from tests.support.lab.databases import Postgres, running_postgres
from tests.support.lab.influx import Influx, running_influx
from tests.support.lab.processes import run
from tests.support.lab.runs import Run
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress
from tsobs_pipelines.timeseries.schema import CONNECTIONS, Row, Value
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

ROOT = Path(__file__).parents[3]
NIGHT = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = Window(NIGHT, NIGHT + timedelta(days=10))

Tables = dict[str, set[tuple[object, ...]]]

GROWING = (
    "SELECT id, run_id, event FROM event_logs ORDER BY id",
    "SELECT * FROM tailscale_connections ORDER BY time",
)
"""What is only ever added to here, in the order of its writing."""


def documented(program: str) -> list[str]:
    """The words of the command for ``program`` in docs/OPERATIONS.md, without its comment.

    The example's address and file are there as it has them: callers put their own in.
    """
    page = (ROOT / "docs" / "OPERATIONS.md").read_text("utf-8")
    section = page.partition("## Backups and restores")[2].partition("\n## ")[0]
    (line,) = re.findall(rf"^{re.escape(program)} .*$", section, re.MULTILINE)
    return shlex.split(line, comments=True)


def filled_in(words: Sequence[str], values: dict[str, str]) -> list[str]:
    """The command with our own place for each of the example's."""
    filled = list(words)
    for example, own in values.items():
        assert any(example in word for word in filled), (example, words)
        filled = [word.replace(example, own) for word in filled]
    return filled


def round_of(minute: int) -> dict[str, Value]:
    return {
        "time": NIGHT + timedelta(minutes=minute),
        "tailnet": "demo",
        "hostname": "git",
        "relay_node": "none",
        "connection_type": "direct",
        "latency_avg": float(minute),
    }


@contextmanager
def going_on(work: Callable[[int], None]) -> Iterator[None]:
    """``work(0)``, ``work(1)``, … in a thread; before the block begins it has happened a few times."""
    stop, under_way = threading.Event(), threading.Event()
    failures: list[BaseException] = []

    def loop() -> None:
        turn = 0
        try:
            while not stop.is_set():
                work(turn)
                turn += 1
                if turn == 3:
                    under_way.set()
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            failures.append(error)
            under_way.set()

    worker = threading.Thread(target=loop)
    worker.start()
    try:
        assert under_way.wait(60)
        yield
    finally:
        stop.set()
        worker.join()
    assert not failures, failures


def ask(url: str, query: str) -> list[tuple[object, ...]]:
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def tables(url: str) -> Tables:
    """Every row of every table."""
    names = [str(name) for (name,) in ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    return {name: set(ask(url, f'SELECT * FROM "{name}"')) for name in names}  # noqa: S608


def plain(url: str) -> str:
    return url.replace("+psycopg2", "")


@contextmanager
def instance_on(url: str, home: Path) -> Iterator[dg.DagsterInstance]:
    home.mkdir()
    overrides = {"storage": {"postgres": {"postgres_url": url}}}
    with dg.DagsterInstance.local_temp(str(home), overrides=overrides) as instance:
        yield instance


@pytest.fixture
def fresh_postgres(lab_run: Run) -> Iterator[Postgres]:
    """A second server, which has never held anything."""
    with running_postgres(lab_run, "fresh-postgres") as server:
        yield server


def test_a_postgres_under_load_comes_back_row_by_row(
    postgres: Postgres, fresh_postgres: Postgres, tmp_path: Path
) -> None:
    """Dagster's storage and tsobs' own tables in one database, as the compose file has them."""
    owner = postgres.programs / "createuser"
    run([owner, "--host=127.0.0.1", f"--port={postgres.port}", "--username=postgres", "--superuser", "tsobs"])
    live = postgres.new_database("tsobs_live").replace("postgres@", "tsobs@")
    store = SqlStore(live)

    def dump(name: str) -> Path:
        file = tmp_path / name
        words = filled_in(
            documented("pg_dump"), {"tsobs.dump": str(file), "postgresql://tsobs@postgres/tsobs": plain(live)}
        )
        run([postgres.programs / words[0], *words[1:]])
        return file

    def restored(dumped: Path, name: str) -> str:
        target = fresh_postgres.new_database(name)
        values = {"tsobs.dump": str(dumped), "postgresql://tsobs@postgres/tsobs": plain(target)}
        words = filled_in(documented("pg_restore"), values)
        for _ in range(2):  # into an empty database, and over what is there
            run([postgres.programs / words[0], *words[1:]])
        return target

    with instance_on(live, tmp_path / "live") as instance:
        first = contract.run(instance, "metrics_job", "2026-11-01", 0)

        def write(turn: int) -> None:
            store.write(CONNECTIONS, [round_of(turn)])
            contract.run(instance, "summary_job", None, 0)

        with going_on(write):
            before = tables(live)
            dumped = dump("live.dump")
        after = tables(live)
        target = restored(dumped, "from_live")
        came_back = tables(target)
        assert set(came_back) == set(after)
        for name, found in came_back.items():
            # Every row of before that has not changed since is there.
            assert before[name] & after[name] <= found, name
        # What only grows is there up to one moment, without a gap, and its runs with it.
        for query in GROWING:
            grown = ask(target, query)
            assert grown == ask(live, query)[: len(grown)], query
        assert {row[1] for row in came_back["event_logs"] if row[1]} <= {row[1] for row in came_back["runs"]}

        # Nobody writes any more: now all of it has to be the same.
        target = restored(dump("still.dump"), "from_still")
        assert tables(target) == tables(live)

    with instance_on(target, tmp_path / "restored") as instance:
        assert first in instance.get_run_ids()
        assert instance.get_materialized_partitions(contract.METRICS) == {"2026-11-01"}
        # It goes on: sequences have come back, too.
        contract.run(instance, "metrics_job", "2026-11-02", 0)
        assert instance.get_materialized_partitions(contract.METRICS) == {"2026-11-01", "2026-11-02"}
    back = SqlStore(target)
    assert list(back.read(CONNECTIONS, WINDOW)) == list(store.read(CONNECTIONS, WINDOW))


@pytest.fixture
def fresh_influx(lab_run: Run) -> Iterator[Influx]:
    """A second server, set up with a token of its own and an empty bucket."""
    with running_influx(lab_run, "fresh-influx") as server:
        yield server


def test_an_influxdb_under_load_comes_back_row_by_row(
    influx: Influx, fresh_influx: Influx, tmp_path: Path
) -> None:
    def command(program: str, server: Influx, directory: Path) -> None:
        example = {"/backups/2026-11-25/influx": str(directory), "http://influxdb:8086": server.url}
        words = filled_in(documented(program), example)
        secret = [f"INFLUX_TOKEN={server.token}", f"INFLUX_CONFIGS_PATH={tmp_path / 'configs'}"]
        run(["env", *secret, influx_client(), *words[1:]])

    def reading(server: Influx, token: str) -> list[Row]:
        store = InfluxStore(InfluxAddress(server.url, server.org, server.bucket, token), tmp_path / "locks")
        try:
            return list(store.read(CONNECTIONS, WINDOW))
        finally:
            store.close()

    live = InfluxStore(InfluxAddress(influx.url, influx.org, influx.bucket, influx.token), tmp_path / "locks")
    live.delete(CONNECTIONS, WINDOW)
    with going_on(lambda turn: live.write(CONNECTIONS, [round_of(turn)])):
        before = reading(influx, influx.token)
        command("influx backup", influx, tmp_path / "live")
    live.close()
    after = reading(influx, influx.token)
    command("influx restore", fresh_influx, tmp_path / "live")
    # From now on it has the tokens of the backup, too.
    came_back = reading(fresh_influx, influx.token)
    assert len(before) <= len(came_back) <= len(after)
    assert came_back == after[: len(came_back)]

    # Nobody writes any more: all of it, and over what is there.
    command("influx backup", influx, tmp_path / "still")
    fresh_influx.token = influx.token
    command("influx restore", fresh_influx, tmp_path / "still")
    assert reading(fresh_influx, influx.token) == after
