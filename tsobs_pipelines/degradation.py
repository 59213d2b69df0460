"""When a forecast counts as degraded, and whether the market or the model is the reason.

Shared by the verdict on a forecast and its alert rule.
"""

DEGRADED_FACTOR = 2.0
"""A forecast is degraded while its MAE is strictly above this multiple of its baseline."""


def degraded_limit(baseline: float) -> float:
    """The error above which a forecast with this baseline is degraded, in the baseline's unit."""
    return DEGRADED_FACTOR * baseline


def is_degraded(error: float, baseline: float) -> bool:
    """Whether an error of a forecast (the naive one's as well) is above that limit."""
    return error > degraded_limit(baseline)


def naive_failed(error: float | None, baseline: float | None) -> bool | None:
    """Whether repeating the day before is degraded by its own baseline; ``None`` without one of the two."""
    return None if error is None or baseline is None else is_degraded(error, baseline)


def reason_text(*, failed: bool | None, errors: str) -> str:
    """What a degraded forecast is due to, by whether repeating the day before failed as well."""
    if failed is None:
        return "whether repeating yesterday failed as well can't be said"
    if failed:
        return f"repeating yesterday failed as well ({errors}): the market moved, not only the model"
    return f"repeating yesterday did not fail ({errors}): look at the model"
