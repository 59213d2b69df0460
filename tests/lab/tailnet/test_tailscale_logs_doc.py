"""Every Flux query of docs/TAILSCALE_LOGS.md, against a real InfluxDB with a month of the demo tailnet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.lab.flux import flux, new_bucket
from tests.support.lab.influx import Influx
from tsobs_pipelines.demo.embedded import simulated_url
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet.open import open_sidecar
from tsobs_pipelines.tailnet.summary import summary_rows
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress
from tsobs_pipelines.timeseries.schema import CONNECTIONS, SUMMARY
from tsobs_pipelines.timeseries.store import Window

DOCUMENT = Path(__file__).parents[3] / "docs" / "TAILSCALE_LOGS.md"
QUERIES = re.findall(
    r"^([^\n]+):\n```flux\n(.+?)^```$", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE
)
BUCKET = "documented"


@pytest.fixture(scope="module")
def month(influx: Influx, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """A month of the demo tailnet, of which half an hour was lost."""
    new_bucket(influx, BUCKET)
    address = InfluxAddress(influx.url, influx.org, BUCKET, influx.token)
    store = InfluxStore(address, tmp_path_factory.mktemp("locks"))
    settings = Settings()
    today = datetime.now(UTC).date()
    with open_sidecar(settings.first_tailnet, simulated_url) as sidecar:
        collector = Collector(sidecar, store, settings.critical_nodes, "demo")
        for day in (today - timedelta(days=age) for age in range(29, -1, -1)):
            collector.collect_day(day)
            rows = store.read(CONNECTIONS, Window.of_day(day))
            store.write(SUMMARY, summary_rows(day, rows))
    middle = datetime.now(UTC) - timedelta(days=2)
    store.delete(CONNECTIONS, Window(middle, middle + timedelta(minutes=30)))
    yield replace(influx, bucket=BUCKET)
    store.close()


def test_the_document_has_queries() -> None:
    assert len(QUERIES) >= 8
    assert DOCUMENT.read_text("utf-8").count("```flux") == len(QUERIES)


@pytest.mark.parametrize("query", [query for _, query in QUERIES], ids=[title for title, _ in QUERIES])
def test_a_documented_query_finds_something(month: Influx, query: str) -> None:
    rows = flux(month, query.replace('"analytics"', f'"{BUCKET}"'))
    assert rows
    assert all(len(row) > 3 for row in rows)
