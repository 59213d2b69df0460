"""A forecast whose error is more than twice its model's baseline."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.alerting.evidence import ForecastEvidence, ForecastObservation
from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal
from tsobs_pipelines.alerting.rule import AlertAsset, Doc, Example, Icon, Rule, Severity, Unit, price_text
from tsobs_pipelines.alerting.rules.limits import above
from tsobs_pipelines.alerting.rules.models import by_model
from tsobs_pipelines.degradation import DEGRADED_FACTOR, degraded_limit, naive_failed, reason_text

MAE_ALERTS = AlertAsset(
    name="mae_alerts",
    sensor="mae_degradation_sensor",
    description="Forecasts that are no longer good.",
)


def mae_signals(observations: Sequence[ForecastObservation]) -> dict[str, list[Signal]]:
    """MAE against twice the baseline; without a baseline there is no verdict, and no signal."""
    return by_model(observations, _signal)


def _signal(seen: ForecastObservation) -> Signal | None:
    if seen.mae is None or seen.baseline is None or seen.baseline <= 0:
        return None
    limit = degraded_limit(seen.baseline)
    return Signal(seen.time, seen.time, above(seen.mae, limit), seen.mae, limit, _naive_too(seen))


def _naive_too(seen: ForecastObservation) -> str:
    failed = naive_failed(seen.naive_mae, seen.naive_baseline)
    return reason_text(failed=failed, errors=price_text(seen.naive_mae))


def _times(change: Change) -> str:
    if not change.value or not change.limit:
        return "over"
    return f"{change.value / (change.limit / DEGRADED_FACTOR):.1f} times"


def _firing(change: Change) -> str:
    error = f"MAE {price_text(change.value)}, limit {price_text(change.limit)}"
    return f"forecast {change.subject} is {_times(change)} its baseline ({error}); {change.detail}"


def _resolved(change: Change) -> str:
    error = f"MAE {price_text(change.value)}, limit {price_text(change.limit)}"
    return f"forecast {change.subject} is good again: {error}"


MAE = Rule(
    key="mae",
    title="Forecast error",
    unit=Unit.PRICE,
    icon=Icon.SQUARE,
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=2),
    evidence=ForecastEvidence(mae_signals),
    asset=MAE_ALERTS,
    firing=_firing,
    resolved=_resolved,
    doc=Doc(
        about="model",
        fires="MAE strictly above twice the baseline",
        is_over="two evaluations in a row at or below 80 % of that",
        example=Example(
            "prophet_price_forecast",
            value=0.031,
            limit=0.02,
            detail="repeating yesterday did not fail (0.0120 EUR/kWh): look at the model",
            value_after=0.011,
        ),
    ),
)
