"""Forecasts of markets that are constant, jump, or have an absurd price."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime

import pytest

from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market
from tsobs_pipelines.forecasting.models.interface import HourForecast, Prices
from tsobs_pipelines.forecasting.models.prophet_model import ProphetPriceForecast

MARKET = Market("Europe/Madrid")
MODEL = ProphetPriceForecast()
TODAY = date(2025, 6, 12)
YESTERDAY = MARKET.hours_of(TODAY - DAY)
PRICE_CAP, PRICE_FLOOR = 4.0, -0.5
"""EUR/kWh: the harmonised limits of the European day-ahead auction."""


def usual(days: int = 100) -> dict[datetime, float]:
    """Prices of 30 to 70 EUR/MWh: a wave over the day and cheaper Sundays."""
    prices = {}
    hour = MARKET.start_of(TODAY - DAY * days)
    while hour < MARKET.start_of(TODAY):
        local = hour.astimezone(MARKET.zone)
        wave = 0.015 * math.sin(2 * math.pi * (local.hour - 9) / 24)
        wobble = 0.004 * math.sin(hour.timestamp() / 3600 * 1.7)
        prices[hour] = 0.05 + wave + wobble - 0.01 * (local.weekday() == 6)
        hour += HOUR
    return prices


def forecast(prices: Prices) -> list[HourForecast]:
    return MODEL.predict(MODEL.fit(prices, TODAY, MARKET), prices, MARKET)


@pytest.mark.parametrize("price", [0.05, 0.0, -0.02, 4.0])
def test_a_market_that_stands_still_has_a_flat_forecast(price: float) -> None:
    made = forecast(dict.fromkeys(usual(), price))
    assert len(made) == 24
    for each in made:
        assert each.yhat == pytest.approx(price, abs=1e-6)
        assert each.lower == pytest.approx(price, abs=1e-6)
        assert each.upper == pytest.approx(price, abs=1e-6)


def test_a_market_that_has_come_to_stand_still_has_a_nearly_flat_forecast() -> None:
    still = MARKET.start_of(TODAY - DAY * 63)
    made = forecast({hour: price if hour < still else 0.05 for hour, price in usual().items()})
    assert all(each.yhat == pytest.approx(0.05, abs=0.002) for each in made)


def test_prices_that_are_mostly_zero_have_a_forecast_near_zero() -> None:
    prices = {hour: price if hour.hour == 20 else 0.0 for hour, price in usual().items()}
    made = forecast(prices)
    assert all(-0.01 <= each.yhat <= 0.08 for each in made)


def whole_day(price: float) -> Callable[[datetime], float | None]:
    return lambda hour: price if hour in YESTERDAY else None


def last_hour(price: float) -> Callable[[datetime], float | None]:
    return lambda hour: price if hour == YESTERDAY[-1] else None


@pytest.mark.parametrize("price", [PRICE_CAP, PRICE_FLOOR, 40.0, -5.0])
@pytest.mark.parametrize("steady", [False, True])
def test_a_day_of_absurd_prices_gives_no_absurd_forecast(price: float, steady: bool) -> None:
    upset = whole_day(price)
    before = dict.fromkeys(usual(), 0.05) if steady else usual()
    made = forecast({hour: value if (new := upset(hour)) is None else new for hour, value in before.items()})
    for each in made:
        assert PRICE_FLOOR <= each.lower <= each.yhat <= each.upper <= PRICE_CAP
        assert min(0.0, price) - 0.1 <= each.yhat <= max(0.1, 0.5 * price)


@pytest.mark.parametrize(
    ("price", "count", "days"), [(PRICE_CAP, 2, 200), (PRICE_CAP, 3, 100), (PRICE_FLOOR, 4, 30)]
)
def test_some_days_of_absurd_prices_lead_to_nothing_that_no_auction_can_give(
    price: float, count: int, days: int
) -> None:
    upset = MARKET.start_of(TODAY - DAY * count)
    made = forecast({hour: value if hour < upset else price for hour, value in usual(days).items()})
    for each in made:
        assert PRICE_FLOOR <= each.lower <= each.yhat <= each.upper <= PRICE_CAP


def test_a_market_beyond_the_usual_limits_may_stay_there() -> None:
    made = forecast(dict.fromkeys(usual(), 4.5))
    assert all(each.yhat == pytest.approx(4.5, abs=1e-6) for each in made)


@pytest.mark.parametrize("price", [PRICE_CAP, PRICE_FLOOR])
@pytest.mark.parametrize("steady", [False, True])
def test_one_spike_hardly_moves_the_forecast(price: float, steady: bool) -> None:
    upset = last_hour(price)
    before = dict.fromkeys(usual(), 0.05) if steady else usual()
    made = forecast({hour: value if (new := upset(hour)) is None else new for hour, value in before.items()})
    for each in made:
        assert -0.1 <= each.yhat <= 0.25
        assert PRICE_FLOOR <= each.lower <= each.yhat <= each.upper <= PRICE_CAP
