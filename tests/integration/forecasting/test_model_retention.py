"""Old fitted models are deleted once their forecasts are issued, locally and by fsspec; nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support import history_contract
from tests.support.prices import MARKET
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.forecast.assets import MODELS
from tsobs_pipelines.defs.operations.housekeeping import HOUSEKEEPING, housekeeping_definitions, tidy_models
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.metrics_tracker import HISTORY_NAME
from tsobs_pipelines.forecasting.model_files import FileSystem, open_files
from tsobs_pipelines.forecasting.model_retention import days_with_model, model_file
from tsobs_pipelines.forecasting.scoring import FrozenForecast, forecast_rows
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.timeseries.schema import FORECASTS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreUnavailableError

MODEL = MODELS[0].name
NOW = datetime(2026, 11, 27, 3, 40, tzinfo=UTC)
TODAY = date(2026, 11, 27)
CSV = "csv:/prices/a b.csv"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models_dir: str) -> Settings:
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("TSOBS_MODELS_DIR", models_dir)
    (tmp_path / "var").mkdir()
    return load_settings()


@pytest.fixture(params=["local", "memory"])
def models_dir(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "models") if request.param == "local" else f"memory:/{tmp_path}/models"


def fit(files: FileSystem, days: Sequence[date], source: str = "demo") -> None:
    for day in days:
        files.replace(model_file(MODEL, source, day), b"{}")


def issue(store: SqlStore, days: Sequence[date], source: str = "demo", *, hours: int = 25) -> None:
    at = NOW - timedelta(days=400)
    frozen = [
        FrozenForecast(hour, "1", 0.1, 0.0, 0.2, at, at, backfilled=False)
        for day in days
        for hour in MARKET.hours_of(day)[:hours]
    ]
    store.write(FORECASTS, forecast_rows(frozen, source, MODEL))


def back(*days: int) -> list[date]:
    """So many days before today."""
    return [TODAY - DAY * each for each in days]


def test_a_model_goes_90_days_after_the_day_that_it_forecast(settings: Settings) -> None:
    files, store = open_files(settings.models_dir), SqlStore(settings.database_url)
    old, kept = back(400, 120, 91), back(90, 89, 1, -1)
    fit(files, [*old, *kept])
    issue(store, [*old, *kept])
    assert tidy_models(store, settings, NOW) == {"models_removed": 3}
    assert sorted(days_with_model(files, MODEL)["demo"]) == kept
    assert tidy_models(store, settings, NOW) == {"models_removed": 0}
    assert tidy_models(store, settings, NOW + DAY) == {"models_removed": 1}


def test_a_model_stays_until_its_whole_forecast_is_issued(settings: Settings) -> None:
    files, store = open_files(settings.models_dir), SqlStore(settings.database_url)
    begun, waiting, another = back(300, 299, 298)
    fit(files, [begun, waiting, another, TODAY])
    issue(store, [begun], hours=23)
    issue(store, [another], source=CSV)
    assert tidy_models(store, settings, NOW) == {"models_removed": 0}
    issue(store, [begun, waiting])
    assert tidy_models(store, settings, NOW) == {"models_removed": 2}
    assert days_with_model(files, MODEL) == {"demo": [another, TODAY]}


def test_the_newest_model_of_each_price_source_stays_however_old(settings: Settings) -> None:
    files, store = open_files(settings.models_dir), SqlStore(settings.database_url)
    for source in ("demo", CSV):
        fit(files, back(500, 499), source)
        issue(store, back(500, 499), source)
    assert tidy_models(store, settings, NOW) == {"models_removed": 2}
    assert days_with_model(files, MODEL) == {"demo": back(499), CSV: back(499)}


def test_only_files_of_fitted_models_go(settings: Settings) -> None:
    files, store = open_files(settings.models_dir), SqlStore(settings.database_url)
    (old,) = back(400)
    issue(store, [old])
    others = [
        HISTORY_NAME,
        f"another/demo/{old.year}/{old}.json",
        f"{MODEL}/demo/{old}.json",
        f"{MODEL}/demo/1999/{old}.json",
        f"{MODEL}/demo/{old.year}/{old}.json.bak",
        f"{MODEL}/demo/{old.year}/2025-13-45.json",
        f"{MODEL}/notes.txt",
    ]
    for name in others:
        files.replace(name, b"mine")
    fit(files, [old, TODAY])
    assert tidy_models(store, settings, NOW) == {"models_removed": 1}
    assert [files.read(name) for name in others] == [b"mine"] * len(others)


def test_nothing_goes_while_the_store_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, store = open_files(settings.models_dir), SqlStore(settings.database_url)
    fit(files, back(400, 0))
    issue(store, back(400))

    def unavailable(*_: object) -> None:
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(store, "read", unavailable)
    with pytest.raises(StoreUnavailableError):
        tidy_models(store, settings, NOW)
    assert len(days_with_model(files, MODEL)["demo"]) == 2


def test_no_models_yet_is_nothing_to_do(settings: Settings) -> None:
    assert tidy_models(SqlStore(settings.database_url), settings, NOW) == {"models_removed": 0}


@pytest.mark.parametrize("models_dir", ["local"], indirect=True)
def test_the_housekeeping_job_counts_them(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, store = open_files(settings.models_dir), SqlStore(settings.database_url)
    monkeypatch.setattr(resources.opened, "settings", lambda: settings)
    monkeypatch.setattr(resources.opened, "store", lambda: store)
    fit(files, back(400, 0))
    issue(store, back(400))
    defs = dg.Definitions.merge(housekeeping_definitions(), dg.Definitions(resources=default_resources()))
    (tmp_path / "dagster").mkdir()
    with history_contract.sqlite_instance(tmp_path / "dagster") as instance:
        result = defs.resolve_job_def("keep_house").execute_in_process(instance=instance)
    (done,) = result.asset_materializations_for_node(HOUSEKEEPING.to_python_identifier())
    assert done.metadata["models_removed"].value == 1
