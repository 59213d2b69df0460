"""Names, partitions and lineage of the forecast assets.

A partition is a delivery day in the market's zone. Prices and forecasts have one for tomorrow; prices begin
so much earlier that the first forecast has days to be fitted on.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL

PRICES_KEY = dg.AssetKey("electricity_prices")
GROUP = "forecast"
MAE_CHECK = "mae_within_twice_baseline"
SKILL_CHECK = "skill_above_naive"
PRICES_CHECK = "prices_complete"

BASELINE_DAYS = 30
"""An evaluation is held against those of so many days, which in a backfill come first."""

SCORING_DAYS = 30
"""An evaluation looks at prices so far back: 28 days for the scale of MASE, the day before, and its own."""


@dataclass(frozen=True)
class ForecastKeys:
    """The assets of one model; those of the default model have the names of the design."""

    model: dg.AssetKey
    forecast: dg.AssetKey
    evaluation: dg.AssetKey

    @classmethod
    def of(cls, model_name: str) -> "ForecastKeys":
        """The keys for a model: bare for the default one, else below the model's name."""
        prefix = [] if model_name == DEFAULT_MODEL else [model_name]
        return cls(
            dg.AssetKey([*prefix, "price_model"]),
            dg.AssetKey([*prefix, "price_forecast"]),
            dg.AssetKey([*prefix, "forecast_evaluation"]),
        )


@dataclass(frozen=True)
class DeliveryDays:
    """The partitions of the forecast assets: of the prices, of models and forecasts, of evaluations."""

    first: date
    training_days: int
    market: Market

    @property
    def first_price(self) -> date:
        """The first day of which prices are kept."""
        return self.first - timedelta(days=max(self.training_days, SCORING_DAYS))

    @property
    def prices(self) -> dg.DailyPartitionsDefinition:
        """From the first day that a fit looks at, to tomorrow."""
        return self._days(self.first_price, 2)

    @property
    def forecasts(self) -> dg.DailyPartitionsDefinition:
        """From the first forecast day to tomorrow."""
        return self._days(self.first, 2)

    @property
    def evaluations(self) -> dg.DailyPartitionsDefinition:
        """From the first forecast day to today."""
        return self._days(self.first, 1)

    def _days(self, first: date, end_offset: int) -> dg.DailyPartitionsDefinition:
        return dg.DailyPartitionsDefinition(
            start_date=first.isoformat(), timezone=self.market.timezone, end_offset=end_offset
        )


def days_before(count: int, *, last: int = -1) -> dg.TimeWindowPartitionMapping:
    """A day depends on the ``count`` days before it, up to ``last`` (0: itself)."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-count, end_offset=last, allow_nonexistent_upstream_partitions=True
    )
