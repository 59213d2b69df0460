"""The forecast assets in a Dagster instance of their own, for the tests beside this file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

import dagster as dg
import pytest

from tests.support.prices import MARKET
from tests.support.week_mean import WeekMean
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.forecast.assets import forecast_definitions
from tsobs_pipelines.defs.forecast.keys import SCORING_DAYS, ForecastKeys
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models.interface import ForecastModel
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import FrozenForecast, frozen_from_rows, prices_from_rows
from tsobs_pipelines.settings import Settings, load_settings
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES, Value
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclasses.dataclass
class Forecasts:
    """A code location of the forecast assets alone, with one model."""

    settings: Settings
    store: SqlStore
    instance: dg.DagsterInstance
    source: str
    model: ForecastModel = dataclasses.field(default_factory=WeekMean)

    def __post_init__(self) -> None:
        """Load the definitions."""
        self.defs = dg.Definitions.merge(
            forecast_definitions(self.settings, [self.model]), dg.Definitions(resources=default_resources())
        )
        self.keys = ForecastKeys.of(self.model.name)

    def run(self, job: str, first: date, last: date | None = None) -> dg.ExecuteInProcessResult:
        """Execute a job over delivery days."""
        definition = self.defs.resolve_job_def(job)
        if last is None:
            return definition.execute_in_process(
                instance=self.instance, partition_key=str(first), raise_on_error=False
            )
        tags = dict(zip(RANGE, (str(first), str(last)), strict=True))
        return definition.execute_in_process(instance=self.instance, tags=tags, raise_on_error=False)

    def fill(self, first: date, last: date) -> None:
        """Prices for the training and the days, forecasts, evaluations."""
        for job, start in (
            ("fill_prices", first - DAY * max(self.model.training_days, SCORING_DAYS)),
            ("fill_forecasts", first),
            ("fill_evaluations", first),
        ):
            assert self.run(job, start, last).success, job

    def metadata(self, key: dg.AssetKey, day: date) -> Mapping[str, object]:
        """What the newest materialisation of the day says."""
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[str(day)])
        (record,) = self.instance.fetch_materializations(wanted, limit=1).records
        assert record.asset_materialization is not None
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}

    def tracker(self) -> ModelMetricsTracker:
        """The metrics history, read anew."""
        return ModelMetricsTracker(self.settings.models_dir)

    def frozen(self, first: date, last: date) -> list[FrozenForecast]:
        """The forecasts in the store."""
        where = {"source": self.source, "model": self.model.name}
        span = Window(MARKET.start_of(first), MARKET.end_of(last))
        return frozen_from_rows(self.store.read(FORECASTS, span, where))

    def prices(self, first: date, last: date) -> dict[datetime, float]:
        """The prices in the store."""
        span = Window(MARKET.start_of(first), MARKET.end_of(last))
        return prices_from_rows(self.store.read(PRICES, span, {"source": self.source}))

    def set_prices(self, prices: Mapping[datetime, float]) -> None:
        """Write prices past the source."""
        rows: list[dict[str, Value]] = [
            {"time": hour, "source": self.source, "price": price} for hour, price in prices.items()
        ]
        self.store.write(PRICES, rows)

    @property
    def history_file(self) -> Path:
        """The metrics history on the disk."""
        assert self.settings.local_models is not None
        return self.settings.local_models / "metrics_history.csv"


def check_results(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """The checks of a run, by name."""
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def days_of(frozen: Sequence[FrozenForecast]) -> set[date]:
    """The delivery days of forecasts."""
    return {MARKET.day_of(each.hour) for each in frozen}


def opened_forecasts(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    price_source: str,
    start: date,
    model: ForecastModel | None = None,
) -> Iterator[Forecasts]:
    """The assets over a price source, from the first partition on, with a store below the directory."""
    monkeypatch.setenv("TSOBS_STATE_DIR", str(directory / "var"))
    monkeypatch.setenv("TSOBS_MODELS_DIR", str(directory / "models"))
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", price_source)
    monkeypatch.setenv("TSOBS_START_DATE", str(start))
    monkeypatch.delenv("TSOBS_DATABASE_URL", raising=False)
    (directory / "var").mkdir()
    settings = load_settings()
    store = SqlStore(settings.database_url)
    monkeypatch.setattr(resources.opened, "settings", lambda: settings)
    monkeypatch.setattr(resources.opened, "store", lambda: store)
    source = open_price_source(settings).name
    # In memory: on the disk each run has a database of its own, which takes longer than most runs.
    with dg.DagsterInstance.ephemeral(str(directory)) as instance:
        yield Forecasts(settings, store, instance, source, model or WeekMean())
    store.close()
