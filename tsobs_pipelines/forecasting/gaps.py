"""Delivery days that lack prices, a forecast or an evaluation: what the healing sensor requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import isclose

from tsobs_pipelines.forecasting.delivery import DAY, Market, days_between
from tsobs_pipelines.forecasting.history_file import MetricsRow
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models.interface import Prices
from tsobs_pipelines.forecasting.scoring import (
    FrozenForecast,
    Subject,
    evaluate,
    frozen_from_rows,
    is_of_source,
    prices_from_rows,
    prices_window,
    window_of,
)
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

MINIMUM_PRICE_DAYS = 21
"""A day is forecast once so many of the days before it have prices: a week of lags and two of fitting."""

PATIENCE = timedelta(days=7)
"""Hours without a price are asked for so long; then the source has none, and a backfill by hand remains."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Delivery days, ascending, that lack something that is due."""

    prices: tuple[date, ...] = ()
    forecasts: tuple[date, ...] = ()
    evaluations: tuple[date, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.prices or self.forecasts or self.evaluations)


@dataclass(frozen=True, slots=True)
class DueDays:
    """The delivery days looked at: prices from ``first_price``, the rest from ``first``, up to ``last``."""

    first_price: date
    first: date
    last: date


def find_gaps(
    store: TimeSeriesStore,
    tracker: ModelMetricsTracker,
    subject: Subject,
    span: DueDays,
    now: datetime,
) -> Gaps:
    """What is due and absent.

    Raises:
        StoreUnavailableError: the store did not answer.
        HistoryError: the metrics history can't be read.
    """
    market = subject.market
    scored = prices_window(Window(market.start_of(span.first), market.end_of(span.last)))
    earliest = min(scored.start, market.start_of(span.first_price))
    known = store.read(PRICES, Window(earliest, scored.end), {"source": subject.source})
    of_model = {"source": subject.source, "model": subject.model}
    frozen = frozen_from_rows(store.read(FORECASTS, scored, of_model))
    return gaps(prices_from_rows(known), frozen, tracker.rows(subject.model), subject, span, now)


def gaps(
    prices: Prices,
    frozen: Sequence[FrozenForecast],
    history: Sequence[MetricsRow],
    subject: Subject,
    span: DueDays,
    now: datetime,
) -> Gaps:
    """The same, of data at hand."""
    market = subject.market
    wanted = list(days_between(span.first, span.last))
    forecast_hours = {each.hour for each in frozen}
    logged = {(row.window_start, row.window_end): row for row in history if is_of_source(row, subject.source)}
    lacking_forecast = tuple(
        day
        for day in wanted
        if now >= market.issued_at(day)
        and not forecast_hours.issuperset(market.hours_of(day))
        and has_enough_prices(prices, day, market)
    )
    evaluations = []
    for day in wanted:
        window = window_of(day, now, market)
        if window is None or market.end_of(day) > now:
            continue  # the day under way is the tick's affair
        found = evaluate(window, frozen, prices, market)
        if found is not None and not _same(logged.get((window.start, window.end)), found.metrics):
            evaluations.append(day)
    priced_days = list(days_between(span.first_price, span.last))
    return Gaps(lacking_prices(prices, priced_days, market, now), lacking_forecast, tuple(evaluations))


def lacking_prices(prices: Prices, wanted: Sequence[date], market: Market, now: datetime) -> tuple[date, ...]:
    """The days whose prices are out but not all here; of old days only those without any price."""
    lacking = []
    for day in wanted:
        hours = market.hours_of(day)
        here = sum(hour in prices for hour in hours)
        given_up = here > 0 and now >= market.end_of(day) + PATIENCE
        if here < len(hours) and now >= market.published_at(day) and not given_up:
            lacking.append(day)
    return tuple(lacking)


def has_enough_prices(prices: Prices, day: date, market: Market) -> bool:
    """Whether a forecast of the day can be tried: the days before it are priced, all or nearly."""
    before = [day - DAY * back for back in range(1, MINIMUM_PRICE_DAYS + 1)]
    priced = sum(any(hour in prices for hour in market.hours_of(each)) for each in before)
    return priced >= MINIMUM_PRICE_DAYS - 2


def _same(row: MetricsRow | None, metrics: object) -> bool:
    if row is None or not isinstance(metrics, dict):
        return False
    return all(
        (value is None and row.get(name) is None)
        or (value is not None and (old := row.get(name)) is not None and isclose(value, old, abs_tol=1e-12))
        for name, value in metrics.items()
    )
