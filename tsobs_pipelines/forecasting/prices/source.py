"""The interface of a price source, its results, and its errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

MWH_PER_KWH = 1 / 1000
"""Factor from EUR/MWh, in which markets speak, to EUR/kWh, in which prices are kept."""

ALL_DAYS = 100_000
"""``days_a_request`` of a source that needs no limit."""


class PriceSourceError(RuntimeError):
    """The source gave no prices that can be used; the text says what it answered."""


class PriceSourceUnavailableError(PriceSourceError):
    """The source did not answer, or turned us away: worth another try later."""


class PriceSourceUnreachableError(PriceSourceUnavailableError):
    """There was no connection to the source: firewall, DNS or proxy, if it lasts."""


class PriceSourceSetupError(PriceSourceError):
    """The source can't work as it is set up: a library, a token or an address is missing or wrong."""


@dataclass(frozen=True, slots=True)
class PricePoint:
    """The price of one delivery hour: its start (UTC) and EUR/kWh."""

    start: datetime
    price: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Days whose prices could not be had, and why."""

    first: date
    last: date
    error: PriceSourceError

    def concerns(self, day: date) -> bool:
        """Whether the day is one of them."""
        return self.first <= day <= self.last

    def __str__(self) -> str:
        return str(self.error)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a source answered to one question: a line for a person, and the ``Date`` of its server."""

    detail: str
    http_date: str | None = None


class Fetched(list[PricePoint]):
    """Prices by time, with the days that could not be had and remarks on rows that could not be read."""

    def __init__(
        self,
        points: Iterable[PricePoint] = (),
        failures: Sequence[Failure] = (),
        remarks: Sequence[str] = (),
    ) -> None:
        """Keep all three."""
        super().__init__(points)
        self.failures = tuple(failures)
        self.remarks = tuple(remarks)


class PriceSource(Protocol):
    """Prices of whole delivery days."""

    @property
    def name(self) -> str:
        """The tag that keeps these prices apart from those of other sources."""
        ...

    @property
    def days_a_request(self) -> int:
        """How many days :meth:`fetch` may be asked for at once; ``fetching.fetch_days`` asks in parts."""
        ...

    def fetch(self, first: date, last: date) -> Sequence[PricePoint]:
        """The source's data for the days ``first`` to ``last``, unchecked: duplicates and gaps stay.

        A :class:`Fetched` names days that could not be read while others could.

        Raises:
            PriceSourceUnavailableError: no answer; another try may help.
            PriceSourceError: an answer that can't be read.
        """
        ...

    def probe(self, day: date, timeout_s: float) -> Probe:
        """Ask once for a day, read the answer as :meth:`fetch` does, and say what came.

        Raises:
            PriceSourceSetupError: the source can't work as it is set up.
            PriceSourceUnreachableError: no connection.
            PriceSourceUnavailableError: turned away; another try may help.
            PriceSourceError: an answer that can't be read.
        """
        ...
