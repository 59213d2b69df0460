"""The forecast assets in Dagster: backfill and evaluation of real prices, frozen forecasts, empty ticks."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from collections.abc import Iterator, Set
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from tests.support.forecasts import Forecasts, check_results, days_of
from tests.support.prices import FIRST, LAST, MARKET, real_prices, real_prices_file
from tests.support.week_mean import WeekMean
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.forecast.keys import MAE_CHECK, PRICES_CHECK, PRICES_KEY, SKILL_CHECK
from tsobs_pipelines.forecasting.daily_evaluation import evaluate_days, verdicts
from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market, days_between
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models.interface import FittedModel, ForecastModel, Prices
from tsobs_pipelines.forecasting.models.prophet_model import ProphetPriceForecast
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import Subject, forecast_rows
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.schema import FORECASTS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import StoreUnavailableError, Window

DAY_61 = FIRST + 60 * DAY
SPRING = date(2015, 3, 29)


def opened(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    price_source: str,
    start: date,
    model: ForecastModel | None = None,
) -> Iterator[Forecasts]:
    monkeypatch.setenv("TSOBS_STATE_DIR", str(directory / "var"))
    monkeypatch.setenv("TSOBS_MODELS_DIR", str(directory / "models"))
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", price_source)
    monkeypatch.setenv("TSOBS_START_DATE", str(start))
    monkeypatch.delenv("TSOBS_DATABASE_URL", raising=False)
    (directory / "var").mkdir()
    settings = load_settings()
    store = SqlStore(settings.database_url)
    monkeypatch.setattr(resources.opened, "settings", lambda: settings)
    monkeypatch.setattr(resources.opened, "store", lambda: store)
    source = open_price_source(settings).name
    # In memory: on the disk each run has a database of its own, which takes longer than most runs.
    with dg.DagsterInstance.ephemeral(str(directory)) as instance:
        yield Forecasts(settings, store, instance, source, model or WeekMean())
    store.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forecasts]:
    """Every real day after the 60th, backfilled in one run for each step."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        directory = tmp_path_factory.mktemp("real")
        place = f"csv:{real_prices_file()}"
        for forecasts in opened(directory, monkeypatch, place, DAY_61):
            forecasts.fill(DAY_61, LAST)
            yield forecasts


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forecasts]:
    """The simulated market of the last ten days, nothing filled in."""
    yield from opened(tmp_path, monkeypatch, "demo", today() - 10 * DAY)


def today() -> date:
    return MARKET.day_of(datetime.now(UTC))


def rescored(forecasts: Forecasts, days: list[date]) -> list[str]:
    found = evaluate_days(
        forecasts.store,
        forecasts.tracker(),
        Subject(forecasts.source, forecasts.model.name, MARKET),
        days,
        datetime.now(UTC),
    )
    return [each.state for each in found]


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


# Frozen, and without looking ahead.


@pytest.fixture(scope="module")
def prophet() -> ProphetPriceForecast:
    return ProphetPriceForecast()


@pytest.mark.parametrize("day", [date(2015, 6, 18), date(2015, 3, 29), date(2015, 3, 30)])
def test_prices_of_the_day_and_later_change_no_bit_of_its_forecast(
    prophet: ProphetPriceForecast, day: date
) -> None:
    prices = real_prices()
    numbers = random.Random(7)  # noqa: S311 - noise
    start = MARKET.start_of(day)
    noisy = {hour: price if hour < start else numbers.uniform(0, 1) for hour, price in prices.items()}
    absent = {hour: price for hour, price in prices.items() if hour < start}
    fitted = prophet.fit(prices, day, MARKET)
    forecast = prophet.predict(fitted, prices, MARKET)
    assert len(forecast) == len(MARKET.hours_of(day))
    for other in (noisy, absent):
        again = prophet.fit(other, day, MARKET)
        assert again.to_json() == fitted.to_json()
        assert prophet.predict(again, other, MARKET) == forecast
    earlier = {hour: price if hour >= start - HOUR else price * 1.1 for hour, price in prices.items()}
    assert prophet.fit(earlier, day, MARKET).to_json() != fitted.to_json()


def test_prophet_runs_again_to_the_same_bytes_and_frozen_forecasts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prophet: ProphetPriceForecast
) -> None:
    place, first, last = f"csv:{real_prices_file()}", date(2015, 6, 17), date(2015, 6, 18)
    for forecasts in opened(tmp_path, monkeypatch, place, first, prophet):
        forecasts.fill(first, last)
        models = sorted(Path(forecasts.settings.models_dir.get_secret_value(), prophet.name).rglob("*.json"))
        assert [path.stem for path in models] == [str(first), str(last)]
        before = [path.read_bytes() for path in models]
        frozen = forecasts.frozen(first, last)
        assert len(frozen) == 48
        assert "data:image/png;base64," in str(forecasts.metadata(forecasts.keys.evaluation, last)["picture"])
        assert "data:image/png;base64," in str(forecasts.metadata(forecasts.keys.forecast, last)["forecast"])
        assert "prophet" in str(forecasts.metadata(forecasts.keys.model, last)["details"])
        # Forgotten and made again: the same to the last bit.
        span = Window(MARKET.start_of(first), MARKET.end_of(last))
        forecasts.store.delete(FORECASTS, span, {"source": forecasts.source})
        assert forecasts.run("fill_forecasts", first, last).success
        assert [path.read_bytes() for path in models] == before
        assert forecasts.frozen(first, last) == frozen
        # History changed under it: what was issued stays as it was issued.
        day_before = forecasts.prices(first - 2 * DAY, first - DAY)
        forecasts.set_prices({hour: price * 3 for hour, price in day_before.items()})
        assert forecasts.run("fill_forecasts", first, last).success
        assert [path.read_bytes() for path in models] != before
        assert forecasts.frozen(first, last) == frozen
        said = forecasts.metadata(forecasts.keys.forecast, last)["state"]
        assert said == "frozen: issued before, left as it was"


# Prices that are not as they should be.


def csv_market(tmp_path: Path, days: int, drop: Set[tuple[int, int]] = frozenset()) -> Path:
    """A file of prices for the days before today; ``drop`` are (days ago, hour)."""
    rows = [
        f"{today() - back * DAY},{hour},{50 + 10 * ((hour * 7 + back) % 5)}"
        for back in range(days, -1, -1)
        for hour in range(24)
        if (back, hour) not in drop
    ]
    file = tmp_path / "market.csv"
    file.write_text("date,hour,price_eur_per_mwh\n" + "\n".join(rows) + "\n")
    return file


def test_missing_doubled_and_absurd_prices_fail_the_check_with_their_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = csv_market(tmp_path, 45, {(3, 5), (3, 6)})
    day = today() - 3 * DAY
    with file.open("a") as more:
        more.write(f"{day},8,99\n{day},10,nan\n{day},11,90000\n")
    for forecasts in opened(tmp_path, monkeypatch, f"csv:{file}", today() - 10 * DAY):
        result = forecasts.run("fetch_prices", day, day)
        assert result.success
        check = check_results(result)[PRICES_CHECK]
        assert not check.passed
        said = str(check.description)
        assert "missing 05:00" in said
        assert "06:00" in said
        assert "given twice 08:00" in said
        assert "not a price" in said
        # The two absent hours and the one with two prices; where a good price came as well, it is kept.
        assert len(forecasts.prices(day, day)) == len(MARKET.hours_of(day)) - 3


def test_late_piecemeal_corrected_and_absent_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late, first = today() - 2 * DAY, today() - 10 * DAY
    holes = {(back, hour) for back in (3, 2) for hour in range(24)}
    file = csv_market(tmp_path, 45, holes)
    for forecasts in opened(tmp_path, monkeypatch, f"csv:{file}", first):
        forecasts.fill(first, late)
        # Not at all for two days: nothing scored, said so, and the check names the hours.
        assert forecasts.metadata(forecasts.keys.evaluation, late)["state"] == (
            "no actual prices for these hours yet"
        )
        check = check_results(forecasts.run("fill_prices", late - DAY, late))[PRICES_CHECK]
        assert not check.passed
        assert check.metadata["missing_hours"].value == sum(
            len(MARKET.hours_of(day)) for day in (late - DAY, late)
        )
        assert len(forecasts.tracker().rows("week_mean")) == 7
        # In pieces: scored over the hours that are there.
        csv_market(tmp_path, 45, {(3, hour) for hour in range(24)} | {(2, 20), (2, 21)})
        forecasts.fill(first, late)
        shown = forecasts.metadata(forecasts.keys.evaluation, late)
        assert shown["n"] == 22
        assert len(shown["hours_without_price"]) == 2  # type: ignore[arg-type]
        # Late: scored as a whole, in the place of the piece.
        csv_market(tmp_path, 45)
        forecasts.fill(first, late)
        rows = forecasts.tracker().rows("week_mean")
        assert len(rows) == 9
        assert rows[-1].metrics["n"] == 24
        before = rows[-1].metrics["mae"]
        # Corrected after the fact: scored again, once; the frozen forecast stays.
        frozen = forecasts.frozen(first, late)
        text = file.read_text().splitlines()
        text = [line.rsplit(",", 1)[0] + ",500" if line.startswith(f"{late},12,") else line for line in text]
        file.write_text("\n".join(text) + "\n")
        forecasts.fill(first, late)
        assert forecasts.metadata(PRICES_KEY, late)["corrected_hours"] == 1
        rows = forecasts.tracker().rows("week_mean")
        assert len(rows) == 9
        assert rows[-1].metrics["mae"] > before + 0.01
        assert forecasts.frozen(first, late) == frozen


def test_a_day_without_a_forecast_is_not_scored_and_its_fit_fails_in_words(demo: Forecasts) -> None:
    result = demo.run("fill_forecasts", today() - DAY, today())
    assert not result.success
    failure = result.failure_data_for_node("week_mean__price_model")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "0 hours before" in str(failure.user_failure_data.description)
    assert rescored(demo, [today() - DAY]) == ["no forecast for these hours"]


def test_the_checks_fail_where_no_forecast_could_be_made(demo: Forecasts) -> None:
    days = today() - 4 * DAY, today() - DAY
    assert demo.run("fill_prices", today() - 40 * DAY, today() - DAY).success
    result = demo.run("fill_evaluations", *days)
    for name in (MAE_CHECK, SKILL_CHECK):
        check = check_results(result)[name]
        assert not check.passed
        assert check.description is not None
        assert f"No hour of {today() - DAY} was forecast" in check.description
    # All but the newest day have forecasts: that one still counts.
    assert demo.run("fill_forecasts", days[0], days[1] - DAY).success
    assert not any(check.passed for check in check_results(demo.run("fill_evaluations", *days)).values())
    assert demo.run("fill_forecasts", days[1]).success
    assert all(check.passed for check in check_results(demo.run("fill_evaluations", *days)).values())


class Broken(WeekMean):
    """A model that fails as it is told."""

    error: Exception
    fits = 0

    def fit(self, prices: Prices, day: date, market: Market) -> FittedModel:
        self.fits += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "fits"),
    [
        (KeyError("trend"), 1),
        (ValueError("no such value"), 1),
        (ImportError("no module named prophet"), 1),
        (StoreUnavailableError("the store does not answer"), 3),
        (ConnectionResetError("the network"), 3),
    ],
)
def test_only_what_a_retry_may_mend_is_tried_again(demo: Forecasts, error: Exception, fits: int) -> None:
    model = Broken()
    model.error = error
    broken = dataclasses.replace(demo, model=model)
    result = broken.run("fill_forecasts", today() - DAY)
    assert not result.success
    assert model.fits == fits
    assert str(error) in str(result.get_step_failure_events()[-1].step_failure_data)


# The run every five minutes.

TICK = """
import sys
from datetime import date
import dagster as dg
from tsobs_pipelines.definitions import build_defs
heavy = ("prophet", "pandas", "matplotlib", "cmdstanpy", "holidays", "scipy")
defs = build_defs()
repository = defs.get_repository_def()
assert repository.get_all_jobs()
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, f"the definitions load {loaded}"
with dg.DagsterInstance.local_temp(sys.argv[1]) as instance:
    job = defs.resolve_job_def("evaluate_forecast")
    result = job.execute_in_process(instance=instance, partition_key=sys.argv[2])
    (event,) = result.asset_materializations_for_node("forecast_evaluation")
    print(event.metadata["state"].value)
loaded = [name for name in heavy if name in sys.modules]
assert not loaded, f"the run loads {loaded}"
"""


def test_a_run_without_a_new_price_is_light_and_says_unchanged(demo: Forecasts, tmp_path: Path) -> None:
    day = today()
    demo.fill(day - 9 * DAY, day)
    # The default model's forecasts, without the three seconds of a fit.
    frozen = demo.frozen(day - 9 * DAY, day)
    demo.store.write(FORECASTS, forecast_rows(frozen, "demo", "prophet_price_forecast"))
    subject = Subject("demo", "prophet_price_forecast", MARKET)
    first = evaluate_days(demo.store, demo.tracker(), subject, [day - DAY, day], datetime.now(UTC))
    assert first[0].logged
    before = demo.history_file.read_bytes()
    (tmp_path / "tick").mkdir()
    tick = subprocess.run(
        [sys.executable, "-c", TICK, str(tmp_path / "tick"), str(day - DAY)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert tick.returncode == 0, tick.stderr[-3000:]
    assert tick.stdout.strip().startswith("unchanged since 2")
    assert demo.history_file.read_bytes() == before


def test_a_tick_scores_what_has_come_and_then_says_unchanged(demo: Forecasts) -> None:
    day = today()
    demo.fill(day - 9 * DAY, day - DAY)
    assert demo.run("fill_prices", day, day).success
    assert demo.run("fill_forecasts", day, day).success
    result = demo.run("evaluate_forecast", day)
    assert result.success
    states = [str(demo.metadata(demo.keys.evaluation, day)["state"])]
    before = demo.history_file.read_bytes()
    result = demo.run("evaluate_forecast", day)
    states.append(str(demo.metadata(demo.keys.evaluation, day)["state"]))
    if states[0].startswith("scored"):
        assert states[1].startswith(("unchanged since", "scored"))  # "scored": the hour changed in between
    if states[1].startswith("unchanged"):
        assert demo.history_file.read_bytes() == before
    assert set(check_results(result)) == {MAE_CHECK, SKILL_CHECK}


def test_definitions_of_two_models_live_side_by_side() -> None:
    from tsobs_pipelines.defs.forecast.assets import MODELS, forecast_definitions  # noqa: PLC0415

    defs = dg.Definitions.merge(
        forecast_definitions(load_settings(), [*MODELS, WeekMean()]),
        dg.Definitions(resources=default_resources()),
    )
    keys = {key.to_user_string() for key in defs.resolve_all_asset_keys()}
    assert keys == {
        "electricity_prices",
        "price_model",
        "price_forecast",
        "forecast_evaluation",
        "week_mean/price_model",
        "week_mean/price_forecast",
        "week_mean/forecast_evaluation",
    }
    graph = defs.resolve_asset_graph()
    parents = {
        key: {parent.to_user_string() for parent in graph.get(dg.AssetKey(key)).parent_keys}
        for key in ("price_model", "price_forecast", "forecast_evaluation")
    }
    assert parents == {
        "price_model": {"electricity_prices"},
        "price_forecast": {"price_model", "electricity_prices"},
        "forecast_evaluation": {"price_forecast", "electricity_prices"},
    }
