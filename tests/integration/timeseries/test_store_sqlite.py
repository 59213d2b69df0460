"""The contract of the store against SQLite, and failures specific to a file."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from msgspec import structs
from sqlalchemy import text

from tests.support.store_contract import DAY, SAMPLE, StoreContract, sample
from tsobs_pipelines import database
from tsobs_pipelines.database import engine_for, reading, writing
from tsobs_pipelines.timeseries.schema import FieldUnit, Identity, Measurement, Row, Tag
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreError, StoreUnavailableError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state" / "tsobs.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqlStore]:
    store = SqlStore(f"sqlite:///{path}")
    yield store
    store.close()


class TestContract(StoreContract):
    """SQLite keeps the contract."""


def _write_minutes(path: Path, place: str) -> None:
    store = SqlStore(f"sqlite:///{path}")
    for minute in range(30):
        store.write(SAMPLE, [sample(minute, place)])


def test_processes_that_open_and_write_a_new_file_at_once_lose_nothing(path: Path, store: SqlStore) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_write_minutes, args=(path, f"p{number}")) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(store.read(SAMPLE, DAY)) == 120


def test_a_forked_process_uses_connections_of_its_own(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    child = os.fork()
    if child == 0:
        try:
            store.write(SAMPLE, [sample(1)])
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    store.write(SAMPLE, [sample(2)])
    assert len(store.read(SAMPLE, DAY)) == 3


class NewerRow(Row, frozen=True):
    """The contract's row with a tag and a field more."""

    place: Identity
    kind: Tag
    colour: Tag
    level: Annotated[float | None, FieldUnit("m")] = None
    count: Annotated[int | None, FieldUnit("drops")] = None
    note: Annotated[str | None, FieldUnit("text")] = None
    weight: Annotated[float | None, FieldUnit("kg")] = None


class OtherKeyRow(Row, frozen=True):
    """The contract's row with another key."""

    place: Identity
    kind: Identity
    level: Annotated[float | None, FieldUnit("m")] = None


def test_a_column_that_an_older_version_lacks_is_added(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    newer = Measurement(SAMPLE.name, NewerRow)
    again = SqlStore(f"sqlite:///{path}")
    old = structs.asdict(sample(0))
    assert again.read(newer, DAY) == [NewerRow(**old, colour="unknown")]
    row = NewerRow(**structs.asdict(sample(1)), colour="red", weight=2.5)
    again.write(newer, [row])
    assert again.read(newer, DAY)[1:] == [row]
    assert store.read(SAMPLE, DAY) == [sample(0), sample(1)], "the older version still reads it"


def test_another_key_is_an_error_that_names_the_table(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    with pytest.raises(StoreError, match="table contract_sample has the key"):
        SqlStore(f"sqlite:///{path}").read(Measurement(SAMPLE.name, OtherKeyRow), DAY)


def test_a_person_with_a_shell_reads_times(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0.5)])
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT time, place FROM contract_sample_utc").fetchall() == [
            ("2026-11-20T00:00:30.000000Z", "a")
        ]


def test_a_damaged_file_is_named_and_left_as_it_is(path: Path) -> None:
    damage = b"this is no database at all, nor was it ever one" * 40
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(damage)
    store = SqlStore(f"sqlite:///{path}")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"damaged.*move") as caught:
            store.read(SAMPLE, DAY)
        assert str(path) in str(caught.value)
        assert not isinstance(caught.value, StoreUnavailableError)
    assert path.read_bytes() == damage


def test_a_file_with_a_torn_page_is_damaged_too(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(minute, f"place {minute}") for minute in range(1400)])
    with writing(engine_for(f"sqlite:///{path}")) as connection:
        connection.execute(text("DELETE FROM contract_sample WHERE time < 0"))
    store.close()
    sqlite3.connect(path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = b"\xff" * (len(content) - 3 * 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"damaged.*move"):
        SqlStore(f"sqlite:///{path}").read(SAMPLE, DAY)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="no directory for it") as caught:
        SqlStore(f"sqlite:///{tmp_path}/file/tsobs.db")
    assert f"{tmp_path}/file/tsobs.db" in str(caught.value)


def test_a_file_that_can_not_be_opened_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="must be able to write") as caught:
        SqlStore(f"sqlite:///{path}").write(SAMPLE, [sample(0)])
    assert str(path) in str(caught.value)


def test_a_disk_without_room_is_an_error_and_keeps_what_was_there(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    with reading(engine_for(f"sqlite:///{path}")) as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        # The same code that a full disk gives, without filling one.
        connection.execute(text(f"PRAGMA max_page_count={pages}"))
    with pytest.raises(StoreError, match=r"full.*make room"):
        store.write(SAMPLE, [sample(minute, "b" * 200) for minute in range(1000)])
    assert store.read(SAMPLE, DAY) == [sample(0)]


def test_a_file_size_limit_is_an_error_as_well(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            store.write(SAMPLE, [sample(minute, "b" * 200) for minute in range(1400)])
        except StoreError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.read(SAMPLE, DAY) == [sample(0)]


def test_a_writer_that_does_not_end_makes_the_store_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.2)
    store = SqlStore(f"sqlite:///{path}")
    store.write(SAMPLE, [sample(0)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        store.write(SAMPLE, [sample(1)])
    assert store.read(SAMPLE, DAY) == [sample(0)], "readers do not wait for a writer"
    other.execute("ROLLBACK")
    store.write(SAMPLE, [sample(1)])
    assert len(store.read(SAMPLE, DAY)) == 2


def test_rows_go_where_readers_look_when_the_file_was_exchanged(path: Path, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    for suffix in ("", "-wal", "-shm"):
        moved = Path(f"{path}{suffix}")
        if moved.exists():
            moved.rename(f"{moved}.old")
    with pytest.raises(StoreError, match="no such table"):
        store.write(SAMPLE, [sample(1)])
    store.write(SAMPLE, [sample(1)])
    assert SqlStore(f"sqlite:///{path}").read(SAMPLE, DAY) == [sample(1)]


def test_a_url_that_is_none_is_refused_without_repeating_it() -> None:
    with pytest.raises(StoreError) as caught:
        SqlStore("nonsense://me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)
