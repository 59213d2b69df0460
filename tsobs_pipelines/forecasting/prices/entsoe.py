"""Prices of any European bidding zone from ENTSO-E's transparency platform, through ``entsoe-py``.

The library is an extra (``pip install tsobs[entsoe]``); the platform gives a token on request. The library
fills in what ENTSO-E leaves out where neighbours are equal (curve type A03), and knows which auction counts
on which day.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tsobs_pipelines.forecasting.delivery import DAY, Market, market_of
from tsobs_pipelines.forecasting.prices.hours import hourly
from tsobs_pipelines.forecasting.prices.source import (
    MWH_PER_KWH,
    Fetched,
    PriceSourceError,
    PriceSourceSetupError,
    PriceSourceUnavailableError,
    PriceSourceUnreachableError,
    Probe,
)
from tsobs_pipelines.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

TOKEN_VARIABLE = "TSOBS_ENTSOE_TOKEN"  # noqa: S105 - its name
TIMEOUT_S = 60.0
NEEDS_LIBRARY = "the source entsoe needs the package entsoe-py: pip install 'tsobs[entsoe]'"

ZONES_OF_COUNTRIES = {"DE": "DE_LU", "LU": "DE_LU", "IE": "IE_SEM"}
"""Where the zone is not called as the country."""

COUNTRIES_OF_SEVERAL_ZONES = frozenset({"DK", "IT", "NO", "SE"})


_CURRENCY = re.compile(rb"<(?:\w+:)?currency_Unit\.name>\s*([A-Za-z]{2,8})\s*<")


class EntsoePrices:
    """The day-ahead prices of one bidding zone."""

    days_a_request = 100

    def __init__(self, token: str, zone: str, market: Market, attempts: int = 3) -> None:
        """``zone`` is a name of the library, such as ``ES`` or ``DE_LU``."""
        self._token = token
        self._zone = zone
        self._market = market
        self._attempts = attempts

    @property
    def name(self) -> str:
        """``entsoe:`` and the zone."""
        return f"entsoe:{self._zone}"

    def fetch(self, first: date, last: date) -> Fetched:
        """The prices of these days."""
        return self._ask(first, last, TIMEOUT_S, self._attempts)

    def probe(self, day: date, timeout_s: float) -> Probe:
        """One request for the day, without another try."""
        self._ask(day, day, timeout_s, 1)
        return Probe(f"ENTSO-E answers for {self._zone}")

    def _ask(self, first: date, last: date, timeout_s: float, attempts: int) -> Fetched:
        self._check_zone()
        import pandas as pd  # noqa: PLC0415 - loaded by the library anyway
        import requests  # noqa: PLC0415 - comes with the library
        from entsoe.entsoe import EntsoePandasClient  # noqa: PLC0415 - an extra
        from entsoe.exceptions import NoMatchingDataError  # noqa: PLC0415

        place = f"ENTSO-E, {self._zone}, {first} to {last}"
        session = requests.Session()
        session.hooks["response"].append(lambda answer, **_: check_currency(answer.content, place))
        client = EntsoePandasClient(
            self._token, session, retry_count=attempts, retry_delay=2, timeout=math.ceil(timeout_s)
        )
        start, end = (pd.Timestamp(str(day), tz=self._market.timezone) for day in (first, last + DAY))
        try:
            timed = _timed(client.query_day_ahead_prices(self._zone, start=start, end=end))
        except NoMatchingDataError:
            return Fetched()
        except requests.HTTPError as error:
            raise _refusal(place, error.response.status_code if error.response is not None else 0) from None
        except requests.RequestException as error:
            # Its text holds the address, and so the token.
            raise PriceSourceUnreachableError(f"{place}: {type(error).__name__}") from None
        except PriceSourceError:
            raise
        except Exception as error:  # noqa: BLE001 - the library reads an answer without a check
            text = " ".join(str(error).replace(self._token, "***").split())[:200]
            raise PriceSourceError(
                f"{place}: an answer in another form: {type(error).__name__}: {text}"
            ) from None
        within = self._market.start_of(first), self._market.end_of(last)
        found = hourly(timed, self._market, place)
        return Fetched(
            (point for point in found if within[0] <= point.start < within[1]),
            [failure for failure in found.failures if first <= failure.first <= last],
        )

    def _check_zone(self) -> None:
        try:
            from entsoe.mappings import Area  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise PriceSourceSetupError(f"{NEEDS_LIBRARY} ({error})") from None
        if self._zone not in Area.__members__:
            raise PriceSourceSetupError(f"ENTSO-E has no bidding zone {self._zone!r}")


def open_entsoe(argument: str, settings: Settings) -> EntsoePrices:
    """The zone that the argument names, else that of the market's country.

    Raises:
        ValueError: there is no token, no library, or the market has no one zone.
    """
    market = market_of(settings)
    zone = argument or zone_of(market)
    if zone is None:
        msg = f"expected entsoe:<bidding zone>, such as entsoe:SE_3: {market.timezone} does not name one"
        raise ValueError(msg)
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{1,30}", zone):
        msg = "expected entsoe:<bidding zone>, such as entsoe:ES or entsoe:DE_LU"
        raise ValueError(msg)
    if settings.entsoe_token is None:
        msg = f"expected a token of ENTSO-E in {TOKEN_VARIABLE}"
        raise ValueError(msg)
    if find_spec("entsoe") is None:
        raise ValueError(NEEDS_LIBRARY)
    return EntsoePrices(settings.entsoe_token.get_secret_value(), zone, market)


def zone_of(market: Market) -> str | None:
    """The bidding zone of the market's country, ``None`` where it has several or none is known."""
    home = market.home
    if home is None or home in COUNTRIES_OF_SEVERAL_ZONES:
        return None
    return ZONES_OF_COUNTRIES.get(home, home)


def check_currency(document: bytes, place: str) -> None:
    """Refuse prices that are not in euros: the library says nothing about their currency.

    Raises:
        PriceSourceSetupError: names the currencies.
    """
    others = {found.decode() for found in _CURRENCY.findall(document)} - {"EUR"}
    if others:
        raise PriceSourceSetupError(
            f"{place}: prices in {', '.join(sorted(others))}, expected EUR; they are not converted"
        )


def _timed(series: pd.Series[float]) -> list[tuple[datetime, float]]:
    if series.ndim != 1:
        raise TypeError(f"{type(series).__name__}, expected a series")
    utc = series.dropna().tz_convert("UTC")
    times: list[datetime] = [time.to_pydatetime() for time in utc.index]
    return [(time, float(price) * MWH_PER_KWH) for time, price in zip(times, utc, strict=True)]


def _refusal(place: str, status: int) -> PriceSourceError:
    if status in {401, 403}:
        return PriceSourceSetupError(f"{place}: HTTP {status}: {TOKEN_VARIABLE} is not accepted")
    if status in {408, 429} or status >= 500:
        return PriceSourceUnavailableError(f"{place}: HTTP {status}")
    return PriceSourceError(f"{place}: HTTP {status}")
