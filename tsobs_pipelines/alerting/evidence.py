"""The kinds of evidence that rules evaluate, and how a rule turns each into signals.

A rule names one kind of evidence. Who has such evidence (a sensor in ``defs/alerts``) finds the rules that
want it in the registry, reads it, and hands it to the rule's function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeAlias

from tsobs_pipelines.alerting.machine import Signal, TopicState
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.schema import Measurement, NetcheckRow, RowT
from tsobs_pipelines.timeseries.store import TimeSeriesStore

Signals: TypeAlias = Mapping[str, Sequence[Signal]]
"""Signals in the order of time, by subject."""


@dataclass(frozen=True, slots=True)
class ForecastObservation:
    """One evaluation of a forecast: what it scored, as of ``time``. Errors in EUR/kWh.

    ``baseline`` is absent when there are too few days. ``week_ratio`` is the model's 7-day error over the
    naive forecast's, ``week_limit`` the ratio above which the skill counts as lost.
    """

    model: str
    time: datetime
    mae: float | None
    baseline: float | None
    naive_mae: float | None = None
    naive_baseline: float | None = None
    week_ratio: float | None = None
    week_limit: float | None = None


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; ``reason`` is the first line of its failure, with the run's id."""

    job: str
    time: datetime
    succeeded: bool
    reason: str


@dataclass(frozen=True, slots=True)
class RowEvidence(Generic[RowT]):
    """Rows of a tailnet, read from the rule's progress on after each collection.

    ``signals`` gets rows of ``measurement`` in the order of time: live, all that is new up to the newest
    round; for the past, whole UTC days. Where there is ``with_netchecks``, it takes its place when any of the
    signals is bad, and gets the netchecks of the rows' span and the hour before as well.
    """

    measurement: Measurement[RowT]
    signals: Callable[[Sequence[RowT], Tailnet], Signals]
    with_netchecks: Callable[[Sequence[RowT], Sequence[NetcheckRow]], Signals] | None = None


@dataclass(frozen=True, slots=True)
class LatestEvidence(Generic[RowT]):
    """What the rows of the newest UTC day say at the time of the newest round, after each collection.

    For measurements that have one row a day for each subject, which is brought up to date. There is no past.
    """

    measurement: Measurement[RowT]
    signals: Callable[[Sequence[RowT], Tailnet, datetime], Signals]


@dataclass(frozen=True, slots=True)
class ForecastEvidence:
    """Evaluations of a model's forecasts, in the order of time."""

    signals: Callable[[Sequence[ForecastObservation]], Signals]


@dataclass(frozen=True, slots=True)
class QueryEvidence:
    """A query of the store each minute about a tailnet as a whole, independent of runs.

    ``signal`` gets the store, the tailnet, what is known of the topic, and the time; what it
    returns is of now.
    A detail in the signal says what is wrong. Messages leave at once, without a run.
    """

    signal: Callable[[TimeSeriesStore, Tailnet, TopicState | None, datetime], Signal]


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """How the runs of jobs ended. Messages are sent at once, without a run."""

    signals: Callable[[Sequence[RunEnd]], Signals]


# Only a rule itself knows which rows it is judged by: whoever reads them hands them on.
Evidence: TypeAlias = RowEvidence[Any] | LatestEvidence[Any] | ForecastEvidence | QueryEvidence | RunEvidence
