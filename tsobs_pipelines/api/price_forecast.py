"""A delivery day for the page: each hour's price and its frozen forecast."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from tsobs_pipelines.api.schemas import ForecastDay, ForecastHour
from tsobs_pipelines.forecasting.scoring import FrozenForecast, Subject, read_hours
from tsobs_pipelines.timeseries.schema import FORECASTS
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

FIRST_DAY = date(2000, 1, 1)
LAST_DAY = date(2099, 12, 31)
"""Days that may be asked for; no electricity market's hours are stored outside of them."""

KNOWN_FOR = timedelta(days=90)
"""A model other than the default one is known while it has a forecast in this span."""


def is_known(store: TimeSeriesStore, subject: Subject, now: datetime) -> bool:
    """Whether the model has issued a forecast lately; raises what the store raises."""
    span = Window(now - KNOWN_FOR, now + timedelta(days=3))
    return bool(store.latest(FORECASTS, span, {"source": subject.source, "model": subject.model}))


def forecast_day(store: TimeSeriesStore, subject: Subject, day: date) -> ForecastDay:
    """The hours of one delivery day, oldest first; raises what the store raises."""
    market = subject.market
    window = Window(market.start_of(day), market.end_of(day))
    prices, issued = read_hours(store, subject, window)
    newest = max(issued.values(), key=lambda each: each.issued_at, default=None)
    return ForecastDay(
        model_name=subject.model,
        day=day,
        timezone=market.timezone,
        source=subject.source,
        issued_at=newest.issued_at if newest else None,
        version=newest.version if newest else None,
        backfilled=newest.backfilled if newest else None,
        due_at=market.issued_at(day),
        published_at=market.published_at(day),
        hours=[_hour(hour, prices.get(hour), issued.get(hour)) for hour in market.hours_of(day)],
    )


def _hour(hour: datetime, price: float | None, issued: FrozenForecast | None) -> ForecastHour:
    return ForecastHour(
        hour=hour,
        price=price,
        yhat=issued.yhat if issued else None,
        lower=issued.lower if issued else None,
        upper=issued.upper if issued else None,
    )
