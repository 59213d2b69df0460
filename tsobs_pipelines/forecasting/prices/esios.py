"""Prices from ESIOS, the information system of Spain's system operator, which needs a token.

https://api.esios.ree.es; ``indicator.values[]`` holds ``value`` (EUR/MWh), ``datetime`` (with offset) and
``geo_id``: an indicator has values of several places at the same time. A token is asked for by mail, and
sent as ``x-api-key``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.hours import hourly
from tsobs_pipelines.forecasting.prices.service import Answer, JsonService, timed_values
from tsobs_pipelines.forecasting.prices.source import (
    Fetched,
    PriceSourceError,
    PriceSourceSetupError,
    Probe,
)
from tsobs_pipelines.settings import Settings

BASE_URL = "https://api.esios.ree.es"
SPAIN = Market("Europe/Madrid")
TOKEN_VARIABLE = "TSOBS_ESIOS_TOKEN"  # noqa: S105 - its name


@dataclass(frozen=True, slots=True)
class Series:
    """An indicator in one place."""

    name: str
    indicator: int
    geo_id: int


DAY_AHEAD = Series("esios", 600, 3)
"""The day-ahead price in Spain; the same indicator has Portugal, France and others."""

PVPC = Series("esios:pvpc", 1001, 8741)
"""The regulated tariff 2.0TD on the peninsula."""


class EsiosPrices:
    """The day-ahead price (or the PVPC) from ESIOS."""

    days_a_request = 28

    def __init__(
        self,
        token: str,
        series: Series = DAY_AHEAD,
        base_url: str = BASE_URL,
        attempts: int = 4,
        wait_s: float = 2.0,
    ) -> None:
        """Up to ``attempts`` tries a request, with a growing wait from ``wait_s`` between them."""
        self._series = series
        headers = {"Accept": "application/json; application/vnd.esios-api-v1+json", "x-api-key": token}
        # A 403 is about the token here: no other try helps.
        self._service = JsonService(base_url, headers, frozenset({408, 429}), attempts, wait_s)

    @property
    def name(self) -> str:
        """``esios`` for the day-ahead price, ``esios:pvpc`` for the PVPC."""
        return self._series.name

    def fetch(self, first: date, last: date) -> Fetched:
        """The prices of these days."""
        place = f"ESIOS, {first} to {last}"
        return parse(self._service.get(self._path, self._wanted(first, last), place), self._series, place)

    def probe(self, day: date, timeout_s: float) -> Probe:
        """One request for the day, without another try."""
        place = f"ESIOS, {day}"
        answer = self._service.get_once(self._path, self._wanted(day, day), place, timeout_s)
        parse(answer, self._series, place)
        return Probe(f"{self._service.url} answers", answer.http_date)

    @property
    def _path(self) -> str:
        return f"/indicators/{self._series.indicator}"

    def _wanted(self, first: date, last: date) -> dict[str, str]:
        return {
            "start_date": f"{first}T00:00",
            "end_date": f"{last}T23:59",
            "geo_ids[]": str(self._series.geo_id),
        }


def open_esios(argument: str, settings: Settings) -> EsiosPrices:
    """The day-ahead price; the PVPC where the argument names it.

    Raises:
        ValueError: there is no token.
    """
    token = settings.esios_token.get_secret_value() if settings.esios_token else ""
    if not token:
        msg = f"expected a token of ESIOS in {TOKEN_VARIABLE}"
        raise ValueError(msg)
    return EsiosPrices(token, PVPC if argument == "pvpc" else DAY_AHEAD)


def parse(answer: Answer, series: Series, place: str) -> Fetched:
    """The answer's prices in the place of the series, in EUR/kWh.

    Raises:
        PriceSourceSetupError: the token is not accepted.
        PriceSourceError: another refusal, or an answer in another form.
    """
    if answer.status in {401, 403}:
        raise PriceSourceSetupError(f"{place}: HTTP {answer.status}: {TOKEN_VARIABLE} is not accepted")
    if answer.status != 200:
        raise PriceSourceError(f"{place}: HTTP {answer.status}: {str(answer.body)[:200]}")
    try:
        values = answer.body["indicator"]["values"]  # type: ignore[index] # another form is an error below
        # What is no value at all is of no place: it is a remark, whichever it was meant for.
        ours = [v for v in values if not isinstance(v, Mapping) or v.get("geo_id") == series.geo_id]
        timed, remarks = timed_values(ours, place)
    except (KeyError, TypeError, AttributeError) as error:
        raise PriceSourceError(
            f"{place}: an answer in another form: {type(error).__name__}: {error}"
        ) from None
    if values and not ours:
        raise PriceSourceError(f"{place}: an answer in another form: no value of geo_id {series.geo_id}")
    return hourly(timed, SPAIN, place, remarks)
