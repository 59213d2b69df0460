"""Fetches many days in requests of the size that the source accepts, and keeps the rest when some fail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import chain

from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.prices.source import (
    Failure,
    Fetched,
    PricePoint,
    PriceSource,
    PriceSourceError,
    PriceSourceSetupError,
    PriceSourceUnavailableError,
)

PATIENCE = 2
"""After so many requests without an answer, one after another, only the newest days are still asked for."""


def fetch_days(source: PriceSource, first: date, last: date) -> Fetched:
    """What the source has for the days ``first`` to ``last``; days that could not be had are failures.

    Raises:
        PriceSourceError: not a single request was answered.
    """
    parts: list[Sequence[PricePoint]] = []
    failures: list[Failure] = []
    unanswered = 0
    requests = _requests(first, last, source.days_a_request)
    left_out: list[tuple[date, date]] = []
    while requests:
        start, end = requests.pop(0)
        try:
            parts.append(source.fetch(start, end))
        except PriceSourceSetupError as error:
            if not parts:
                raise
            failures.append(Failure(start, end, error))
            left_out += requests
            break
        except PriceSourceError as error:
            failures.append(Failure(start, end, error))
            unanswered = unanswered + 1 if isinstance(error, PriceSourceUnavailableError) else 0
        else:
            unanswered = 0
        if unanswered == PATIENCE:
            left_out, requests = requests[:-1], requests[-1:]
    if failures and not parts:
        raise failures[0].error
    if left_out:
        start, end = left_out[0][0], left_out[-1][1]
        why = f"{start} to {end}: not asked for, as the requests before failed"
        failures.append(Failure(start, end, PriceSourceUnavailableError(why)))
    fetched = [part for part in parts if isinstance(part, Fetched)]
    return Fetched(
        chain.from_iterable(parts),
        [*failures, *chain.from_iterable(part.failures for part in fetched)],
        [*chain.from_iterable(part.remarks for part in fetched)],
    )


def _requests(first: date, last: date, days: int) -> list[tuple[date, date]]:
    starts = [first + DAY * step for step in range(0, (last - first).days + 1, days)]
    return [(start, min(last, start + DAY * (days - 1))) for start in starts]
