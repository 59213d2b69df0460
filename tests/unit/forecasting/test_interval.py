"""The interval on synthetic errors whose size differs by hour and changes from day to day."""

from __future__ import annotations

import numpy as np
import pytest

from tsobs_pipelines.forecasting.models.features import Matrix
from tsobs_pipelines.forecasting.models.interval import interval


def covered(errors: Matrix, first: int) -> Matrix:
    """Whether each error from the day ``first`` on lies within the interval of the days before it."""
    found = []
    for day in range(first, len(errors)):
        low, high = interval(errors[:day])
        found.append((low <= errors[day]) & (errors[day] <= high))
    return np.array(found)


@pytest.fixture
def noise() -> Matrix:
    """400 days with heavy tails, three times as large in the evening as at night."""
    numbers = np.random.default_rng(3)
    return numbers.standard_t(4, (400, 24)) * np.linspace(1, 3, 24)


def test_eighty_per_cent_of_steady_errors_are_covered_at_every_hour(noise: Matrix) -> None:
    inside = covered(noise, 100)
    assert inside.mean() == pytest.approx(0.8, abs=0.03)
    assert all(0.72 < share < 0.88 for share in inside.mean(axis=0))


def test_errors_that_become_five_times_as_large_are_covered_again_within_a_month(noise: Matrix) -> None:
    noise[200:300] *= 5
    inside = covered(noise, 100).mean(axis=1)
    months = [inside[start : start + 30].mean() for start in range(0, 300, 30)]
    assert all(0.7 < month < 0.9 for month in months)


def test_the_interval_has_the_unit_of_the_errors(noise: Matrix) -> None:
    low, high = interval(noise)
    for factor in (0.001, 1000.0):
        scaled = interval(noise * factor)
        np.testing.assert_allclose(scaled, [low * factor, high * factor], rtol=1e-6)
    assert (low < high).all()


def test_skewed_errors_have_a_skewed_interval() -> None:
    errors = np.random.default_rng(1).exponential(1.0, (200, 24)) - 0.3
    low, high = interval(errors)
    assert (high > 2 * np.abs(low)).all()


def test_missing_errors_are_left_out_and_none_at_all_is_a_flat_interval(noise: Matrix) -> None:
    holes = noise.copy()
    holes[100] = np.nan
    holes[150:180, 2] = np.nan
    low, high = interval(holes)
    np.testing.assert_allclose(high - low, np.subtract(*interval(noise)[::-1]), rtol=0.2)
    flat = interval(np.zeros((60, 24)))
    assert np.abs(flat).max() == 0.0


@pytest.mark.parametrize("days", [2, 8, 14, 20])
def test_a_few_days_are_enough(noise: Matrix, days: int) -> None:
    low, high = interval(noise[:days])
    assert np.isfinite(low).all()
    assert np.isfinite(high).all()
