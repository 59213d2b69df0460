"""The InfluxDB dashboard: applied by its documented command, and each cell's query finds something."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.lab.build import influx_client
from tests.support.lab.flux import flux
from tests.support.lab.influx import Influx, running_influx
from tests.support.lab.runs import Run
from tsobs_pipelines.demo.embedded import simulated_url
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet.open import open_sidecar
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_client import InfluxAddress
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES, ForecastRow, PriceRow

ROOT = Path(__file__).parents[3]
TEMPLATE = ROOT / "deploy" / "influxdb" / "dashboard.yaml"
CELLS = yaml.safe_load(TEMPLATE.read_text("utf-8"))["spec"]["charts"]
COMMAND = next(line for line in TEMPLATE.read_text("utf-8").splitlines() if "influx apply" in line).lstrip(
    "# "
)
RANGE = "option v = {timeRangeStart: -7d, timeRangeStop: now(), windowPeriod: 1h}\n"


@pytest.fixture(scope="module")
def week(lab_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """Three days of the demo tailnet, and two days of prices and forecasts that miss by 20 EUR/MWh."""
    with running_influx(lab_run, "dashboard-influx") as server:
        address = InfluxAddress(server.url, server.org, server.bucket, server.token)
        store = InfluxStore(address, tmp_path_factory.mktemp("locks"))
        settings = Settings()
        now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        with open_sidecar(settings.first_tailnet, simulated_url) as sidecar:
            collector = Collector(sidecar, store, settings.critical_nodes, "demo")
            for age in (2, 1, 0):
                collector.collect_day(now.date() - timedelta(days=age))
        hours = [now - timedelta(hours=age) for age in range(48)]
        store.write(PRICES, [PriceRow(time=hour, source="demo", price=0.05) for hour in hours])
        forecasts = [
            ForecastRow(time=hour, source="demo", model=DEFAULT_MODEL, version="1", yhat=0.05 + 0.02 * sign)
            for hour, sign in zip(hours, [1, -1] * 24, strict=True)
        ]
        store.write(FORECASTS, forecasts)
        yield server
        store.close()


def test_the_documented_command_applies_it_twice(week: Influx) -> None:
    values = {"ORG": week.org, "URL": week.url, "TOKEN": week.token}
    words = [values.get(word, word) for word in shlex.split(COMMAND)]
    for _ in range(2):
        done = subprocess.run(
            [influx_client(), *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
    headers = {"Authorization": f"Token {week.token}"}
    found = httpx.get(f"{week.url}/api/v2/dashboards", headers=headers).json()["dashboards"]
    tsobs = [one for one in found if one["name"] == "tsobs"]
    assert tsobs, json.dumps(found)
    assert len(tsobs[0]["cells"]) == len(CELLS)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell["name"])
def test_a_cell_finds_something(week: Influx, cell: dict[str, object]) -> None:
    queries = cell["queries"]
    assert isinstance(queries, list)
    for query in queries:
        rows = flux(week, RANGE + query["query"])
        assert rows
        assert all(row["_value"] for row in rows)
        if cell["name"] == "Forecast error":
            assert {round(float(row["_value"]), 6) for row in rows} == {20.0}
