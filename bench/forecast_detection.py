"""Detection of a degraded model: errors are multiplied from a random day on, on the real prices.

Each day is a row of the metrics history, judged by the pipeline's own ``verdict.judge`` as of its end. 200
trials for each factor, noticed when a warning holds on one of the first 7 days. Beside it the healthy
days that warn. Prints a Markdown table.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from bench.harness import table
from bench.prices import actual, real_prices, rolling, scored_days
from tests.support.prices import MARKET
from tsobs_pipelines.forecasting.history_file import MetricsRow
from tsobs_pipelines.forecasting.models.prophet_model import Parameters
from tsobs_pipelines.forecasting.verdict import BASELINE_DAYS, MINIMUM_DAYS, SKILL_DAYS, judge

TRIALS = 200
SEED = 5
LOGGED = datetime(2026, 1, 1, tzinfo=UTC)


def healthy_rows() -> list[MetricsRow]:
    """The metrics history of the model over the real prices, in EUR/kWh."""
    prices = real_prices()
    days = scored_days(prices)
    made = rolling(Parameters(), prices, days)[..., 0]
    truth, before = (
        actual(prices, days),
        actual(prices, [day.fromordinal(day.toordinal() - 1) for day in days]),
    )
    rows = []
    for number, day in enumerate(days):
        metrics = {
            "mae": float(np.nanmean(np.abs(made[number] - truth[number]))) / 1000,
            "naive_mae": float(np.nanmean(np.abs(before[number] - truth[number]))) / 1000,
            "n": float(np.isfinite(truth[number]).sum()),
        }
        rows.append(MetricsRow("m", "1", MARKET.start_of(day), MARKET.end_of(day), metrics, LOGGED))
    return rows


def degraded(rows: Sequence[MetricsRow], onset: int, factor: float) -> list[MetricsRow]:
    """The rows with the model's errors multiplied from ``onset`` on."""
    return [
        replace(row, metrics={**row.metrics, "mae": row.metrics["mae"] * (factor if at >= onset else 1)})
        for at, row in enumerate(rows)
    ]


def warnings(rows: Sequence[MetricsRow], last: int) -> tuple[bool | None, bool | None]:
    """The verdicts as of the day ``last``: the rule as asked, the skill-based warning."""
    verdict = judge(rows[max(0, last - 2 * BASELINE_DAYS) : last + 1])
    assert verdict is not None
    return verdict.degraded, verdict.skill_warning


def main() -> None:
    """Print the table."""
    rows = healthy_rows()
    chance = random.Random(SEED)  # noqa: S311 - no secret
    lines = []
    for factor in (2.0, 3.0):
        noticed = [0, 0, 0]
        for _ in range(TRIALS):
            onset = chance.randrange(BASELINE_DAYS, len(rows) - SKILL_DAYS)
            ill = degraded(rows, onset, factor)
            week = [warnings(ill, last) for last in range(onset, onset + SKILL_DAYS)]
            asked, skill = any(one for one, _ in week), any(two for _, two in week)
            noticed = [noticed[0] + asked, noticed[1] + skill, noticed[2] + (asked or skill)]
        shares = [f"{100 * count / TRIALS:.1f} %" for count in noticed]
        lines.append([f"errors times {factor:.0f}, noticed within 7 days", *shares])
    healthy = [warnings(rows, last) for last in range(len(rows))]
    judged = [[two for two in each if two is not None] for each in zip(*healthy, strict=True)]
    alarms = [f"{100 * sum(each) / len(each):.1f} % ({sum(each)} of {len(each)})" for each in judged]
    either = sum(bool(one or two) for one, two in healthy[MINIMUM_DAYS:])
    either_share = f"{100 * either / (len(rows) - MINIMUM_DAYS):.1f} %"
    lines.append(["healthy days that warn", *alarms, either_share])
    print(table(["", "MAE above twice the baseline", "skill", "either"], lines))


if __name__ == "__main__":
    main()
