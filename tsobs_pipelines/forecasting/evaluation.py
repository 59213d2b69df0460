"""Error measures of a forecast: each a function of plain sequences, with its formula and source.

All sequences of one call have the same length ``n`` and hold finite numbers; otherwise :class:`ValueError`.
A difference that is no more than rounding noise of the two numbers counts as none, so that no measure divides
by it. No numpy: a 5-minute run scores 24 values and should import as little as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum, isclose, isfinite, sqrt

RELATIVE_NOISE = 1e-12
ABSOLUTE_NOISE = 1e-9
"""More than what sums, means and changes of the unit put prices off by; their steps are 0.00001 EUR/kWh."""


def mae(actual: Sequence[float], forecast: Sequence[float]) -> float:
    """Mean absolute error, in the unit of the values: ``Σ|y - ŷ| / n``.

    Source: Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed., section 5.8.
    """
    _require_pairs(actual, forecast)
    return fsum(abs(_difference(y, f)) for y, f in zip(actual, forecast, strict=True)) / len(actual)


def rmse(actual: Sequence[float], forecast: Sequence[float]) -> float:
    """Root mean squared error, in the unit of the values: ``√(Σ(y - ŷ)² / n)``.

    Source: Hyndman and Athanasopoulos, *Forecasting: Principles and Practice*, 3rd ed., section 5.8.
    """
    _require_pairs(actual, forecast)
    return sqrt(_squares(actual, forecast) / len(actual))


def r2(actual: Sequence[float], forecast: Sequence[float]) -> float | None:
    """Coefficient of determination, ``1 - Σ(y - ŷ)² / Σ(y - ȳ)²``.

    ``None`` when undefined: fewer than two values, or actual values that are the same but for rounding noise.
    Strongly negative on flat days, which says little about the forecast. Source: Draper and Smith, *Applied
    Regression Analysis*, 3rd ed., chapter 1; as ``sklearn.metrics.r2_score`` with ``force_finite=False``.
    """
    _require_pairs(actual, forecast)
    total = _squares(actual, [fsum(actual) / len(actual)] * len(actual))
    return 1.0 - _squares(actual, forecast) / total if total > 0.0 else None


def mase(actual: Sequence[float], forecast: Sequence[float], scale: float) -> float | None:
    """Mean absolute scaled error, ``MAE / scale``, without unit; below 1 beats the naive one's usual error.

    ``scale`` is the in-sample error of the seasonal naive forecast (:func:`naive_scale`), taken before the
    values scored here. ``None`` when it is 0. Source: Hyndman and Koehler, *Another look at measures of
    forecast accuracy*, International Journal of Forecasting 22 (2006), equation for ``q``, seasonal form.
    """
    if not isfinite(scale) or scale < 0:
        raise ValueError(f"scale={scale!r}, expected a finite number of at least 0")
    error = mae(actual, forecast)
    return error / scale if scale > 0 else None


def naive_scale(series: Sequence[float], season: int) -> float | None:
    """Mean absolute error of the seasonal naive forecast inside ``series``: ``Σ|y_t - y_{t-m}| / (n - m)``.

    ``season`` is ``m``, in steps. ``None`` when the series is not longer than one season. Source: as
    :func:`mase`.
    """
    if season < 1:
        raise ValueError(f"season={season}, expected at least 1")
    if len(series) <= season:
        return None
    return mae(series[season:], series[:-season])


def coverage(actual: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> float:
    """Share of actual values inside the interval, bounds included: ``#{lower ≤ y ≤ upper} / n``.

    An 80 % interval that is honest has 0.8 in the long run. Source: Christoffersen,
    *Evaluating interval forecasts*, International Economic Review 39 (1998), the mean of the indicator ``I``;
    as the column ``coverage`` of ``prophet.diagnostics.performance_metrics``.
    """
    _require_pairs(actual, lower)
    _require_pairs(actual, upper)
    inside = sum(low <= y <= high for y, low, high in zip(actual, lower, upper, strict=True))
    return inside / len(actual)


def skill(error: float, reference_error: float) -> float | None:
    """Skill score against a reference forecast, ``1 - error / reference_error``.

    1 is perfect, 0 no better than the reference, below 0 worse; ``None`` when the reference makes no error.
    Source: Murphy, *Skill scores based on the mean square error*, Monthly Weather Review 116 (1988), with the
    absolute instead of the squared error.
    """
    return 1.0 - error / reference_error if reference_error > 0 else None


def _difference(first: float, second: float) -> float:
    same = isclose(first, second, rel_tol=RELATIVE_NOISE, abs_tol=ABSOLUTE_NOISE)
    return 0.0 if same else first - second


def _squares(first: Sequence[float], second: Sequence[float]) -> float:
    return fsum(_difference(one, other) ** 2 for one, other in zip(first, second, strict=True))


def _require_pairs(first: Sequence[float], second: Sequence[float]) -> None:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} values against {len(second)}, expected as many")
    if not first:
        msg = "no values to score"
        raise ValueError(msg)
    for value in (*first, *second):
        if not isfinite(value):
            raise ValueError(f"value {value!r}, expected a finite number")
