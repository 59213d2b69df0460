"""Postgres restarts under everything: Dagster's records, time series, alert state.

Nothing is repaired by hand: what was journalled meanwhile is in the store afterwards, each round once, and
tsobs is as healthy as before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import minutes
from tests.support.lab.databases import Postgres
from tests.support.running import Running, eventually, running
from tests.support.sidecars import served
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

pytestmark = [pytest.mark.lab, pytest.mark.timeout(700)]

COLLECTED_WITHIN_S = 400
"""A 5-minute tick, and a little."""


@pytest.fixture
def sidecar() -> Iterator[GrowingSidecar]:
    made = GrowingSidecar()
    with served(made):
        yield made


def health(tsobs: Running) -> dict[str, bool]:
    """Whether each part is well, by its name."""
    answer = httpx.get(f"http://127.0.0.1:{tsobs.api_port}/healthz", timeout=30).json()
    return {name: part["ok"] for name, part in answer["parts"].items()}


def stored(url: str, since: datetime) -> Counter[tuple[datetime, str]]:
    """How many rows the database itself holds of each round and node."""
    store = SqlStore(url)
    rows = store.read(CONNECTIONS, Window(since, since + timedelta(days=3)))
    store.close()
    found: Counter[tuple[datetime, str]] = Counter()
    for row in rows:
        found[row.time, row.hostname] += 1
    return found


def test_postgres_restarts_and_nothing_is_lost(
    postgres: Postgres, sidecar: GrowingSidecar, tmp_path: Path
) -> None:
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    first = now - timedelta(minutes=40)
    sidecar.take(minutes(first, 20))
    rows = postgres.new_database("restart_rows")
    settings = {
        "TSOBS_SIDECAR_URL": sidecar.url,
        "TSOBS_START_DATE": str((now - timedelta(days=1)).date()),
        "TSOBS_DATABASE_URL": rows,
        "TSOBS_DAGSTER_DATABASE_URL": postgres.new_database("restart_dagster"),
    }
    with running(tmp_path, **settings) as tsobs:
        eventually(
            lambda: set(stored(rows, first)) == sidecar.wanted(), COLLECTED_WITHIN_S, "a first filling"
        )
        postgres.stop()
        try:
            eventually(lambda: not health(tsobs)["store"], 60, "/healthz says that the store is down")
            sidecar.take(minutes(first + timedelta(minutes=20), 10))
        finally:
            postgres.start()
        sidecar.take(minutes(first + timedelta(minutes=30), 10))
        eventually(
            lambda: set(stored(rows, first)) == sidecar.wanted(), COLLECTED_WITHIN_S, "all that was missed"
        )
        assert set(stored(rows, first).values()) == {1}
        eventually(lambda: all(health(tsobs).values()), 180, "tsobs is well again")
