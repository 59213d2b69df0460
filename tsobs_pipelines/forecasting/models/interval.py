"""The 80 % interval: from the errors of earlier days, by hour and by how large errors have been lately.

A weighted conformal interval (Barber, Candès, Ramdas and Tibshirani, *Conformal prediction beyond
exchangeability*, Annals of Statistics 51, 2023) of normalised errors.
"""

from __future__ import annotations

import numpy as np

from tsobs_pipelines.forecasting.models.features import Matrix

DAYS = 120
HOUR_HALF_LIFE_DAYS = 45.0
QUANTILE_HALF_LIFE_DAYS = 45.0
RECENT_DAYS = 28
RECENT_HALF_LIFE_DAYS = 4.0
RECENT_POWER = 0.9
"""How strongly the widths follow the size of the last days' errors: 0 not at all, 1 fully."""

FIRST_SCORE = 7
"""Days of errors that are needed before the first score."""
WIDENING = 1.03
"""A forecast's errors by those of days left out of the fit, on which the penalty was chosen."""
LEAST = 0.2


def interval(errors: Matrix) -> tuple[Matrix, Matrix]:
    """The 10 % and 90 % quantiles of the next day's errors, for each of its 24 slots, in the errors' unit.

    ``errors`` is days x 24, oldest first: errors on days that were not fitted on, in a unit that is known
    before a day. NaN where there is none; days without any are left out.
    """
    there = errors[~np.isnan(errors).all(axis=1)][-DAYS - RECENT_DAYS :]
    usual = _usual_by_slot(there)
    normal = there / usual
    by_day = np.nanmean(np.abs(normal), axis=1)
    first = min(FIRST_SCORE, len(normal) - 1)
    # For each day from ``first`` on, and for the next day: the errors of the days before it.
    lately = np.array([_lately(by_day[:row]) for row in range(first, len(normal) + 1)])
    size = np.maximum(lately, LEAST) ** RECENT_POWER
    scores = normal[first:] / size[:-1, None]
    weights = np.repeat(_fading(len(scores), QUANTILE_HALF_LIFE_DAYS), scores.shape[1])
    low, high = _quantiles(scores.ravel(), weights, (0.1, 0.9))
    unit = WIDENING * usual * size[-1]
    return low * unit, high * unit


def _usual_by_slot(errors: Matrix) -> Matrix:
    """The mean size of each slot's errors, recent days first, a little of its neighbours' mixed in."""
    weights = np.where(np.isnan(errors), 0.0, _fading(len(errors), HOUR_HALF_LIFE_DAYS)[:, None])
    total = (weights * np.abs(np.nan_to_num(errors))).sum(axis=0)
    sizes = total / np.maximum(weights.sum(axis=0), 1e-12)
    smooth = np.convolve(np.pad(sizes, 1, mode="edge"), (0.25, 0.5, 0.25), mode="valid")
    return np.asarray(np.maximum(smooth, max(0.25 * float(smooth.mean()), 1e-9)))


def _lately(sizes: Matrix) -> float:
    """The mean of the last days' sizes, recent days first."""
    last = sizes[-RECENT_DAYS:]
    return float(np.average(last, weights=_fading(len(last), RECENT_HALF_LIFE_DAYS)))


def _fading(count: int, half_life: float) -> Matrix:
    return np.asarray(0.5 ** (np.arange(count)[::-1] / half_life))


def _quantiles(values: Matrix, weights: Matrix, levels: tuple[float, ...]) -> list[float]:
    """Of weighted values, NaN left out: the smallest with at least the level's share of weight up to it."""
    there = ~np.isnan(values)
    values, weights = values[there], weights[there]
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = np.searchsorted(reached, np.array(levels) * reached[-1])
    return [float(each) for each in values[order][np.minimum(at, len(values) - 1)]]
