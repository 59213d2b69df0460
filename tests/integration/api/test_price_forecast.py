"""``/models/forecast``: prices and the frozen forecast of a delivery day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.api_world import NOW, Api, api_of, demo_sidecar, parts_of, seed_forecasts, settings_of
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.timeseries.schema import FORECASTS, ForecastRow

PATH = "/models/forecast"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path_factory.mktemp("api")), url)
        seed_forecasts(parts)
        for model, age in (("another", timedelta(days=2)), ("forgotten", timedelta(days=200))):
            row = ForecastRow(NOW - age, source="demo", model=model, version="1", yhat=0.1)
            parts.store.write(FORECASTS, [row])
        with api_of(parts) as made:
            yield made
        parts.store.close()


def test_today_without_being_named(api: Api) -> None:
    found = api.get(PATH).json()
    assert (found["day"], found["timezone"], found["source"]) == ("2026-11-24", "Europe/Madrid", "demo")
    assert found == api.get(f"{PATH}?model_name={DEFAULT_MODEL}&day=2026-11-24").json()
    assert found["hours"][0]["hour"] == "2026-11-23T23:00:00Z"
    assert len(found["hours"]) == 24
    for hour in found["hours"]:
        assert hour["lower"] < hour["price"] < hour["yhat"] < hour["upper"]
    assert found["issued_at"] == found["due_at"] == "2026-11-23T09:00:00Z"
    assert found["published_at"] == "2026-11-23T11:45:00Z"
    assert found["backfilled"] is False


def test_tomorrow_has_a_forecast_and_no_price_yet(api: Api) -> None:
    found = api.get(f"{PATH}?day=2026-11-25").json()
    assert {hour["price"] for hour in found["hours"]} == {None}
    assert all(hour["yhat"] is not None for hour in found["hours"])


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2099-12-31", 24)])
def test_a_day_without_anything_has_its_hours(api: Api, day: str, hours: int) -> None:
    found = api.get(f"{PATH}?day={day}").json()
    assert len(found["hours"]) == hours
    assert found["issued_at"] is None
    assert {value for hour in found["hours"] for key, value in hour.items() if key != "hour"} == {None}


def test_a_model_is_known_by_its_forecasts(api: Api) -> None:
    assert api.get(f"{PATH}?model_name=another&day=2026-11-01").status_code == 200
    for name in ("forgotten", "nobody"):
        answer = api.get(f"{PATH}?model_name={name}")
        assert answer.status_code == 404
        assert answer.json() == {"detail": f"no forecast of a model '{name}'"}


@pytest.mark.parametrize(
    "day",
    ["0", "1764000000", "20261124", "2026-W48-2", "2026-02-30", "1999-12-31", "2100-01-01", "9999-12-31"],
)
def test_what_is_no_such_day_is_refused(api: Api, day: str) -> None:
    answer = api.get(f"{PATH}?day={day}")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"day={day}: ")


@pytest.mark.parametrize(
    ("setting", "tag"),
    [("csv:/data/my prices.csv", "csv:my-prices-28a8616c"), ("redata:pvpc", "redata:pvpc")],
)
def test_prices_are_found_by_the_name_of_their_source(tmp_path: Path, setting: str, tag: str) -> None:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path, price_source=setting), url)
        with api_of(parts) as api:
            assert api.get(PATH).json()["source"] == tag
        parts.store.close()
