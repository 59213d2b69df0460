"""Prices from REData, the public data service of Spain's system operator, which needs no token.

https://www.ree.es/en/datos/apidata; ``included[]`` holds the PVPC (id 1001) and the day-ahead price (id 600),
``attributes.values[]`` their ``value`` (EUR/MWh) and ``datetime`` (with offset). More than a month is a 400,
and a web firewall may answer 403 with HTML.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.prices.hours import hourly
from tsobs_pipelines.forecasting.prices.service import Answer, JsonService, timed_values
from tsobs_pipelines.forecasting.prices.source import Fetched, PriceSourceError, Probe
from tsobs_pipelines.settings import Settings

BASE_URL = "https://apidatos.ree.es"
PATH = "/es/datos/mercados/precios-mercados-tiempo-real"
SPAIN = Market("Europe/Madrid")

Indicator = Literal["600", "1001"]
DAY_AHEAD: Indicator = "600"
PVPC: Indicator = "1001"


class RedataPrices:
    """The day-ahead price (or the PVPC) from REData."""

    days_a_request = 28

    def __init__(
        self,
        indicator: Indicator = DAY_AHEAD,
        base_url: str = BASE_URL,
        attempts: int = 4,
        wait_s: float = 2.0,
    ) -> None:
        """Up to ``attempts`` tries a request, with a growing wait from ``wait_s`` between them."""
        self._indicator = indicator
        self._service = JsonService(base_url, attempts=attempts, wait_s=wait_s)

    @property
    def name(self) -> str:
        """``redata`` for the day-ahead price, ``redata:pvpc`` for the PVPC."""
        return "redata" if self._indicator == DAY_AHEAD else "redata:pvpc"

    def fetch(self, first: date, last: date) -> Fetched:
        """The prices of these days."""
        place = f"REData, {first} to {last}"
        return parse(self._service.get(PATH, _wanted(first, last), place), self._indicator, place)

    def probe(self, day: date, timeout_s: float) -> Probe:
        """One request for the day, without another try."""
        answer = self._service.get_once(PATH, _wanted(day, day), f"REData, {day}", timeout_s)
        parse(answer, self._indicator, f"REData, {day}")
        return Probe(f"{self._service.url} answers", answer.http_date)


def open_redata(argument: str, _settings: Settings) -> RedataPrices:
    """The day-ahead price; the PVPC where the argument names it."""
    return RedataPrices(PVPC if argument == "pvpc" else DAY_AHEAD)


def _wanted(first: date, last: date) -> dict[str, str]:
    return {"start_date": f"{first}T00:00", "end_date": f"{last}T23:59", "time_trunc": "hour"}


def parse(answer: Answer, indicator: Indicator, place: str) -> Fetched:
    """The answer's prices of one indicator, in EUR/kWh; none when the service has none for these days.

    Raises:
        PriceSourceError: a refusal, or an answer in another form.
    """
    body = answer.body
    if answer.status != 200 or (isinstance(body, Mapping) and "errors" in body and "included" not in body):
        errors = _errors(body)
        if "no values" in errors.lower():
            return Fetched()
        raise PriceSourceError(f"{place}: HTTP {answer.status}: {errors[:200]}")
    try:
        included = body["included"]  # type: ignore[index] # another form is an error below
        series = next((item for item in included if str(item["id"]) == indicator), None)
        timed, remarks = timed_values(series["attributes"]["values"] if series else [], place)
    except (KeyError, TypeError, AttributeError) as error:
        raise PriceSourceError(
            f"{place}: an answer in another form: {type(error).__name__}: {error}"
        ) from None
    return hourly(timed, SPAIN, place, remarks)


def _errors(body: object) -> str:
    errors = body.get("errors") if isinstance(body, Mapping) else None
    return str(errors if errors is not None else body)
