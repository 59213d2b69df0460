"""Requests to a price service that answers JSON: retries, timeouts, errors of the interface."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from tsobs_pipelines.forecasting.prices.csv_rows import YEARS
from tsobs_pipelines.forecasting.prices.numbers import PLAIN
from tsobs_pipelines.forecasting.prices.source import (
    MWH_PER_KWH,
    PriceSourceError,
    PriceSourceUnavailableError,
    PriceSourceUnreachableError,
)

log = logging.getLogger(__name__)

TIMEOUT = httpx.Timeout(20.0, connect=5.0)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the JSON that came with it, and the server's ``Date``."""

    status: int
    body: object
    http_date: str | None = None


@dataclass(frozen=True)
class JsonService:
    """One service. Up to ``attempts`` tries a request, with a growing wait from ``wait_s`` between them."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    passing: frozenset[int] = frozenset({403, 408, 429})
    """Statuses below 500 that may be another one in a moment."""

    attempts: int = 4
    wait_s: float = 2.0

    def get(self, path: str, params: Mapping[str, str], place: str) -> Answer:
        """The answer; ``place`` begins the text of an error.

        Raises:
            PriceSourceUnavailableError: no answer, a passing refusal, or a page instead of data, at every
            try. PriceSourceError: an answer that is not JSON.
        """
        tries = Retrying(
            retry=retry_if_exception_type(PriceSourceUnavailableError),
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(self.wait_s, max=60.0) + wait_random(0, self.wait_s),
            before_sleep=_say,
            reraise=True,
        )
        with self._client(TIMEOUT) as client:
            return tries(self._ask, client, path, params, place)

    def get_once(self, path: str, params: Mapping[str, str], place: str, timeout_s: float) -> Answer:
        """The same without another try."""
        with self._client(httpx.Timeout(timeout_s)) as client:
            return self._ask(client, path, params, place)

    def _client(self, timeout: httpx.Timeout) -> httpx.Client:
        headers = {"Accept": "application/json", **self.headers}
        return httpx.Client(base_url=self.url, timeout=timeout, headers=headers)

    def _ask(self, client: httpx.Client, path: str, params: Mapping[str, str], place: str) -> Answer:
        try:
            answer = client.get(path, params=dict(params))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PriceSourceUnreachableError(f"{place}: {type(error).__name__}: {error}") from error
        kind = answer.headers.get("content-type", "no content type").partition(";")[0]
        said = f"{place}: HTTP {answer.status_code}"
        if answer.status_code in self.passing or answer.status_code >= 500:
            who = " from a web firewall" if answer.status_code == 403 and "html" in kind else ""
            raise PriceSourceUnavailableError(f"{said}{who} ({kind})")
        try:
            return Answer(answer.status_code, answer.json(), answer.headers.get("date"))
        except (ValueError, RecursionError):  # also a number of more digits than Python reads
            if "html" in kind:
                raise PriceSourceUnavailableError(f"{said} with a page instead of data") from None
            raise PriceSourceError(f"{said}, not JSON ({kind})") from None


def timed_values(values: Iterable[object], place: str) -> tuple[list[tuple[datetime, float]], list[str]]:
    """Starts (UTC) and prices in EUR/kWh of ``{"value": EUR/MWh, "datetime": RFC 3339, …}``, and remarks.

    A value of ``null`` or NaN is an hour without a price; one that can't be read costs itself.

    Raises:
        PriceSourceError: there are values, and none of them can be read.
    """
    timed, remarks, count = [], [], 0
    for value in values:
        count += 1
        try:
            if not isinstance(value, Mapping):
                raise ValueError(f"{value!r}, expected a value with its datetime")
            start, price = _time(value["datetime"]), _number(value["value"])
            if price is not None:
                timed.append((start, price * MWH_PER_KWH))
        except (KeyError, ValueError, OverflowError) as error:
            remarks.append(f"{place}: {type(error).__name__}: {error}"[:300])
    if remarks and len(remarks) == count:
        raise PriceSourceError(remarks[0])
    return timed, remarks[:20]


def _number(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"value={value!r}, expected a number")
    return PLAIN.read(str(value))


def _time(text: object) -> datetime:
    time = datetime.fromisoformat(str(text))
    if time.tzinfo is None:
        raise ValueError(f"datetime={text!r} without an offset")
    if time.year not in YEARS:
        raise ValueError(f"datetime={text!r}, expected a year of {YEARS[0]} to {YEARS[-1]}")
    return time.astimezone(UTC)


def _say(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("%s; try %d failed, another follows", error, state.attempt_number)
