"""Delivery days in every kind of zone, holidays, publication of prices and issue of forecasts."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsobs_pipelines.forecasting.delivery import DAY, HOUR, ClockTime, Market, days_between
from tsobs_pipelines.forecasting.models.features import kinds_of
from tsobs_pipelines.forecasting.scoring import window_of

HALF_HOUR_ZONES = ("Asia/Kolkata", "Australia/Adelaide", "America/St_Johns", "Asia/Kathmandu")
ZONES = sorted(zone for zone in available_timezones() if "/" in zone)


@pytest.mark.parametrize("zone", HALF_HOUR_ZONES)
def test_hours_are_counted_from_the_markets_midnight(zone: str) -> None:
    market = Market(zone)
    for day in days_between(date(2026, 1, 1), date(2026, 12, 31)):
        hours = market.hours_of(day)
        assert hours[0].astimezone(market.zone).time() == time(0, 0)
        assert all(hour.astimezone(market.zone).minute == 0 for hour in hours)
        assert all(market.hour_of(hour + timedelta(minutes=59)) == hour for hour in hours)


def test_the_window_to_now_ends_on_a_delivery_hour() -> None:
    market = Market("Asia/Kolkata")
    now = datetime(2026, 5, 12, 10, 42, tzinfo=UTC)
    window = window_of(date(2026, 5, 12), now, market)
    assert window is not None
    assert window.end == datetime(2026, 5, 12, 10, 30, tzinfo=UTC)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ZONES), st.dates(date(1990, 1, 1), date(2037, 12, 30)))
def test_the_hours_of_following_days_follow_one_another_in_every_zone(zone: str, day: date) -> None:
    market = Market(zone)
    hours = market.hours_of(day)
    assert all(market.day_of(hour) == day and market.hour_of(hour) == hour for hour in hours)
    assert not hours or hours[-1] < market.start_of(day + DAY) <= hours[-1] + HOUR


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ZONES), st.dates(date(2020, 1, 1), date(2035, 12, 30)))
def test_a_forecast_is_issued_on_the_day_before_and_before_its_prices(zone: str, day: date) -> None:
    market = Market(zone)
    at = market.issued_at(day)
    assert market.start_of(day - DAY) <= at < market.published_at(day) < market.start_of(day)
    assert market.day_to_issue(at) == day


@pytest.mark.parametrize(
    ("zone", "country", "publication"),
    [
        ("Europe/Madrid", "ES", ClockTime(time(12, 45), "Europe/Brussels")),
        ("Atlantic/Canary", "ES", ClockTime(time(12, 45), "Europe/Brussels")),
        ("Europe/Helsinki", "FI", ClockTime(time(12, 45), "Europe/Brussels")),
        ("Europe/London", "GB", ClockTime(time(9, 30), "Europe/London")),
        ("Asia/Calcutta", "IN", ClockTime(time(12, 45), "Asia/Calcutta")),
        ("UTC", None, ClockTime(time(12, 45), "UTC")),
        ("CET", None, ClockTime(time(12, 45), "CET")),
    ],
)
def test_country_and_publication_follow_the_zone(
    zone: str, country: str | None, publication: ClockTime
) -> None:
    market = Market(zone)
    assert (market.home, market.publication) == (country, publication)


def test_forecasts_of_spain_are_issued_at_9_utc_and_those_of_early_auctions_before_them() -> None:
    assert Market("Europe/Madrid").issue == ClockTime(time(9, 0), "UTC")
    assert Market("Europe/London").issue == ClockTime(time(8, 30), "Europe/London")
    assert Market("Asia/Kolkata").issue == ClockTime(time(11, 45), "Asia/Kolkata")


def test_holidays_are_those_of_the_market() -> None:
    bastille, assumption = date(2026, 7, 14), date(2026, 8, 15)
    assert Market("Europe/Paris").is_holiday(bastille)
    assert not Market("Europe/Madrid").is_holiday(bastille)
    assert Market("Europe/Madrid", "FR").is_holiday(bastille)
    assert kinds_of(bastille, Market("Europe/Paris"))["sunday"]
    assert not kinds_of(bastille, Market("Europe/Madrid"))["sunday"]
    assert Market("Europe/Madrid").is_holiday(assumption)
    assert not Market("UTC").is_holiday(assumption)
    assert not Market("Asia/Pyongyang").is_holiday(bastille), "unknown holidays are none"
