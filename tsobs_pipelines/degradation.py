"""When a forecast counts as degraded: shared by the verdict on it and its alert rule."""

DEGRADED_FACTOR = 2.0
"""A forecast is degraded while its MAE is strictly above this multiple of its baseline."""


def degraded_limit(baseline: float) -> float:
    """The error above which a forecast with this baseline is degraded, in the baseline's unit."""
    return DEGRADED_FACTOR * baseline


def is_degraded(error: float, baseline: float) -> bool:
    """Whether an error of a forecast (the naive one's as well) is above that limit."""
    return error > degraded_limit(baseline)
