"""The API's histories over a real InfluxDB: the same points as over SQLite, extremes and gaps kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_world import NOW, Api, api_of, demo_sidecar, parts_of, rounds, settings_of
from tests.support.lab.influx import Influx
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

WEEK = 7 * 1440
HISTORY = "/health-monitoring/latency-history/git"


@pytest.fixture(scope="module")
def apis(tmp_path_factory: pytest.TempPathFactory, influx: Influx) -> Iterator[tuple[Api, Api]]:
    """One over SQLite and one over InfluxDB, with the same week of rounds and a gap of two hours."""
    state: Path = tmp_path_factory.mktemp("api")
    written = rounds(WEEK, tailnet="demo")
    kept = [row for number, row in enumerate(written) if not 4000 <= number < 4120]
    with demo_sidecar() as url:
        sqlite = parts_of(settings_of(state), url)
        over_influx = settings_of(
            state,
            influx_url=influx.url,
            influx_org=influx.org,
            influx_token=influx.token,
            influx_bucket=influx.bucket,
        )
        real = parts_of(over_influx, url)
        window = Window(written[0]["time"], NOW)  # type: ignore[arg-type]
        for parts in (sqlite, real):
            parts.store.replace(CONNECTIONS, window, kept, {"tailnet": "demo"})
        with api_of(sqlite) as first, api_of(real) as second:
            yield first, second
        real.store.delete(CONNECTIONS, window, {"tailnet": "demo"})
        real.store.close()
        sqlite.store.close()


@pytest.mark.parametrize("query", ["hours=24", "hours=30", "hours=168", "hours=168&points=50", "hours=720"])
def test_both_stores_give_the_same_points(apis: tuple[Api, Api], query: str) -> None:
    answers = [api.get(f"{HISTORY}?{query}").json() for api in apis]
    assert answers[0]["history"]
    assert len(answers[1]["history"]) <= 2000
    for key in ("hours", "step_s"):
        assert answers[0][key] == answers[1][key]
    assert len(answers[0]["history"]) == len(answers[1]["history"])
    for one, other in zip(answers[0]["history"], answers[1]["history"], strict=True):
        assert one | {"latency_ms": None} == other | {"latency_ms": None}
        assert one["latency_ms"] == pytest.approx(other["latency_ms"], abs=0.002)


def test_extremes_and_gaps_are_kept(apis: tuple[Api, Api]) -> None:
    for api in apis:
        found = api.get(f"{HISTORY}?hours=168").json()
        history = found["history"]
        assert max(point["latency_max"] or 0 for point in history) == 901.0
        assert sum(point["rounds"] for point in history) == WEEK - 120


def test_the_newest_state_is_the_same(apis: tuple[Api, Api]) -> None:
    first, second = (api.get("/health-monitoring/nodes").json()["nodes"][0] for api in apis)
    for node in (first, second):
        node["day"].pop("spark")
    assert first == second


def test_a_stopped_influxdb_is_503_and_comes_back(apis: tuple[Api, Api], influx: Influx) -> None:
    influx.stop()
    try:
        answer = apis[1].get(f"{HISTORY}?hours=3")
        assert answer.status_code == 503
        assert influx.token not in answer.text
    finally:
        influx.start()
    assert apis[1].get(f"{HISTORY}?hours=3").status_code == 200
