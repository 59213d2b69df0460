"""Prices from REData, the public data service of Spain's system operator: no token, month-sized requests.

What belongs here: its requests, its answers and its moods. What does not: which day is wanted when.

https://www.ree.es/en/datos/apidata; ``included[]`` holds the PVPC (id 1001) and the day-ahead price (id 600),
``attributes.values[]`` their ``value`` (EUR/MWh) and ``datetime`` (with offset). More than a month is a 400,
and a web firewall may answer 403 with HTML.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Literal

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.prices.source import (
    MWH_PER_KWH,
    PricePoint,
    PriceSourceError,
    PriceSourceUnavailableError,
    PriceSourceUnreachableError,
    Probe,
    hourly,
    with_spans,
)
from tsobs_pipelines.settings import Settings

log = logging.getLogger(__name__)

BASE_URL = "https://apidatos.ree.es"
PATH = "/es/datos/mercados/precios-mercados-tiempo-real"
DAYS_A_REQUEST = 28
TIMEOUT = httpx.Timeout(20.0, connect=5.0)

Indicator = Literal["600", "1001"]
DAY_AHEAD: Indicator = "600"
PVPC: Indicator = "1001"


class RedataPrices:
    """The day-ahead price (or the PVPC) from REData."""

    def __init__(
        self,
        indicator: Indicator = DAY_AHEAD,
        base_url: str = BASE_URL,
        attempts: int = 4,
        wait_s: float = 2.0,
    ) -> None:
        """Up to ``attempts`` tries a request, with a growing wait from ``wait_s`` between them."""
        self._indicator = indicator
        self._base_url = base_url
        self._attempts = attempts
        self._wait_s = wait_s

    @property
    def name(self) -> str:
        """``redata`` for the day-ahead price, ``redata:pvpc`` for the PVPC."""
        return "redata" if self._indicator == DAY_AHEAD else "redata:pvpc"

    def fetch(self, first: date, last: date) -> list[PricePoint]:
        """The prices of these days, in requests of at most 28 days."""
        points: list[PricePoint] = []
        with self._client() as client:
            for start, end in _chunks(first, last):
                points.extend(self._fetch_chunk(client, start, end))
        return hourly(points)

    def probe(self, day: date, timeout_s: float) -> Probe:
        """One request for the day, without another try."""
        with self._client(timeout_s) as client:
            answer = self._get(client, day, day)
        parse(answer, self._indicator, f"REData, {day}")
        return Probe(f"{self._base_url} answers", answer.headers.get("date"))

    def _client(self, timeout_s: float | None = None) -> httpx.Client:
        timeout = TIMEOUT if timeout_s is None else httpx.Timeout(timeout_s)
        return httpx.Client(base_url=self._base_url, timeout=timeout, headers={"Accept": "application/json"})

    def _fetch_chunk(self, client: httpx.Client, start: date, end: date) -> list[PricePoint]:
        tries = Retrying(
            retry=retry_if_exception_type(PriceSourceUnavailableError),
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(self._wait_s, max=60.0) + wait_random(0, self._wait_s),
            before_sleep=_say,
            reraise=True,
        )
        return tries(self._ask, client, start, end)

    def _ask(self, client: httpx.Client, start: date, end: date) -> list[PricePoint]:
        return parse(self._get(client, start, end), self._indicator, f"REData, {start} to {end}")

    def _get(self, client: httpx.Client, start: date, end: date) -> httpx.Response:
        wanted = {"start_date": f"{start}T00:00", "end_date": f"{end}T23:59", "time_trunc": "hour"}
        try:
            return client.get(PATH, params=wanted)
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"
            raise PriceSourceUnreachableError(f"REData, {start} to {end}: {reason}") from error


def open_redata(argument: str, _settings: Settings) -> RedataPrices:
    """The day-ahead price; the PVPC where the argument names it."""
    return RedataPrices(PVPC if argument == "pvpc" else DAY_AHEAD)


def parse(answer: httpx.Response, indicator: Indicator, place: str) -> list[PricePoint]:
    """The answer's prices of one indicator, in EUR/kWh; none when the service has none for these days.

    Raises:
        PriceSourceUnavailableError: a 403, 429 or 5xx.
        PriceSourceError: another refusal, or an answer in another form.
    """
    kind = answer.headers.get("content-type", "no content type").partition(";")[0]
    if answer.status_code in {403, 408, 429} or answer.status_code >= 500:
        who = " from a web firewall" if "html" in kind else ""
        raise PriceSourceUnavailableError(f"{place}: HTTP {answer.status_code}{who} ({kind})")
    try:
        body = answer.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        if "html" in kind:
            raise PriceSourceUnavailableError(
                f"{place}: HTTP {answer.status_code} with a page instead of data"
            ) from None
        raise PriceSourceError(f"{place}: HTTP {answer.status_code}, not JSON ({kind})") from None
    if answer.status_code != 200:
        errors = _errors(body)
        if "no values" in errors.lower():
            return []
        raise PriceSourceError(f"{place}: HTTP {answer.status_code}: {errors[:200]}")
    try:
        series = next((item for item in body["included"] if str(item["id"]) == indicator), None)
        values = series["attributes"]["values"] if series else []
        timed = [(_time(value["datetime"]), float(value["value"]) * MWH_PER_KWH) for value in values]
    except (KeyError, TypeError, ValueError) as error:
        raise PriceSourceError(
            f"{place}: an answer in another form: {type(error).__name__}: {error}"
        ) from None
    return with_spans(timed)


def _errors(body: object) -> str:
    errors = body.get("errors") if isinstance(body, Mapping) else None
    return str(errors if errors is not None else body)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"datetime={text!r} without an offset")
    return time.astimezone(UTC)


def _chunks(first: date, last: date) -> Iterator[tuple[date, date]]:
    while first <= last:
        end = min(last, first + DAY * (DAYS_A_REQUEST - 1))
        yield first, end
        first = end + DAY


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s; try %d failed, another follows", error, state.attempt_number)
