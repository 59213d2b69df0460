"""The definition of an alert rule, used by sensors, messages, the command line, the page and the docs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from tsobs_pipelines.alerting.evidence import Evidence, ForecastEvidence, LatestEvidence, RowEvidence
from tsobs_pipelines.alerting.machine import Change, Confirmation
from tsobs_pipelines.timeseries.sampling import Sampling
from tsobs_pipelines.timeseries.spans import span_start

CALM_SHARE = 0.8
"""At or below this share of a limit a value counts as good again (80 ms of 100)."""

FRESH = Sampling().fresh_for
"""For how long what a round says holds for now."""


class Severity(StrEnum):
    """How a message starts."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    RESOLVED = "RESOLVED"


class Unit(StrEnum):
    """What a rule's value is measured in, and with how many decimals it is written beside an incident."""

    decimals: int

    def __new__(cls, name: str, decimals: int) -> Unit:  # noqa: D102 - the members are called with these
        unit = str.__new__(cls, name)
        unit._value_, unit.decimals = name, decimals
        return unit

    MILLISECONDS = ("ms", 0)
    PRICE = ("EUR/kWh", 4)
    TIMES = ("times", 2)
    NONE = ("", 0)

    def text(self, value: float) -> str:
        """The value with its unit, for a person."""
        return f"{value:.{self.decimals}f} {self}".rstrip()


class Icon(StrEnum):
    """The shape that marks an incident on the page."""

    CIRCLE = "circle"
    SQUARE = "square"
    TRIANGLE = "triangle"


@dataclass(frozen=True, slots=True)
class AlertAsset:
    """An asset that shows alerts: its name in Dagster, and the sensor that asks for its runs.

    ``interval_s`` is how often the sensor looks. One that ``reads_ahead`` looks at rounds that are not
    collected yet as well, for all rules about nodes.
    """

    name: str
    sensor: str
    description: str
    interval_s: Literal[15, 30, 60] = 60
    reads_ahead: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """An incident as the documentation shows it: told ``minutes`` after its beginning, over when resolved."""

    subject: str
    value: float | None = None
    limit: float | None = None
    detail: str = ""
    value_after: float | None = None
    minutes: int = 11


@dataclass(frozen=True, slots=True)
class Doc:
    """The rule's row in the documentation, and the example of its messages.

    ``about`` is what a subject is, as it stands in the topic's name; empty where there is one topic only.
    """

    about: Literal["node", "model", "job", ""]
    fires: str
    is_over: str
    example: Example


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: topics ``<prefix>_<subject>`` (or ``<prefix>`` where there is one subject, the empty one).

    ``key`` is the name under which its state is kept, and what the API calls it; ``prefix`` is the key where
    it is not given. ``title`` heads an incident on the page. ``firing`` and ``resolved`` make the line of a
    message, as plain text without time. ``together`` heads the message when most subjects fire, whose changes
    it is given; empty where that means nothing. ``align`` is the grid on which the rule's evidence is closed.
    What fires is repeated every six hours if it ``repeats``. Evidence older than ``fresh_for`` says nothing
    about now: what fires by it is neither told nor repeated until fresher evidence says the same.

    ``asset`` shows the alerts of a rule over rows or forecasts; the other kinds of evidence are about tsobs
    itself, and are told without a run.
    """

    key: str
    title: str
    severity: Severity
    confirmation: Confirmation
    evidence: Evidence
    firing: Callable[[Change], str]
    resolved: Callable[[Change], str]
    doc: Doc
    unit: Unit = Unit.NONE
    icon: Icon = Icon.CIRCLE
    asset: AlertAsset | None = None
    prefix: str = ""
    together: Callable[[Sequence[Change]], str] | None = None
    align: timedelta | None = None
    fresh_for: timedelta | None = None
    repeats: bool = True

    def __post_init__(self) -> None:
        """Refuse a rule that no asset shows, or whose asset would never run."""
        shown = isinstance(self.evidence, RowEvidence | LatestEvidence | ForecastEvidence)
        if shown != (self.asset is not None):
            msg = (
                f"alert rule {self.key!r}: expected an asset if rows or forecasts are its evidence, else none"
            )
            raise ValueError(msg)

    def at_pace(self, sampling: Sampling) -> Rule:
        """The rule for rounds at this interval; what is said here is right for a round a minute or faster."""
        if self.fresh_for is None:
            return self
        within = max(self.confirmation.within, sampling.stale_after)
        return replace(
            self,
            confirmation=replace(self.confirmation, within=within),
            fresh_for=max(self.fresh_for, sampling.fresh_for),
        )

    def topic(self, subject: str) -> str:
        """The topic of a subject."""
        prefix = self.prefix or self.key
        return f"{prefix}_{subject}" if subject else prefix

    def floor(self, time: datetime) -> datetime:
        """The end of the newest evidence that is closed at ``time``."""
        return time if self.align is None else span_start(time, self.align)


def ms_text(value: float | None) -> str:
    """A latency in ms, as a message says it."""
    if value is None:
        return "?"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def price_text(value: float | None) -> str:
    """A price or its error, as a message says it."""
    return "?" if value is None else f"{value:.4f} EUR/kWh"
