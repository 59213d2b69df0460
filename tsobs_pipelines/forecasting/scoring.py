"""Scores frozen forecasts against actual prices: which hours are compared, and the metrics of a window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from tsobs_pipelines.forecasting import evaluation
from tsobs_pipelines.forecasting.delivery import HOUR, Market
from tsobs_pipelines.forecasting.history_file import MetricsRow
from tsobs_pipelines.forecasting.models.interface import Prices
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES, ForecastRow, PriceRow
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

TRAILING = timedelta(hours=24)
SCALE_SPAN = timedelta(days=28)
"""How much before the window the scale of MASE is taken from."""

SEASON_HOURS = 24


@dataclass(frozen=True, slots=True)
class Subject:
    """What is forecast by what: the price source, the model's name, and the market."""

    source: str
    model: str
    market: Market


@dataclass(frozen=True, slots=True)
class FrozenForecast:
    """One delivery hour as it was forecast; EUR/kWh, times in UTC."""

    hour: datetime
    version: str
    yhat: float
    lower: float
    upper: float
    issued_at: datetime
    trained_to: datetime
    backfilled: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The metrics of one window, and the hours that were not scored and why."""

    window: Window
    version: str
    metrics: Mapping[str, float | None]
    without_price: tuple[datetime, ...]
    without_forecast: tuple[datetime, ...]
    refused: tuple[datetime, ...]
    """Hours whose forecast knew, or could have known, their price."""


def window_of(day: date, now: datetime, market: Market) -> Window | None:
    """The hours of the day once it is over, 23 to 25; while it lasts, the 24 hours to its last full hour.

    None before its first hour is over.
    """
    start, end = market.start_of(day), market.end_of(day)
    if now >= end:
        return Window(start, end)
    full = market.hour_of(now)
    return Window(full - TRAILING, full) if full > start else None


def prices_window(window: Window) -> Window:
    """The span of prices that :func:`evaluate` looks at: the scale and the day before come first."""
    return Window(window.start - SCALE_SPAN - TRAILING - 2 * HOUR, window.end)


def evaluate(
    window: Window, forecasts: Sequence[FrozenForecast], prices: Prices, market: Market
) -> Evaluation | None:
    """Score the hours of the window that have both a price and a forecast made before its publication.

    Where versions changed within the window, the newest one is scored. ``None`` when no hour can be scored.
    Metrics: ``mae``, ``rmse``, ``r2``, ``n``, ``naive_mae`` (same hour the day before), ``skill``, ``mase``,
    ``coverage_80`` and ``backfilled`` (how many of the hours were forecast after the fact).
    """
    hours = [window.start + HOUR * step for step in range(-(-(window.end - window.start) // HOUR))]
    inside = {each.hour: each for each in forecasts if window.start <= each.hour < window.end}
    refused = tuple(hour for hour in hours if hour in inside and is_leaking(inside[hour], market))
    fair = [inside[hour] for hour in hours if hour in inside and hour not in refused]
    version = fair[-1].version if fair else ""
    scored = [each for each in fair if each.version == version and each.hour in prices]
    if not scored:
        return None
    actual = [prices[each.hour] for each in scored]
    yhat = [each.yhat for each in scored]
    error = evaluation.mae(actual, yhat)
    scale = _scale(window, prices)
    metrics: dict[str, float | None] = {
        "mae": error,
        "rmse": evaluation.rmse(actual, yhat),
        "r2": evaluation.r2(actual, yhat),
        "n": float(len(scored)),
        **_beside_naive(scored, prices, market),
        "mase": evaluation.mase(actual, yhat, scale) if scale is not None else None,
        "coverage_80": evaluation.coverage(
            actual, [each.lower for each in scored], [each.upper for each in scored]
        ),
        "backfilled": float(sum(each.backfilled for each in scored)),
    }
    return Evaluation(
        window=window,
        version=version,
        metrics=metrics,
        without_price=tuple(hour for hour in hours if hour not in prices),
        without_forecast=tuple(hour for hour in hours if hour not in inside),
        refused=refused,
    )


def tracked_version(version: str, source: str) -> str:
    """The version in the metrics history: a model on other prices is another one, demo prices above all."""
    return f"{version}@{source}"


def is_of_source(row: MetricsRow, source: str) -> bool:
    """Whether the row was scored on prices of the source."""
    return row.version.partition("@")[2] == source


def is_leaking(forecast: FrozenForecast, market: Market) -> bool:
    """Whether the forecast was issued when its price was out, or trained on its own day."""
    day = market.day_of(forecast.hour)
    return forecast.issued_at >= market.published_at(day) or forecast.trained_to > market.start_of(day)


def forecast_rows(forecasts: Sequence[FrozenForecast], source: str, model: str) -> list[ForecastRow]:
    """Rows of the measurement ``price_forecasts``."""
    return [
        ForecastRow(
            time=each.hour,
            source=source,
            model=model,
            version=each.version,
            yhat=each.yhat,
            yhat_lower=each.lower,
            yhat_upper=each.upper,
            issued_at=int(each.issued_at.timestamp()),
            trained_to=int(each.trained_to.timestamp()),
            backfilled=int(each.backfilled),
        )
        for each in forecasts
    ]


def frozen_from_rows(rows: Sequence[ForecastRow]) -> list[FrozenForecast]:
    """The forecasts in rows of the measurement ``price_forecasts``; a row that lacks a value is left out."""
    return [forecast for row in rows if (forecast := _frozen(row)) is not None]


def _frozen(row: ForecastRow) -> FrozenForecast | None:
    if row.yhat is None or row.yhat_lower is None or row.yhat_upper is None:
        return None
    if row.issued_at is None or row.trained_to is None:
        return None
    return FrozenForecast(
        hour=row.time,
        version=row.version,
        yhat=row.yhat,
        lower=row.yhat_lower,
        upper=row.yhat_upper,
        issued_at=datetime.fromtimestamp(row.issued_at, UTC),
        trained_to=datetime.fromtimestamp(row.trained_to, UTC),
        backfilled=bool(row.backfilled),
    )


def prices_from_rows(rows: Sequence[PriceRow]) -> dict[datetime, float]:
    """The prices in rows of the measurement ``electricity_prices``, by hour."""
    return {row.time: row.price for row in rows if row.price is not None}


def read_hours(
    store: TimeSeriesStore, subject: Subject, window: Window
) -> tuple[dict[datetime, float], dict[datetime, FrozenForecast]]:
    """The prices (EUR/kWh) and the frozen forecasts in a window, by hour; raises what the store raises."""
    source = {"source": subject.source}
    rows = store.read(FORECASTS, window, source | {"model": subject.model})
    prices = prices_from_rows(store.read(PRICES, window, source))
    return prices, {each.hour: each for each in frozen_from_rows(rows)}


def issue_moment(day: date, now: datetime, market: Market) -> tuple[datetime, bool]:
    """When the day's forecast, made now, counts as issued, and whether it is backfilled.

    Made before its prices come out it is issued now; made later it is one that would have been issued at
    09:00 UTC of the day before, and is marked.
    """
    if now < market.published_at(day):
        return now.astimezone(UTC).replace(microsecond=0), False
    return market.issued_at(day), True


def _beside_naive(
    scored: Sequence[FrozenForecast], prices: Prices, market: Market
) -> dict[str, float | None]:
    """The naive forecast over the hours for which it has a price, and the skill over the same hours."""
    pairs = [
        (prices[each.hour], each.yhat, prices[before])
        for each in scored
        if (before := market.same_hour_before(each.hour, 1)) in prices
    ]
    if not pairs:
        return {"naive_mae": None, "skill": None}
    actual = [pair[0] for pair in pairs]
    naive = evaluation.mae(actual, [pair[2] for pair in pairs])
    return {
        "naive_mae": naive,
        "skill": evaluation.skill(evaluation.mae(actual, [pair[1] for pair in pairs]), naive),
    }


def _scale(window: Window, prices: Prices) -> float | None:
    """The seasonal naive forecast's error in the 28 days before the window, over the hours that have both."""
    count = round(SCALE_SPAN / HOUR)
    hours = [window.start - HOUR * step for step in range(count, 0, -1)]
    pairs = [
        (prices[hour], prices[before])
        for hour in hours[SEASON_HOURS:]
        if hour in prices and (before := hour - HOUR * SEASON_HOURS) in prices
    ]
    if len(pairs) < SEASON_HOURS * 7:
        return None
    return evaluation.mae([pair[0] for pair in pairs], [pair[1] for pair in pairs])
