"""The verdict on a forecast: a pure function of the rows of the metrics history.

The baseline of a window is the median error of the same model and version over its earlier days: at most the
30 latest windows that overlap neither one another nor the window under test. So a day counts once however
often it was scored, and nothing is part of its own baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import fsum
from statistics import median

from tsobs_pipelines.degradation import is_degraded, naive_failed, reason_text
from tsobs_pipelines.forecasting.history_file import MetricsRow

BASELINE_DAYS = 30
MINIMUM_DAYS = 7
MINIMUM_HOURS = 20
"""A window with fewer scored hours gives no verdict and no part of a baseline."""

SKILL_DAYS = 7
SKILL_LIMIT = 1.2
"""The skill warning: :func:`skill_ratio` above this (``bench/forecast_detection.py``)."""


@dataclass(frozen=True, slots=True)
class ForecastVerdict:
    """The verdict on a model at its newest window. Errors in EUR/kWh, times in UTC.

    ``degraded``, ``naive_failed`` and ``skill_warning`` are ``None`` where there is too little to judge by.
    """

    model_name: str
    version: str
    window_start: datetime
    window_end: datetime
    mae: float
    hours: int
    baseline: float | None
    days: int
    degraded: bool | None
    naive_mae: float | None
    naive_baseline: float | None
    naive_failed: bool | None
    skill_ratio: float | None
    skill_warning: bool | None
    since: datetime | None
    """The start of the first window of the run of degraded days that this one ends."""
    skill_since: datetime | None

    @property
    def factor(self) -> float | None:
        """The error as a multiple of the baseline."""
        return self.mae / self.baseline if self.baseline else None


def is_counted(row: MetricsRow, metric: str) -> bool:
    """Whether the row is a full enough measurement of the metric."""
    hours = row.get("n")
    return row.get(metric) is not None and (hours is None or hours >= MINIMUM_HOURS)


def baseline_rows(
    rows: Sequence[MetricsRow], metric: str, before: datetime | None, limit: int = BASELINE_DAYS
) -> list[MetricsRow]:
    """The latest windows with the metric that end by ``before`` and do not overlap, the newest first.

    ``rows`` are those of one model and version, in the order of their windows.
    """
    chosen: list[MetricsRow] = []
    for row in reversed(rows):
        if len(chosen) == limit:
            break
        if (before is None or row.window_end <= before) and is_counted(row, metric):
            chosen.append(row)
            before = row.window_start
    return chosen


def judge(rows: Sequence[MetricsRow], as_of: datetime | None = None) -> ForecastVerdict | None:
    """The verdict on the newest window (that ends by ``as_of``), or ``None`` without one that has an error.

    ``rows`` are those of one model; those of other versions than the newest are left out.
    """
    known = [row for row in rows if as_of is None or row.window_end <= as_of]
    known.sort(key=lambda row: (row.window_end, row.window_start))
    while known and known[-1].get("mae") is None:
        known.pop()
    if not known:
        return None
    newest = known[-1]
    known = [row for row in known if row.version == newest.version]
    baseline, days = _baseline(known, newest, "mae")
    naive_baseline, _ = _baseline(known, newest, "naive_mae")
    naive_mae = newest.get("naive_mae")
    ratio = skill_ratio(known, newest.window_end)
    degraded = _degraded(known, newest)
    warned = None if ratio is None else ratio > SKILL_LIMIT
    return ForecastVerdict(
        model_name=newest.model_name,
        version=newest.version,
        window_start=newest.window_start,
        window_end=newest.window_end,
        mae=newest.metrics["mae"],
        hours=int(newest.get("n") or 24),
        baseline=baseline,
        days=days,
        degraded=degraded,
        naive_mae=naive_mae,
        naive_baseline=naive_baseline,
        naive_failed=naive_failed(naive_mae, naive_baseline),
        skill_ratio=ratio,
        skill_warning=warned,
        since=_since(known, newest) if degraded else None,
        skill_since=_skill_since(known, newest) if warned else None,
    )


def skill_ratio(rows: Sequence[MetricsRow], end: datetime) -> float | None:
    """The model's error over the 7 days before ``end``, as a multiple of the naive forecast's.

    ``mean(mae) / max(mean(naive_mae), usual)``, with ``usual`` the median of the naive forecast's error on
    the 30 days before those 7: worse than repeating yesterday, by its error of this week and by its usual
    one. Without the latter a week in which the market stands still, and yesterday is hard to beat, warns.
    ``None`` with fewer than 5 days of both, or when the naive forecast made no error.
    """
    start = end - timedelta(days=SKILL_DAYS, hours=1)  # a day with a clock change may be an hour longer
    week = [
        row
        for row in baseline_rows(rows, "mae", end, SKILL_DAYS)
        if row.window_start >= start and row.get("naive_mae") is not None
    ]
    if len(week) < SKILL_DAYS - 2:
        return None
    earlier = [row.metrics["naive_mae"] for row in baseline_rows(rows, "naive_mae", week[-1].window_start)]
    usual = median(earlier) if len(earlier) >= MINIMUM_DAYS else 0.0
    naive = max(fsum(row.metrics["naive_mae"] for row in week) / len(week), usual)
    return fsum(row.metrics["mae"] for row in week) / len(week) / naive if naive > 0 else None


def describe(verdict: ForecastVerdict) -> str:
    """The verdict in a sentence or three, in €/MWh, as prices are spoken of."""
    error = (
        f"MAE {_per_mwh(verdict.mae)} €/MWh over the {verdict.hours} hours to {_minute(verdict.window_end)}"
    )
    parts = [f"{verdict.model_name}: {error}"]
    if verdict.baseline is None:
        few = f"{verdict.days} of the {MINIMUM_DAYS} earlier days that a baseline needs"
        parts[0] += f"; no verdict: {few}."
    elif verdict.degraded is None:
        parts[0] += f"; no verdict: fewer than {MINIMUM_HOURS} hours could be scored."
    else:
        beside = f"the baseline {_per_mwh(verdict.baseline)} €/MWh (median of {verdict.days} earlier days)"
        times = f"{verdict.factor:.1f} x " if verdict.factor is not None else "beside "
        parts[0] += f", {times}{beside}{_since_words(verdict.since)}."
    if verdict.degraded:
        parts.append(_naive_words(verdict))
    if verdict.skill_warning and verdict.skill_ratio is not None:
        parts.append(
            f"Over the last {SKILL_DAYS} days the model's error is at least {verdict.skill_ratio:.2f} x "
            f"that of taking the same hour of the day before{_since_words(verdict.skill_since)}: "
            "it may have stopped fitting."
        )
    return " ".join(parts)


def _baseline(rows: Sequence[MetricsRow], tested: MetricsRow, metric: str) -> tuple[float | None, int]:
    values = [row.metrics[metric] for row in baseline_rows(rows, metric, tested.window_start)]
    return (median(values) if len(values) >= MINIMUM_DAYS else None), len(values)


def _degraded(rows: Sequence[MetricsRow], tested: MetricsRow) -> bool | None:
    """Strictly above twice the baseline; ``None`` without a baseline or with too few hours."""
    baseline, _ = _baseline(rows, tested, "mae")
    if baseline is None or not is_counted(tested, "mae"):
        return None
    return is_degraded(tested.metrics["mae"], baseline)


def _since(rows: Sequence[MetricsRow], newest: MetricsRow) -> datetime:
    since = newest.window_start
    for row in baseline_rows(rows, "mae", newest.window_start):
        if not _degraded(rows, row):
            break
        since = row.window_start
    return since


def _skill_since(rows: Sequence[MetricsRow], newest: MetricsRow) -> datetime:
    since = newest.window_start
    for row in baseline_rows(rows, "mae", newest.window_start):
        ratio = skill_ratio(rows, row.window_end)
        if ratio is None or ratio <= SKILL_LIMIT:
            break
        since = row.window_start
    return since


def _naive_words(verdict: ForecastVerdict) -> str:
    now, usual = _per_mwh(verdict.naive_mae), _per_mwh(verdict.naive_baseline)
    reason = reason_text(failed=verdict.naive_failed, errors=f"{now} €/MWh against {usual} usually")
    return f"{reason[0].upper()}{reason[1:]}."


def _per_mwh(eur_per_kwh: float | None) -> str:
    return "?" if eur_per_kwh is None else f"{eur_per_kwh * 1000:.2f}"


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _since_words(since: datetime | None) -> str:
    return f", since {_minute(since)}" if since is not None else ""
