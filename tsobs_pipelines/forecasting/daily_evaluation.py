"""Evaluates delivery days: reads, scores, logs and judges, the same way for every caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from statistics import median

from tsobs_pipelines.forecasting.history_file import MetricsRow, format_time
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models.interface import Prices
from tsobs_pipelines.forecasting.scoring import (
    Evaluation,
    FrozenForecast,
    Subject,
    evaluate,
    frozen_from_rows,
    is_of_source,
    prices_from_rows,
    prices_window,
    tracked_version,
    window_of,
)
from tsobs_pipelines.forecasting.verdict import MINIMUM_DAYS, ForecastVerdict, baseline_rows, judge
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window


@dataclass(frozen=True, slots=True)
class EvaluatedDay:
    """One delivery day (or the 24 hours to now, on the day under way) and what came of evaluating it."""

    day: date
    state: str
    logged: bool
    evaluation: Evaluation | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    verdict: ForecastVerdict | None = None
    no_forecast: bool = False
    """Whether hours of the day are over and none of them was forecast."""
    hours: Sequence[FrozenForecast] = ()
    prices: Prices = field(default_factory=dict)


def evaluate_days(
    store: TimeSeriesStore,
    tracker: ModelMetricsTracker,
    subject: Subject,
    days: Sequence[date],
    now: datetime,
) -> list[EvaluatedDay]:
    """Evaluate the days (ascending, without a gap), each with the baseline of what was logged before it.

    Raises:
        StoreUnavailableError: the store did not answer.
        HistoryError: the metrics history can't be read.
    """
    source, model, market = subject.source, subject.model, subject.market
    windows = {day: window for day in days if (window := window_of(day, now, market)) is not None}
    if not windows:
        return [EvaluatedDay(day, "nothing of this day has been delivered yet", logged=False) for day in days]
    span = Window(min(each.start for each in windows.values()), max(each.end for each in windows.values()))
    prices = prices_from_rows(store.read(PRICES, prices_window(span), {"source": source}))
    frozen = frozen_from_rows(store.read(FORECASTS, span, {"source": source, "model": model}))
    found = []
    for day in days:
        window = windows.get(day)
        if window is None:
            found.append(EvaluatedDay(day, "nothing of this day has been delivered yet", logged=False))
        else:
            inside = [each for each in frozen if window.start <= each.hour < window.end]
            found.append(_evaluate_day(day, window, inside, prices, tracker, subject))
    return found


def _evaluate_day(
    day: date,
    window: Window,
    frozen: Sequence[FrozenForecast],
    prices: Prices,
    tracker: ModelMetricsTracker,
    subject: Subject,
) -> EvaluatedDay:
    result = evaluate(window, frozen, prices, subject.market)
    no_forecast = all(each.hour < subject.market.start_of(day) for each in frozen)
    if result is None:
        why = _why_nothing(frozen, prices, window)
        return EvaluatedDay(day, why, logged=False, no_forecast=no_forecast)
    version, model = tracked_version(result.version, subject.source), subject.model
    rows = tracker.rows(model, version)
    metrics = {**result.metrics, **_baseline(rows, window)}
    logged = tracker.log_metrics(model, metrics, version=version, window=(window.start, window.end))
    rows = tracker.rows(model, version)
    row = next(each for each in rows if (each.window_start, each.window_end) == (window.start, window.end))
    state = (
        f"scored {int(result.metrics['n'] or 0)} hours"
        if logged
        else f"unchanged since {format_time(row.logged_at)}"
    )
    return EvaluatedDay(
        day=day,
        state=state,
        logged=logged,
        evaluation=result,
        metrics=metrics,
        verdict=judge(rows, as_of=window.end),
        no_forecast=no_forecast,
        hours=sorted(frozen, key=lambda each: each.hour),
        prices=prices,
    )


def verdicts(rows: Sequence[MetricsRow], source: str) -> list[ForecastVerdict]:
    """The verdict on every window of the source's rows, the oldest first: what could be said at its end."""
    own = [row for row in rows if is_of_source(row, source)]
    found = (judge(own, as_of=row.window_end) for row in own)
    return [verdict for verdict in found if verdict is not None]


def _baseline(rows: Sequence[MetricsRow], window: Window) -> dict[str, float | None]:
    values = [row.metrics["mae"] for row in baseline_rows(rows, "mae", window.start)]
    return {
        "baseline_mae": median(values) if len(values) >= MINIMUM_DAYS else None,
        "baseline_days": float(len(values)),
    }


def _why_nothing(frozen: Sequence[FrozenForecast], prices: Prices, window: Window) -> str:
    if not frozen:
        return "no forecast for these hours"
    if not any(window.start <= hour < window.end for hour in prices):
        return "no actual prices for these hours yet"
    return "no hour has both a fair forecast and a price"
