"""The forecast assets in Dagster: frozen forecasts, prices that are late or wrong, and empty ticks."""

from __future__ import annotations

import dataclasses
import random
import subprocess
import sys
from collections.abc import Iterator, Set
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from tests.support.forecasts import Forecasts, check_results, opened_forecasts
from tests.support.prices import MARKET, real_prices, real_prices_file
from tests.support.week_mean import WeekMean
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.forecast.keys import MAE_CHECK, PRICES_CHECK, PRICES_KEY, SKILL_CHECK
from tsobs_pipelines.forecasting.daily_evaluation import evaluate_days
from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market
from tsobs_pipelines.forecasting.models.interface import FittedModel, Prices
from tsobs_pipelines.forecasting.models.prophet_model import ProphetPriceForecast
from tsobs_pipelines.forecasting.scoring import Subject, forecast_rows
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.schema import FORECASTS
from tsobs_pipelines.timeseries.store import StoreUnavailableError, Window


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forecasts]:
    """The simulated market of the last ten days, nothing filled in."""
    yield from opened_forecasts(tmp_path, monkeypatch, "demo", today() - 10 * DAY)


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
    for forecasts in opened_forecasts(tmp_path, monkeypatch, place, first, prophet):
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
    for forecasts in opened_forecasts(tmp_path, monkeypatch, f"csv:{file}", today() - 10 * DAY):
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
    for forecasts in opened_forecasts(tmp_path, monkeypatch, f"csv:{file}", first):
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
