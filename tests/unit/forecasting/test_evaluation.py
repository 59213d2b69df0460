"""The error measures against other implementations, and edge cases."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prophet.metrics import performance_metrics
from sklearn import metrics as sk
from utilsforecast import losses

from tsobs_pipelines.forecasting.evaluation import coverage, mae, mase, naive_scale, r2, rmse, skill

PRICES = st.floats(-0.5, 3.0).map(lambda value: round(value, 6))
PAIRS = st.lists(st.tuples(PRICES, PRICES), min_size=2, max_size=60)


def split(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [one for one, _ in pairs], [two for _, two in pairs]


@settings(deadline=None, max_examples=50)
@given(PAIRS)
def test_mae_rmse_and_r2_agree_with_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    actual, forecast = split(pairs)
    assert mae(actual, forecast) == pytest.approx(sk.mean_absolute_error(actual, forecast))
    assert rmse(actual, forecast) == pytest.approx(sk.root_mean_squared_error(actual, forecast))
    ours = r2(actual, forecast)
    if ours is None:
        assert min(actual) == max(actual)
    else:
        theirs = sk.r2_score(actual, forecast, force_finite=False)
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(PRICES, min_size=30, max_size=60).filter(lambda series: series[24:] != series[:-24]),
    st.lists(st.tuples(PRICES, PRICES), min_size=1, max_size=24),
)
def test_mase_agrees_with_utilsforecast(series: list[float], pairs: list[tuple[float, float]]) -> None:
    actual, forecast = split(pairs)
    test = pd.DataFrame({"unique_id": "m", "ds": range(len(actual)), "y": actual, "model": forecast})
    train = pd.DataFrame({"unique_id": "m", "ds": range(-len(series), 0), "y": series})
    theirs = losses.mase(test, models=["model"], seasonality=24, train_df=train)["model"].iloc[0]
    scale = naive_scale(series, 24)
    assert scale is not None
    assert mase(actual, forecast, scale) == pytest.approx(theirs, rel=1e-6)
    assert mae(actual, forecast) == pytest.approx(losses.mae(test, models=["model"])["model"].iloc[0])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(PRICES, PRICES, PRICES), min_size=1, max_size=40))
def test_coverage_agrees_with_utilsforecast_and_prophet(triples: list[tuple[float, float, float]]) -> None:
    actual = [each[0] for each in triples]
    lower = [min(each[1:]) for each in triples]
    upper = [max(each[1:]) for each in triples]
    middle = [(low + high) / 2 for low, high in zip(lower, upper, strict=True)]
    ours = coverage(actual, lower, upper)
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - Prophet takes naive times
    frame = pd.DataFrame(
        {
            "unique_id": "m",
            "ds": [start + timedelta(hours=step) for step in range(len(actual))],
            "y": actual,
            "yhat": middle,
            "yhat_lower": lower,
            "yhat_upper": upper,
            "model-lo-80": lower,
            "model-hi-80": upper,
            "cutoff": start - timedelta(hours=1),
        }
    )
    theirs = losses.coverage(frame, models=["model"], level=80)["model"].iloc[0]
    assert ours == pytest.approx(theirs)
    found = performance_metrics(frame, metrics=["mae", "rmse", "coverage"], rolling_window=1)
    assert found is not None
    assert found["coverage"].iloc[0] == pytest.approx(ours)
    assert found["mae"].iloc[0] == pytest.approx(mae(actual, middle))
    assert found["rmse"].iloc[0] == pytest.approx(rmse(actual, middle))


def test_a_flat_day_has_no_r2_and_one_value_none_either() -> None:
    assert r2([0.05] * 24, [0.04] * 24) is None
    assert r2([0.05], [0.05]) is None
    assert r2([0.0, 1e-200], [0.0, 0.0]) is None
    assert r2([1.0, 2.0], [1.0, 2.0]) == 1.0


@pytest.mark.parametrize("price", [0.05, 0.1 + 0.2, 4.0, 0.0, -0.02])
def test_rounding_noise_is_no_variation_and_no_error(price: float) -> None:
    noisy = [price + sign * 2e-16 * max(abs(price), 0.1) for sign in (-1, 0, 1)] * 8
    assert len(set(noisy)) > 1
    assert r2(noisy, [0.06] * 24) is None
    assert mae(noisy, [price] * 24) == 0.0
    assert rmse(noisy, [price] * 24) == 0.0
    assert naive_scale([*noisy, *reversed(noisy)], 24) == 0.0


@pytest.mark.parametrize("step", [1e-14, 2e-13, 1e-12, 1e-11])
def test_variation_far_below_the_step_of_a_price_has_no_r2(step: float) -> None:
    assert r2([0.05 + step * hour for hour in range(24)], [0.04] * 24) is None


def test_the_smallest_step_of_a_price_is_variation() -> None:
    assert r2([4.0] * 23 + [4.00001], [4.0] * 24) is not None
    assert mae([4.0], [4.00001]) == pytest.approx(0.00001)


def test_one_value_has_every_other_measure() -> None:
    assert mae([0.1], [0.3]) == pytest.approx(0.2)
    assert rmse([0.1], [0.3]) == pytest.approx(0.2)
    assert coverage([0.1], [0.1], [0.1]) == 1.0


def test_without_a_reference_error_there_is_no_scaled_one() -> None:
    assert mase([0.1], [0.2], 0.0) is None
    assert skill(0.1, 0.0) is None
    assert naive_scale([0.1] * 24, 24) is None
    assert naive_scale([0.1] * 25, 24) == 0.0
    assert skill(0.01, 0.02) == 0.5


@pytest.mark.parametrize("scale", [-1.0, math.nan, math.inf])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="scale="):
        mase([0.1], [0.2], scale)


@pytest.mark.parametrize("measure", [mae, rmse, r2])
def test_what_can_not_be_compared_is_refused(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match="no values"):
        measure([], [])
    with pytest.raises(ValueError, match="1 values against 2"):
        measure([0.1], [0.1, 0.2])
    with pytest.raises(ValueError, match="nan"):
        measure([0.1, float(np.nan)], [0.1, 0.2])
