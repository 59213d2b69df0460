"""Scoring: delivery days, fair forecasts, late and corrected prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.prices import MARKET
from tsobs_pipelines.forecasting import evaluation
from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market, days_between
from tsobs_pipelines.forecasting.gaps import DueDays, gaps, lacking_prices
from tsobs_pipelines.forecasting.history_file import MetricsRow
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models.interface import Prices
from tsobs_pipelines.forecasting.scoring import (
    FrozenForecast,
    Subject,
    evaluate,
    issue_moment,
    tracked_version,
    window_of,
)
from tsobs_pipelines.forecasting.verdict import judge
from tsobs_pipelines.timeseries.store import Window

TODAY = date(2026, 5, 12)
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
SUBJECT = Subject("demo", "m", MARKET)


def prices_of(first: date, last: date, shift: float = 0.0) -> dict[datetime, float]:
    """A price for each hour that tells hours apart."""
    hours = [hour for day in days_between(first, last) for hour in MARKET.hours_of(day)]
    return {hour: 0.05 + 0.001 * (step % 37) + shift for step, hour in enumerate(hours)}


def frozen_of(
    day: date, prices: Prices, error: float = 0.002, backfilled: bool = True
) -> list[FrozenForecast]:
    return [
        FrozenForecast(
            hour=hour,
            version="1",
            yhat=prices[hour] + error,
            lower=prices[hour] - 0.01,
            upper=prices[hour] + 0.01,
            issued_at=MARKET.issued_at(day),
            trained_to=MARKET.start_of(day),
            backfilled=backfilled,
        )
        for hour in MARKET.hours_of(day)
    ]


def test_delivery_days_have_23_24_and_25_hours() -> None:
    assert [len(MARKET.hours_of(day)) for day in (SPRING, TODAY, AUTUMN)] == [23, 24, 25]
    for day in (SPRING, TODAY, AUTUMN):
        assert {MARKET.day_of(hour) for hour in MARKET.hours_of(day)} == {day}
        assert MARKET.hours_of(day)[-1] + HOUR == MARKET.start_of(day + DAY)


def test_a_forecast_is_issued_before_its_prices_come_out() -> None:
    for day in days_between(date(2026, 1, 1), date(2026, 12, 31)):
        assert MARKET.issued_at(day) < MARKET.published_at(day) < MARKET.start_of(day)


def test_the_same_hour_before_over_clock_changes() -> None:
    def local(hour: datetime) -> str:
        return f"{hour.astimezone(MARKET.zone):%m-%d %H:%M%z}"

    autumn = MARKET.hours_of(AUTUMN)
    assert [local(MARKET.same_hour_before(hour, 1)) for hour in autumn[1:5]] == [
        "10-24 01:00+0200",
        "10-24 02:00+0200",
        "10-24 02:00+0200",
        "10-24 03:00+0200",
    ]
    monday = MARKET.hours_of(AUTUMN + DAY)
    assert local(MARKET.same_hour_before(monday[2], 1)) == "10-25 02:00+0100"
    after_spring = MARKET.hours_of(SPRING + DAY)
    # Sunday had no 2 o'clock: 24 hours earlier stands for it.
    assert MARKET.same_hour_before(after_spring[2], 1) == after_spring[2] - DAY
    assert local(MARKET.same_hour_before(after_spring[3], 1)) == "03-29 03:00+0200"


def test_the_window_is_24_hours_to_now_or_to_the_days_end() -> None:
    noon = datetime(2026, 5, 12, 10, 42, tzinfo=UTC)
    under_way = window_of(TODAY, noon, MARKET)
    past = window_of(TODAY - DAY, noon, MARKET)
    assert under_way is not None
    assert past is not None
    assert (under_way.start, under_way.end) == (noon.replace(minute=0) - DAY, noon.replace(minute=0))
    assert past.end == MARKET.end_of(TODAY - DAY)
    assert window_of(TODAY + DAY, noon, MARKET) is None


def test_metrics_of_a_day_are_those_of_pandas() -> None:
    prices = prices_of(TODAY - 30 * DAY, TODAY)
    frozen = [
        replace(each, yhat=each.yhat + 0.0007 * step) for step, each in enumerate(frozen_of(TODAY, prices))
    ]
    window = window_of(TODAY, MARKET.end_of(TODAY), MARKET)
    assert window is not None
    result = evaluate(window, frozen, prices, MARKET)
    assert result is not None
    series = pd.Series(prices)
    frame = pd.DataFrame(
        {
            "y": [prices[each.hour] for each in frozen],
            "f": [each.yhat for each in frozen],
            "low": [each.lower for each in frozen],
            "high": [each.upper for each in frozen],
        }
    )
    frame["naive"] = [series[each.hour - DAY] for each in frozen]
    before = series[series.index < window.start][-28 * 24 :]
    error = frame["f"] - frame["y"]
    expected = {
        "mae": error.abs().mean(),
        "rmse": np.sqrt((error**2).mean()),
        "r2": 1 - (error**2).sum() / ((frame["y"] - frame["y"].mean()) ** 2).sum(),
        "n": 24.0,
        "naive_mae": (frame["y"] - frame["naive"]).abs().mean(),
        "skill": 1 - error.abs().mean() / (frame["y"] - frame["naive"]).abs().mean(),
        "mase": error.abs().mean() / before.diff(24).abs().mean(),
        "coverage_80": frame["y"].between(frame["low"], frame["high"]).mean(),
        "backfilled": 24.0,
    }
    assert result.metrics == pytest.approx(expected)


def test_a_forecast_made_after_publication_is_never_scored_as_if_made_before() -> None:
    prices = prices_of(TODAY - 30 * DAY, TODAY)
    window = window_of(TODAY, MARKET.end_of(TODAY), MARKET)
    assert window is not None
    late = [replace(each, issued_at=MARKET.published_at(TODAY)) for each in frozen_of(TODAY, prices)]
    assert evaluate(window, late, prices, MARKET) is None
    own_day = [replace(each, trained_to=MARKET.start_of(TODAY) + HOUR) for each in frozen_of(TODAY, prices)]
    assert evaluate(window, own_day, prices, MARKET) is None
    mixed = [*late[:10], *frozen_of(TODAY, prices)[10:]]
    result = evaluate(window, mixed, prices, MARKET)
    assert result is not None
    assert result.metrics["n"] == 14
    assert result.refused == tuple(MARKET.hours_of(TODAY)[:10])


def test_what_is_made_after_publication_is_marked_as_backfilled() -> None:
    out = MARKET.published_at(TODAY)
    assert issue_moment(TODAY, out, MARKET) == (MARKET.issued_at(TODAY), True)
    assert issue_moment(TODAY, out - timedelta(seconds=1), MARKET) == (out - timedelta(seconds=1), False)


@pytest.mark.parametrize(
    ("day", "hours"), [(SPRING, 23), (AUTUMN, 25), (SPRING - DAY, 24), (AUTUMN + DAY, 24)]
)
def test_a_day_is_scored_by_its_own_hours(day: date, hours: int) -> None:
    prices = prices_of(day - 31 * DAY, day)
    frozen = [*frozen_of(day - DAY, prices), *frozen_of(day, prices)]
    window = window_of(day, MARKET.end_of(day), MARKET)
    assert window == Window(MARKET.start_of(day), MARKET.end_of(day))
    result = evaluate(window, frozen, prices, MARKET)
    assert result is not None
    assert result.metrics["n"] == hours
    assert result.metrics["mae"] == pytest.approx(0.002)
    assert result.metrics["naive_mae"] is not None


@pytest.mark.parametrize(
    "zone", ["Europe/Madrid", "Australia/Adelaide", "Australia/Lord_Howe", "Asia/Kathmandu"]
)
def test_the_days_of_a_year_leave_out_no_hour_and_take_none_twice(zone: str) -> None:
    market = Market(zone)
    now = datetime(2027, 1, 2, tzinfo=UTC)
    windows = [window_of(day, now, market) for day in days_between(date(2026, 1, 1), date(2026, 12, 31))]
    assert all(window is not None for window in windows)
    whole = [window for window in windows if window is not None]
    assert all(before.end == after.start for before, after in pairwise(whole))


def test_each_earlier_day_is_in_the_baseline_across_clock_changes(tmp_path: Path) -> None:
    for change in (SPRING, AUTUMN):
        tracker = ModelMetricsTracker(str(tmp_path / str(change)))
        first, last = change - 10 * DAY, change + 5 * DAY
        for day in days_between(first, last):
            window = window_of(day, MARKET.end_of(last), MARKET)
            assert window is not None
            tracker.log_metrics("m", {"mae": 0.01, "n": 23}, window=(window.start, window.end))
        verdict = judge(tracker.rows("m"))
        assert verdict is not None
        assert verdict.days == 15


def test_prices_that_come_in_pieces_are_scored_as_far_as_they_are_there() -> None:
    prices = prices_of(TODAY - 30 * DAY, TODAY)
    frozen = frozen_of(TODAY, prices)
    window = window_of(TODAY, MARKET.end_of(TODAY), MARKET)
    assert window is not None
    hours = MARKET.hours_of(TODAY)
    piecemeal = {hour: price for hour, price in prices.items() if hour not in hours[5:9]}
    result = evaluate(window, frozen, piecemeal, MARKET)
    assert result is not None
    assert result.metrics["n"] == 20
    assert result.without_price == tuple(hours[5:9])
    nothing = {hour: price for hour, price in prices.items() if hour not in hours}
    assert evaluate(window, frozen, nothing, MARKET) is None


def test_of_two_versions_in_a_window_only_the_newest_is_scored() -> None:
    prices = prices_of(TODAY - 30 * DAY, TODAY)
    frozen = [
        replace(each, version="2" if step >= 8 else "1") for step, each in enumerate(frozen_of(TODAY, prices))
    ]
    window = window_of(TODAY, MARKET.end_of(TODAY), MARKET)
    assert window is not None
    result = evaluate(window, frozen, prices, MARKET)
    assert result is not None
    assert (result.version, result.metrics["n"]) == ("2", 16)


def test_a_flat_day_has_no_r2_and_no_skill() -> None:
    prices = dict.fromkeys(prices_of(TODAY - 30 * DAY, TODAY), 0.0)
    window = window_of(TODAY, MARKET.end_of(TODAY), MARKET)
    assert window is not None
    result = evaluate(window, frozen_of(TODAY, prices), prices, MARKET)
    assert result is not None
    assert {name for name, value in result.metrics.items() if value is None} == {"r2", "skill", "mase"}


def test_rounding_noise_is_no_variation() -> None:
    """Means of four quarter-hours differ in their last bits where all prices are the same."""
    hours = prices_of(TODAY - 30 * DAY, TODAY)
    prices = {hour: 0.1 + step % 3 * 1.4e-17 for step, hour in enumerate(hours)}
    assert len(set(prices.values())) > 1
    window = window_of(TODAY, MARKET.end_of(TODAY), MARKET)
    assert window is not None
    result = evaluate(window, frozen_of(TODAY, prices), prices, MARKET)
    assert result is not None
    assert {name for name, value in result.metrics.items() if value is None} == {"r2", "skill", "mase"}
    assert result.metrics["naive_mae"] == 0.0


# What healing asks for.


def row_of(day: date, metrics: dict[str, float]) -> MetricsRow:
    start, end = MARKET.start_of(day), MARKET.end_of(day)
    return MetricsRow("m", tracked_version("1", "demo"), start, end, metrics, end)


def scored(day: date, frozen: Sequence[FrozenForecast], prices: Prices) -> MetricsRow:
    window = window_of(day, MARKET.end_of(day), MARKET)
    assert window is not None
    result = evaluate(window, frozen, prices, MARKET)
    assert result is not None
    return row_of(day, {name: value for name, value in result.metrics.items() if value is not None})


def test_gaps_are_what_is_due_and_absent() -> None:
    first = TODAY - 40 * DAY
    span = DueDays(first, TODAY - 3 * DAY, TODAY + DAY)
    now = datetime(2026, 5, 12, 8, tzinfo=UTC)
    prices = prices_of(first, TODAY)
    nothing = gaps({}, [], [], SUBJECT, span, now)
    assert len(nothing.prices) == 41
    assert nothing.forecasts == ()
    no_forecast = gaps(prices, [], [], SUBJECT, span, now)
    assert no_forecast.prices == ()
    assert no_forecast.forecasts == tuple(days_between(TODAY - 3 * DAY, TODAY))
    frozen = [each for day in days_between(TODAY - 3 * DAY, TODAY) for each in frozen_of(day, prices)]
    unscored = gaps(prices, frozen, [], SUBJECT, span, now)
    assert unscored.evaluations == tuple(days_between(TODAY - 3 * DAY, TODAY - DAY))
    rows = [scored(day, frozen, prices) for day in unscored.evaluations]
    assert not gaps(prices, frozen, rows, SUBJECT, span, now)
    # At 9 the forecast of tomorrow is due.
    later = now + HOUR
    assert gaps(prices, frozen, rows, SUBJECT, span, later).forecasts == (TODAY + DAY,)


def test_a_corrected_price_asks_for_an_evaluation_again() -> None:
    first = TODAY - 40 * DAY
    span = DueDays(first, TODAY - 3 * DAY, TODAY)
    now = datetime(2026, 5, 12, 8, tzinfo=UTC)
    prices = prices_of(first, TODAY)
    frozen = [each for day in days_between(TODAY - 3 * DAY, TODAY) for each in frozen_of(day, prices)]
    rows = [scored(day, frozen, prices) for day in days_between(TODAY - 3 * DAY, TODAY - DAY)]
    prices[MARKET.hours_of(TODAY - 2 * DAY)[4]] += 0.03
    # The day after as well: its naive forecast is made of the corrected price.
    assert gaps(prices, frozen, rows, SUBJECT, span, now).evaluations == (TODAY - 2 * DAY, TODAY - DAY)


def test_days_without_prices_are_asked_for_until_they_are_old() -> None:
    prices = prices_of(TODAY - 20 * DAY, TODAY)
    for hour in (*MARKET.hours_of(TODAY - DAY), *MARKET.hours_of(TODAY - 10 * DAY)[:3]):
        del prices[hour]
    now = datetime(2026, 5, 12, 8, tzinfo=UTC)
    wanted = list(days_between(TODAY - 20 * DAY, TODAY + DAY))
    assert lacking_prices(prices, wanted, MARKET, now) == (TODAY - DAY,)
    afternoon = now + 4 * HOUR
    assert lacking_prices(prices, wanted, MARKET, afternoon) == (TODAY - DAY, TODAY + DAY)


# The error measures, beside other people's.


def sample(seed: int, n: int = 240) -> tuple[list[float], list[float]]:
    numbers = np.random.default_rng(seed)
    actual = numbers.normal(50, 20, n)
    return actual.tolist(), (actual + numbers.normal(1, 6, n)).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_those_of_scikit_learn(seed: int) -> None:
    from sklearn import metrics  # noqa: PLC0415 - 1 s

    actual, forecast = sample(seed)
    assert evaluation.mae(actual, forecast) == pytest.approx(metrics.mean_absolute_error(actual, forecast))
    assert evaluation.rmse(actual, forecast) == pytest.approx(
        metrics.root_mean_squared_error(actual, forecast)
    )
    assert evaluation.r2(actual, forecast) == pytest.approx(metrics.r2_score(actual, forecast))


@pytest.mark.parametrize("seed", range(3))
def test_mase_and_coverage_are_those_of_utilsforecast(seed: int) -> None:
    from utilsforecast import losses  # noqa: PLC0415 - 1 s

    actual, forecast = sample(seed)
    times = pd.date_range("2026-01-01", periods=len(actual), freq="h")
    frame = pd.DataFrame({"unique_id": "a", "ds": times, "y": actual, "m": forecast})
    frame["m-lo-80"], frame["m-hi-80"] = frame["m"] - 7.0, frame["m"] + 7.0
    train, test = frame[:-24], frame[-24:]
    scale = evaluation.naive_scale(train["y"].tolist(), 24)
    assert scale is not None
    ours = evaluation.mase(test["y"].tolist(), test["m"].tolist(), scale)
    theirs = losses.mase(test, ["m"], seasonality=24, train_df=train[["unique_id", "ds", "y"]])
    assert ours == pytest.approx(theirs["m"].iloc[0])
    covered = losses.coverage(frame, ["m"], level=80)["m"].iloc[0]
    bounds = frame["m-lo-80"].tolist(), frame["m-hi-80"].tolist()
    assert evaluation.coverage(actual, *bounds) == pytest.approx(covered)


def test_mae_rmse_and_coverage_are_those_of_prophets_diagnostics() -> None:
    from prophet.metrics import performance_metrics  # noqa: PLC0415 - 3 s

    actual, forecast = sample(7)
    times = pd.date_range("2026-01-01", periods=len(actual), freq="h")
    frame = pd.DataFrame({"ds": times, "y": actual, "yhat": forecast, "cutoff": times[0]})
    frame["yhat_lower"], frame["yhat_upper"] = frame["yhat"] - 7.0, frame["yhat"] + 7.0
    table = performance_metrics(frame, metrics=["mae", "rmse", "coverage"], rolling_window=1)
    assert table is not None
    theirs = table.iloc[0]
    assert evaluation.mae(actual, forecast) == pytest.approx(theirs["mae"])
    assert evaluation.rmse(actual, forecast) == pytest.approx(theirs["rmse"])
    bounds = frame["yhat_lower"].tolist(), frame["yhat_upper"].tolist()
    assert evaluation.coverage(actual, *bounds) == pytest.approx(theirs["coverage"])


def test_undefined_measures_are_none_and_bad_input_is_refused() -> None:
    assert evaluation.r2([1.0], [1.0]) is None
    assert evaluation.r2([2.0, 2.0], [1.0, 3.0]) is None
    assert evaluation.mase([1.0], [2.0], 0.0) is None
    assert evaluation.naive_scale([1.0] * 24, 24) is None
    assert evaluation.skill(1.0, 0.0) is None
    with pytest.raises(ValueError, match="2 values against 1"):
        evaluation.mae([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no values"):
        evaluation.mae([], [])
    with pytest.raises(ValueError, match="value nan"):
        evaluation.rmse([float("nan")], [1.0])
