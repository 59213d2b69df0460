"""The regression of each hour: its scaling, and its accuracy and interval on real prices."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from tests.support.prices import MARKET, real_prices
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.models.features import Matrix, PriceDays, lay_out
from tsobs_pipelines.forecasting.models.hourly_ridge import fit_hourly_ridge
from tsobs_pipelines.forecasting.models.interface import Prices
from tsobs_pipelines.forecasting.models.interval import interval

TODAY = date(2016, 5, 12)
WINDOW = 371


@pytest.fixture(scope="module")
def prices() -> Prices:
    return real_prices(date(2015, 1, 1), date(2016, 12, 31))


def forecast(days: PriceDays, day: date) -> Matrix:
    ridge, _ = fit_hourly_ridge(days, MARKET)
    return ridge.predict(days.bridged, day, MARKET)[0]


def changed(days: PriceDays, factor: float, shift: float = 0.0) -> PriceDays:
    return PriceDays(days.first, days.observed * factor + shift, days.bridged * factor + shift)


@pytest.mark.parametrize(("factor", "shift"), [(4.0, 0.0), (0.01, 0.0), (1.0, -0.08), (7.5, 0.3)])
def test_another_unit_or_level_of_prices_gives_the_same_forecast_in_that_unit(
    prices: Prices, factor: float, shift: float
) -> None:
    days = lay_out(prices, TODAY, WINDOW, MARKET)
    expected = forecast(days, TODAY) * factor + shift
    np.testing.assert_allclose(forecast(changed(days, factor, shift), TODAY), expected, rtol=1e-6, atol=1e-9)


def test_a_market_that_has_become_dear_is_forecast_in_its_new_prices(prices: Prices) -> None:
    """All prices of the last fortnight are five times what they would have been."""
    days = lay_out(prices, TODAY, WINDOW, MARKET)
    factor = np.where(np.arange(WINDOW) >= WINDOW - 14, 5.0, 1.0)[:, None]
    dear = PriceDays(days.first, days.observed * factor, days.bridged * factor)
    before, after = forecast(days, TODAY), forecast(dear, TODAY)
    np.testing.assert_allclose(after, before * 5, rtol=0.25)


def test_a_hole_is_not_fitted_on_and_errors_say_where_it_is(prices: Prices) -> None:
    hole = TODAY - 40 * DAY
    known = {hour: price for hour, price in prices.items() if MARKET.day_of(hour) != hole}
    days = lay_out(known, TODAY, WINDOW, MARKET)
    _, errors = fit_hourly_ridge(days, MARKET)
    assert errors.shape == (WINDOW - 7, 24)
    assert np.isnan(errors[-40]).all()
    assert np.isnan(errors).sum() <= 24 + 1 + 1  # the hole, and the hours that two spring nights skipped


def test_real_months_are_forecast_better_than_by_repeating_yesterday_and_covered_by_the_interval(
    prices: Prices,
) -> None:
    """The regression alone, on every second day of four months of the year that it was not chosen on."""
    errors, naive, inside = [], [], []
    for step in range(0, 122, 2):
        day = date(2016, 9, 1) + DAY * step
        days = lay_out(prices, day, WINDOW, MARKET)
        ridge, left_out = fit_hourly_ridge(days, MARKET)
        made, unit = ridge.predict(days.bridged, day, MARKET)
        low, high = interval(left_out)
        actual = lay_out(prices, day + DAY, 1, MARKET).observed[0]
        errors.append(np.abs(made - actual))
        naive.append(np.abs(days.bridged[-1] - actual))
        inside.append((made + low * unit <= actual) & (actual <= made + high * unit))
    assert np.sum(errors) / np.sum(naive) < 0.72
    assert 0.72 < np.mean(inside) < 0.88


def test_errors_of_days_left_out_are_those_of_fits_without_them(prices: Prices) -> None:
    """The closed form against a fit without the day: on the mean of 20 days, whose penalty is the same."""
    days = lay_out(prices, TODAY, 190, MARKET)
    _, errors = fit_hourly_ridge(days, MARKET)
    checked = []
    for back in range(10, 30):
        observed = days.observed.copy()
        observed[-back] = np.nan  # the lags of later days keep its prices
        _, without = fit_hourly_ridge(PriceDays(days.first, observed, days.bridged), MARKET)
        assert np.isnan(without[-back]).all()
        others = np.delete(np.arange(len(errors)), len(errors) - back)
        checked.append(np.nanmean(np.abs(errors[others])) / np.nanmean(np.abs(without[others])))
    assert np.mean(checked) == pytest.approx(1.0, abs=0.01)
