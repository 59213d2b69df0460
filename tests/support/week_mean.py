"""An example of a second model: one file, and cheap enough for backfills of a year in tests."""

from __future__ import annotations

import json
from datetime import date, timedelta
from statistics import fmean, quantiles

from tsobs_pipelines.forecasting.delivery import DAY, Market
from tsobs_pipelines.forecasting.models.interface import (
    FittedModel,
    HourForecast,
    NotEnoughPricesError,
    Prices,
)

TRAINING_DAYS = 28


class WeekMean:
    """The mean of the same wall-clock hour over the last four weeks."""

    name = "week_mean"
    version = "1"
    training_days = TRAINING_DAYS

    def fit(self, prices: Prices, day: date, market: Market) -> FittedModel:
        """Means and residual quantiles of each hour on the clock."""
        start, end = market.start_of(day - DAY * TRAINING_DAYS), market.start_of(day)
        used = {hour: price for hour, price in prices.items() if start <= hour < end}
        slots: dict[int, list[float]] = {slot: [] for slot in range(24)}
        for hour, price in sorted(used.items()):
            slots[hour.astimezone(market.zone).hour].append(price)
        if any(len(values) < 7 for values in slots.values()):
            raise NotEnoughPricesError(f"{len(used)} hours before {day}, expected a week of them")
        means = {slot: fmean(values) for slot, values in slots.items()}
        errors = [price - means[hour.astimezone(market.zone).hour] for hour, price in used.items()]
        deciles = quantiles(errors, n=10)
        return FittedModel(
            model_name=self.name,
            version=self.version,
            day=day,
            trained_from=min(used),
            trained_to=max(used) + timedelta(hours=1),
            rows=len(used),
            details={},
            parameters=json.dumps({"means": means, "low": deciles[0], "high": deciles[-1]}),
        )

    def predict(self, fitted: FittedModel, prices: Prices, market: Market) -> list[HourForecast]:
        """The means."""
        del prices
        known = json.loads(fitted.parameters)
        result = []
        for hour in market.hours_of(fitted.day):
            mean = known["means"][str(hour.astimezone(market.zone).hour)]
            result.append(HourForecast(hour, mean, mean + known["low"], mean + known["high"]))
        return result
