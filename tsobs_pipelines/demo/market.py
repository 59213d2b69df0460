"""A simulated day-ahead market: deterministic prices with daily, weekly and yearly cycles and shocks.

Once in 25 days the market is disturbed for three days: midday prices collapse and evening prices soar, each
day differently, so that a forecast from the days before degrades. Any 31 days contain one such period, so
that the first start shows a degradation.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from hashlib import blake2b
from math import cos, exp, pi

from tsobs_pipelines.forecasting.delivery import Market, days_between, market_of
from tsobs_pipelines.forecasting.prices.source import ALL_DAYS, MWH_PER_KWH, PricePoint, Probe
from tsobs_pipelines.settings import Settings

NAME = "demo"
SHOCK_EVERY_DAYS = 25
SHOCK_DAYS = 3
_WEEKDAYS = (1.0, 1.02, 1.03, 1.02, 1.0, 0.95, 0.91)


class DemoMarket:
    """The simulated market as a price source."""

    days_a_request = ALL_DAYS

    def __init__(self, market: Market) -> None:
        """Delivery days are those of ``market``."""
        self._market = market

    @property
    def name(self) -> str:
        """``demo``: every place that shows these prices says what they are."""
        return NAME

    def fetch(self, first: date, last: date) -> list[PricePoint]:
        """Every hour of these days, also of days to come: when they are published is the caller's affair."""
        return [
            PricePoint(hour, price_of(hour, self._market))
            for day in days_between(first, last)
            for hour in self._market.hours_of(day)
        ]

    def probe(self, day: date, timeout_s: float) -> Probe:
        """It is always there."""
        _ = day, timeout_s
        return Probe("the demo market (TSOBS_PRICE_SOURCE is unset)")


def open_market(_argument: str, settings: Settings) -> DemoMarket:
    """The simulated market, with the delivery days of the configured one."""
    return DemoMarket(market_of(settings))


def in_shock(day: date) -> bool:
    """Whether the market is disturbed on that day."""
    return day.toordinal() % SHOCK_EVERY_DAYS < SHOCK_DAYS


def price_of(hour: datetime, market: Market) -> float:
    """The price of one delivery hour, in EUR/kWh."""
    local = hour.astimezone(market.zone)
    day, clock = local.date(), local.hour + local.minute / 60
    season = 62 + 14 * cos(2 * pi * (day.timetuple().tm_yday - 20) / 365.25)
    level = season * _WEEKDAYS[6 if market.is_holiday(day) else day.weekday()] * (1 + 0.06 * _drift(day))
    price = level + 13 * _bump(clock, 9, 2.2) + 24 * _bump(clock, 21, 2.0) - 15 * _bump(clock, 4, 2.5)
    price -= 12 * _bump(clock, 14, 2.5)
    price += 5.0 * _noise("hour", hour.astimezone(UTC).isoformat())
    if _noise("spike", f"{day}") > 0.93:
        price += 40 * _bump(clock, 20, 0.8)
    if in_shock(day):
        price += 55 * (1 + 0.5 * _noise("shock", f"{day}")) * _bump(clock, 22, 3.0)
        price -= 60 * (1 + 0.5 * _noise("sun", f"{day}")) * _bump(clock, 13, 3.5)
    return round(max(0.0, price), 2) * MWH_PER_KWH


def _bump(clock: float, centre: float, width: float) -> float:
    distance = min(abs(clock - centre), 24 - abs(clock - centre))
    return exp(-0.5 * (distance / width) ** 2)


def _drift(day: date) -> float:
    """A slow wandering between -1 and 1: noise of the last ten days, the newest weighing most."""
    weights = [0.8**age for age in range(10)]
    values = [_noise("drift", f"{day.toordinal() - age}") for age in range(10)]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights) * 1.8


def _noise(kind: str, name: str) -> float:
    """A number between -1 and 1 that looks random and is always the same."""
    digest = blake2b(f"{kind}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**63 - 1.0
