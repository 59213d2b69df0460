"""The model on a made-up market: what it needs, what it may see, and what it leaves behind."""

from __future__ import annotations

import logging
import math
import tempfile
from datetime import date, datetime
from pathlib import Path

import pytest

from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market
from tsobs_pipelines.forecasting.models.interface import FittedModel, HourForecast, NotEnoughPricesError
from tsobs_pipelines.forecasting.models.prophet_model import Parameters, ProphetPriceForecast

MARKET = Market("Europe/Madrid")
MODEL = ProphetPriceForecast()
SPRING, AUTUMN = date(2025, 3, 30), date(2025, 10, 26)


def market_prices(day: date, days: int) -> dict[datetime, float]:
    """Prices of the days before ``day``: a wave over the day, cheap Sundays, and a slow drift."""
    prices = {}
    hour = MARKET.start_of(day - DAY * days)
    while hour < MARKET.start_of(day):
        local = hour.astimezone(MARKET.zone)
        level = 0.06 + 0.01 * math.sin(hour.timestamp() / 86400 / 9) - 0.02 * (local.weekday() == 6)
        wobble = 0.004 * math.sin(hour.timestamp() / 3600 * 1.7)
        prices[hour] = level + 0.02 * math.sin(2 * math.pi * (local.hour - 9) / 24) + wobble
        hour += HOUR
    return prices


def forecast(prices: dict[datetime, float], day: date) -> tuple[FittedModel, list[HourForecast]]:
    fitted = MODEL.fit(prices, day, MARKET)
    return fitted, MODEL.predict(fitted, prices, MARKET)


@pytest.mark.parametrize(
    ("day", "count"), [(SPRING, 23), (AUTUMN, 25), (AUTUMN + DAY, 24), (SPRING + DAY, 24)]
)
def test_every_hour_of_a_day_is_forecast(day: date, count: int) -> None:
    later = market_prices(day + DAY, 60)
    _, made = forecast({hour: price for hour, price in later.items() if MARKET.day_of(hour) < day}, day)
    assert [each.hour for each in made] == MARKET.hours_of(day)
    assert len(made) == count
    assert all(each.lower <= each.yhat <= each.upper for each in made)
    errors = [abs(each.yhat - later[each.hour]) for each in made]
    naive = [abs(later[MARKET.same_hour_before(each.hour, 1)] - later[each.hour]) for each in made]
    assert sum(errors) < sum(naive)


def test_the_same_prices_give_the_same_bytes_and_later_prices_change_none() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    noisy = prices | dict.fromkeys(market_prices(day + DAY * 3, 3), 9.0)
    first, made = forecast(prices, day)
    second, again = forecast(noisy, day)
    assert first.to_json() == second.to_json()
    assert made == again


def test_a_model_read_from_its_file_forecasts_the_same_to_the_last_bit() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    fitted, made = forecast(prices, day)
    read = FittedModel.from_json(fitted.to_json())
    assert read.to_json() == fitted.to_json()
    assert MODEL.predict(read, prices, MARKET) == made
    assert len(fitted.to_json()) < 100_000
    assert fitted.trained_to == MARKET.start_of(day)


def test_holes_are_bridged_for_a_week_and_not_fitted_on() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    holes = {hour: price for hour, price in prices.items() if not 5 <= (day - MARKET.day_of(hour)).days <= 7}
    fitted, made = forecast(holes, day)
    assert len(made) == 24
    assert fitted.rows == MODEL.fit(prices, day, MARKET).rows - 3 * 24


def test_too_few_prices_are_named() -> None:
    day = date(2025, 6, 12)
    with pytest.raises(NotEnoughPricesError, match=r"312 hours before 2025-06-12 .* at least 336"):
        MODEL.fit(market_prices(day, 20), day, MARKET)
    assert MODEL.fit(market_prices(day, 21), day, MARKET).rows == 14 * 24
    with pytest.raises(NotEnoughPricesError):
        MODEL.fit({}, day, MARKET)


def test_a_forecast_without_the_week_before_is_refused() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    fitted = MODEL.fit(prices, day, MARKET)
    old = {hour: price for hour, price in prices.items() if (day - MARKET.day_of(hour)).days > 9}
    with pytest.raises(NotEnoughPricesError, match="no price within a week"):
        MODEL.predict(fitted, old, MARKET)


def test_a_fit_leaves_no_temporary_file_and_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 40)
    MODEL.fit(prices, day, MARKET)
    before = files()
    with caplog.at_level(logging.INFO):
        forecast(prices, day)
    assert files() == before
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


def files() -> set[Path]:
    """Files that fits of this process have left: cmdstanpy keeps one folder for a process."""
    from cmdstanpy import _TMPDIR  # noqa: PLC0415 - its only name

    assert Path(_TMPDIR).is_relative_to(tempfile.gettempdir())
    return {path for path in Path(_TMPDIR).rglob("*") if path.is_file()}


def test_the_version_changes_with_the_parameters() -> None:
    assert ProphetPriceForecast(parameters=Parameters(windows=(56,))).version != MODEL.version
    assert ProphetPriceForecast().version == MODEL.version
