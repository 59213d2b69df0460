"""What evaluations of forecasts say, as signals of the rules about forecasts.

What belongs here: pure functions from observations to signals. What does not: the rules themselves
(``rules.py``), and keeping observations (``forecasts.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.rules import CALM_SHARE, price_text
from tsobs_pipelines.degradation import DEGRADED_FACTOR


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


def mae_signals(observations: Sequence[ForecastObservation]) -> dict[str, list[Signal]]:
    """MAE against twice the baseline; without a baseline there is no verdict, and no signal."""
    result: dict[str, list[Signal]] = {}
    for seen in sorted(observations, key=lambda seen: seen.time):
        if seen.mae is None or seen.baseline is None or seen.baseline <= 0:
            continue
        limit = DEGRADED_FACTOR * seen.baseline
        signal = Signal(seen.time, seen.time, _above(seen.mae, limit), seen.mae, limit, _naive_too(seen))
        result.setdefault(seen.model, []).append(signal)
    return result


def skill_signals(observations: Sequence[ForecastObservation]) -> dict[str, list[Signal]]:
    """The 7-day error against the naive forecast's."""
    result: dict[str, list[Signal]] = {}
    for seen in sorted(observations, key=lambda seen: seen.time):
        if seen.week_ratio is None or seen.week_limit is None:
            continue
        verdict = _above(seen.week_ratio, seen.week_limit)
        signal = Signal(seen.time, seen.time, verdict, seen.week_ratio, seen.week_limit)
        result.setdefault(seen.model, []).append(signal)
    return result


def _above(value: float, limit: float) -> Verdict:
    if value > limit:
        return Verdict.BAD
    return Verdict.GOOD if value <= CALM_SHARE * limit else Verdict.BETWEEN


def _naive_too(seen: ForecastObservation) -> str:
    if seen.naive_mae is None or seen.mae is None:
        return "no naive forecast to compare with"
    if seen.naive_baseline is not None:
        if seen.naive_mae > DEGRADED_FACTOR * seen.naive_baseline:
            return f"repeating yesterday failed as well ({price_text(seen.naive_mae)}): the market moved"
        return f"repeating yesterday did not fail ({price_text(seen.naive_mae)}): look at the model"
    if seen.naive_mae >= seen.mae:
        return f"repeating yesterday was no better ({price_text(seen.naive_mae)}): the market moved"
    return f"repeating yesterday was better ({price_text(seen.naive_mae)}): look at the model"
