"""Shared by rules about the forecasts of models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tsobs_pipelines.alerting.evidence import ForecastObservation
from tsobs_pipelines.alerting.machine import Signal


def by_model(
    observations: Sequence[ForecastObservation], signal_of: Callable[[ForecastObservation], Signal | None]
) -> dict[str, list[Signal]]:
    """The signals of the observations that give one, by model, in the order of time."""
    result: dict[str, list[Signal]] = {}
    for observation in sorted(observations, key=lambda one: one.time):
        signal = signal_of(observation)
        if signal is not None:
            result.setdefault(observation.model, []).append(signal)
    return result
