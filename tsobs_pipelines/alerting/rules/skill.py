"""A forecast that is no better than repeating yesterday's prices."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.alerting.evidence import ForecastEvidence, ForecastObservation
from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal
from tsobs_pipelines.alerting.rule import Doc, Example, Icon, Rule, Severity, Unit
from tsobs_pipelines.alerting.rules.limits import above
from tsobs_pipelines.alerting.rules.mae import MAE_ALERTS
from tsobs_pipelines.alerting.rules.models import by_model


def skill_signals(observations: Sequence[ForecastObservation]) -> dict[str, list[Signal]]:
    """The 7-day error against the naive forecast's."""
    return by_model(observations, _signal)


def _signal(seen: ForecastObservation) -> Signal | None:
    if seen.week_ratio is None or seen.week_limit is None:
        return None
    verdict = above(seen.week_ratio, seen.week_limit)
    return Signal(seen.time, seen.time, verdict, seen.week_ratio, seen.week_limit)


def _firing(change: Change) -> str:
    ratio = f"at least {change.value or 0:.2f} times that of repeating yesterday"
    return (
        f"forecast {change.subject} has lost its skill: "
        f"over 7 days its error is {ratio} (limit {change.limit or 0:.2f})"
    )


def _resolved(change: Change) -> str:
    ratio = f"{change.value or 0:.2f} times the error of repeating yesterday"
    return f"forecast {change.subject} has its skill back: {ratio}"


SKILL = Rule(
    key="skill",
    title="Forecast worse than yesterday’s prices",  # noqa: RUF001 - shown on the page
    unit=Unit.TIMES,
    icon=Icon.TRIANGLE,
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=2),
    evidence=ForecastEvidence(skill_signals),
    asset=MAE_ALERTS,
    firing=_firing,
    resolved=_resolved,
    doc=Doc(
        about="model",
        fires=(
            "the 7-day error is above 1.2 × that of repeating yesterday, "  # noqa: RUF001 - as people write it
            "by its error of these days and by its usual one"
        ),
        is_over="twice in a row at or below 80 % of it",
        example=Example("prophet_price_forecast", value=1.6, limit=1.5, value_after=0.9),
    ),
)
