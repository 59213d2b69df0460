"""The forecast assets over half a year of real prices: every day against pandas, repeated and at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.support.forecasts import Forecasts, days_of, opened_forecasts
from tests.support.prices import FIRST, LAST, MARKET, real_prices_file
from tsobs_pipelines.defs.forecast.keys import PRICES_KEY
from tsobs_pipelines.forecasting.daily_evaluation import verdicts
from tsobs_pipelines.forecasting.delivery import DAY, HOUR, days_between
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker

pytestmark = pytest.mark.long

DAY_61 = FIRST + 60 * DAY
SPRING = date(2015, 3, 29)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forecasts]:
    """Every real day after the 60th, backfilled in one run for each step."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        directory = tmp_path_factory.mktemp("real")
        place = f"csv:{real_prices_file()}"
        for forecasts in opened_forecasts(directory, monkeypatch, place, DAY_61):
            forecasts.fill(DAY_61, LAST)
            yield forecasts


def daily_errors(real: Forecasts) -> pd.DataFrame:
    """Each day's errors with pandas: from the file and the frozen forecasts, with nothing of ours between."""
    raw = pd.read_csv(real_prices_file())
    raw = raw[raw["date"] <= str(LAST)]
    raw["wall"] = pd.to_datetime(raw["date"]) + pd.to_timedelta(raw["hour"], unit="h")
    raw = raw[raw["wall"] != pd.Timestamp("2015-03-29 02:00")]
    raw["utc"] = raw["wall"].dt.tz_localize("Europe/Madrid").dt.tz_convert("UTC")
    price = raw.set_index("utc")["price_eur_per_mwh"] / 1000
    stored = real.frozen(DAY_61, LAST)
    forecast = pd.Series({pd.Timestamp(each.hour): each.yhat for each in stored})
    wall = raw.set_index("utc")["wall"]
    by_wall = pd.Series(price.to_numpy(), index=wall.to_numpy())
    naive = pd.Series(by_wall.reindex(wall - pd.Timedelta(days=1)).to_numpy(), index=price.index)
    # On the Monday after the spring change 02:00 had no hour the day before: 24 hours earlier stands for it.
    naive = naive.fillna(price.shift(24))
    rows = []
    for day in days_between(DAY_61, LAST):
        start, end = (
            pd.Timestamp(str(each), tz="Europe/Madrid").tz_convert("UTC") for each in (day, day + DAY)
        )
        hours = pd.date_range(start, end, freq="h", inclusive="left")
        known = hours[hours.isin(forecast.index)]
        rows.append(
            {
                "day": day,
                "start": hours[0],
                "end": end,
                "n": len(known),
                "mae": (price[known] - forecast[known]).abs().mean(),
                "naive": (price[known] - naive[known]).abs().mean(),
            }
        )
    return pd.DataFrame(rows).set_index("day")


def test_every_real_day_has_one_row_and_pandas_agrees(real: Forecasts) -> None:
    expected = daily_errors(real)
    rows = {MARKET.day_of(row.window_end - HOUR): row for row in real.tracker().rows("week_mean")}
    assert list(rows) == list(expected.index)
    assert len(rows) == 183
    for name, column in (("mae", "mae"), ("naive_mae", "naive"), ("n", "n")):
        ours = np.array([row.metrics[name] for row in rows.values()])
        np.testing.assert_allclose(ours, expected[column].to_numpy(dtype=float), rtol=1e-9)


def test_baseline_and_verdict_of_each_real_day_are_those_of_pandas(real: Forecasts) -> None:
    frame = daily_errors(real)
    ours = verdicts(real.tracker().rows("week_mean"), real.source)
    assert len(ours) == len(frame)
    degraded = 0
    for verdict, (_, tested) in zip(ours, frame.iterrows(), strict=True):
        earlier = frame[frame["end"] <= tested["start"]]
        earlier = earlier.iloc[-30:]
        assert verdict.days == len(earlier)
        if len(earlier) < 7:
            assert verdict.degraded is None
            assert verdict.baseline is None
            continue
        baseline = earlier["mae"].median()
        assert verdict.baseline == pytest.approx(baseline, rel=1e-12)
        assert verdict.degraded == (tested["mae"] > 2 * baseline)
        degraded += bool(verdict.degraded)
    assert degraded > 0, "a test without a degraded day would show little"


def test_the_logged_baseline_is_the_one_that_was_known_then(real: Forecasts) -> None:
    rows = real.tracker().rows("week_mean")
    for row, verdict in zip(rows, verdicts(rows, real.source), strict=True):
        assert row.get("baseline_mae") == verdict.baseline
        assert row.metrics["baseline_days"] == verdict.days


def test_a_repeated_backfill_changes_no_byte(real: Forecasts) -> None:
    before = real.history_file.read_bytes()
    frozen = real.frozen(DAY_61, LAST)
    real.fill(DAY_61, LAST)
    assert real.history_file.read_bytes() == before
    assert real.frozen(DAY_61, LAST) == frozen
    assert str(real.metadata(real.keys.evaluation, LAST)["state"]).startswith("unchanged since ")


SCORER = """
import sys
from datetime import UTC, date, datetime
from tsobs_pipelines.forecasting.delivery import Market, days_between
from tsobs_pipelines.forecasting.daily_evaluation import evaluate_days
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import Subject
from tsobs_pipelines.timeseries.sql import SqlStore
url, models, source, first, last = sys.argv[1:]
days = list(days_between(date.fromisoformat(first), date.fromisoformat(last)))
subject = Subject(source, "week_mean", Market("Europe/Madrid"))
print("ready", flush=True)
sys.stdin.readline()
evaluate_days(SqlStore(url), ModelMetricsTracker(models), subject, days, datetime.now(UTC))
"""


def scorer(real: Forecasts, models: Path) -> subprocess.Popen[str]:
    """A process that is about to evaluate every real day into a history of its own."""
    arguments = [
        real.settings.database_url.get_secret_value(),
        str(models),
        real.source,
        str(DAY_61),
        str(LAST),
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", SCORER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def keys_and_errors(models: str) -> list[tuple[object, ...]]:
    rows = ModelMetricsTracker(models).rows("week_mean")
    return [(row.key, row.get("mae"), row.get("baseline_mae")) for row in rows]


def test_two_backfills_at_once_and_killed_ones_leave_each_day_once(real: Forecasts, tmp_path: Path) -> None:
    expected = keys_and_errors(real.settings.models_dir.get_secret_value())
    for kill_at in (10, 90, 150):
        process = scorer(real, tmp_path)
        go(process)
        while len(keys_and_errors(str(tmp_path))) < kill_at:
            assert process.poll() is None, "ended before it could be killed"
        process.kill()
        process.wait()
        left = keys_and_errors(str(tmp_path))
        assert left == expected[: len(left)]
        assert len(left) < 183
    both = [scorer(real, tmp_path), scorer(real, tmp_path)]
    for process in both:
        go(process)
    assert [process.wait(120) for process in both] == [0, 0]
    assert keys_and_errors(str(tmp_path)) == expected
    assert len((tmp_path / "metrics_history.csv").read_text().splitlines()) == 184
    assert ModelMetricsTracker(str(tmp_path)).bad_lines() == []


def test_backfilled_forecasts_are_marked(real: Forecasts) -> None:
    frozen = real.frozen(DAY_61, LAST)
    assert len(days_of(frozen)) == 183
    for each in frozen:
        day = MARKET.day_of(each.hour)
        assert each.backfilled
        assert each.issued_at == MARKET.issued_at(day)
        assert each.trained_to <= MARKET.start_of(day)
    shown = real.metadata(real.keys.forecast, LAST)
    assert shown["backfilled"] is True
    assert real.metadata(real.keys.evaluation, LAST)["backfilled"] == 24


def test_the_materialisations_say_what_the_ui_draws(real: Forecasts) -> None:
    evaluation = real.metadata(real.keys.evaluation, LAST)
    for name in ("mae", "rmse", "r2", "n", "naive_mae", "skill", "mase", "coverage_80", "baseline_mae"):
        assert isinstance(evaluation[name], float), name
    price = real.metadata(PRICES_KEY, LAST)
    assert (price["hours"], price["missing_hours"]) == (24, 0)
    assert price["source"] == real.source
    assert real.metadata(PRICES_KEY, SPRING)["hours"] == 23
    model = real.metadata(real.keys.model, LAST)
    assert model["rows"] == 28 * 24
    assert model["trained_to"] == MARKET.start_of(LAST).isoformat()
