"""The contract of the store against a real Postgres, and failures specific to a server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

import pytest
from sqlalchemy import create_engine, text

from tests.support.lab.databases import Postgres
from tests.support.store_contract import DAY, SAMPLE, StoreContract, sample
from tsobs_pipelines.database import engine_for, reading
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreError, StoreUnavailableError

_numbers = count()


@pytest.fixture
def url(postgres: Postgres) -> str:
    """The address of an empty database."""
    return postgres.new_database(f"store_{next(_numbers)}")


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    store = SqlStore(url)
    yield store
    store.close()


class TestContract(StoreContract):
    """Postgres keeps the contract."""


def test_a_stopped_server_is_unavailable_and_the_store_comes_back_with_it(
    postgres: Postgres, store: SqlStore
) -> None:
    store.write(SAMPLE, [sample(0)])
    postgres.stop()
    try:
        with pytest.raises(StoreUnavailableError):
            store.read(SAMPLE, DAY)
        with pytest.raises(StoreUnavailableError):
            store.write(SAMPLE, [sample(1)])
    finally:
        postgres.start()
    store.write(SAMPLE, [sample(1)])
    assert store.read(SAMPLE, DAY) == [sample(0), sample(1)]


def test_a_forked_process_uses_connections_of_its_own(url: str, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    reading_end, writing_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing_end, str(_session(url)).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing_end)
    with os.fdopen(reading_end) as answer:
        assert answer.read() not in {"", str(_session(url))}
    assert store.read(SAMPLE, DAY) == [sample(0)]


def _session(url: str) -> int:
    with reading(engine_for(url)) as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def test_a_database_that_is_not_there_is_an_error_without_the_password(postgres: Postgres) -> None:
    url = f"postgresql+psycopg2://postgres:hunter2@127.0.0.1:{postgres.port}/nowhere"
    with pytest.raises(StoreError, match="nowhere") as caught:
        SqlStore(url).read(SAMPLE, DAY)
    assert not isinstance(caught.value, StoreUnavailableError)
    assert "hunter2" not in str(caught.value)


def test_a_missing_right_is_an_error(postgres: Postgres, url: str, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0)])
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE store_reader LOGIN"))
        connection.execute(text("GRANT SELECT ON contract_sample, contract_sample_utc TO store_reader"))
    engine.dispose()
    reader = SqlStore(url.replace("//postgres@", "//store_reader@"))
    assert reader.read(SAMPLE, DAY) == [sample(0)]
    with pytest.raises(StoreError, match="permission denied") as caught:
        reader.write(SAMPLE, [sample(1)])
    assert not isinstance(caught.value, StoreUnavailableError)
    reader.close()


def test_a_person_with_a_shell_reads_times(url: str, store: SqlStore) -> None:
    store.write(SAMPLE, [sample(0.5)])
    engine = create_engine(url)
    with engine.connect() as connection:
        shown = connection.execute(text("SELECT time FROM contract_sample_utc")).scalar_one()
    engine.dispose()
    assert shown == sample(0.5)["time"]
