"""Shared by rules that compare a value with a limit."""

from __future__ import annotations

from tsobs_pipelines.alerting.machine import Verdict
from tsobs_pipelines.alerting.rule import CALM_SHARE


def above(value: float, limit: float) -> Verdict:
    """Bad above the limit, good at or below 80 % of it, neither between the two."""
    if value > limit:
        return Verdict.BAD
    return Verdict.GOOD if value <= CALM_SHARE * limit else Verdict.BETWEEN
