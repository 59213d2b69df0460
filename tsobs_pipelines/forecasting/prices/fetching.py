"""Fetches many days in requests of the size that the source accepts, and keeps the rest when some fail."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.prices.source import (
    Failure,
    Fetched,
    PriceSource,
    PriceSourceError,
    PriceSourceSetupError,
    PriceSourceUnavailableError,
)

PATIENCE = 2
"""After so many requests without an answer, one after another, the rest is not asked for."""


def fetch_days(source: PriceSource, first: date, last: date) -> Fetched:
    """What the source has for the days ``first`` to ``last``; days that could not be had are failures.

    Raises:
        PriceSourceError: not a single request was answered.
    """
    found = Fetched()
    unanswered = 0
    answered = False
    for start, end in _requests(first, last, source.days_a_request):
        if unanswered == PATIENCE:
            error = PriceSourceUnavailableError(
                f"{start} to {last}: not asked for, there was no answer before"
            )
            found.failures = (*found.failures, Failure(start, last, error))
            break
        try:
            part = source.fetch(start, end)
        except PriceSourceSetupError:
            raise
        except PriceSourceError as error:
            unanswered = unanswered + 1 if isinstance(error, PriceSourceUnavailableError) else 0
            found.failures = (*found.failures, Failure(start, end, error))
            continue
        unanswered, answered = 0, True
        found.extend(part)
        if isinstance(part, Fetched):
            found.failures = (*found.failures, *part.failures)
            found.remarks = (*found.remarks, *part.remarks)
    if found.failures and not answered:
        raise found.failures[0].error
    return found


def _requests(first: date, last: date, days: int) -> Iterator[tuple[date, date]]:
    while first <= last:
        end = min(last, first + DAY * (days - 1))
        yield first, end
        first = end + DAY
