"""The model on a synthetic market: its requirements, the data it may use, and the files it leaves."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
from datetime import date, datetime
from pathlib import Path

import pytest

from tsobs_pipelines.forecasting.delivery import DAY, HOUR, Market
from tsobs_pipelines.forecasting.models.interface import FittedModel, HourForecast, NotEnoughPricesError
from tsobs_pipelines.forecasting.models.prophet_model import Parameters, ProphetPriceForecast
from tsobs_pipelines.temporary import remove_left_behind, temporary_folder

MARKET = Market("Europe/Madrid")
MODEL = ProphetPriceForecast()
SPRING, AUTUMN = date(2025, 3, 30), date(2025, 10, 26)


def market_prices(day: date, days: int) -> dict[datetime, float]:
    """Prices of the days before ``day``: a wave over the day, cheap Sundays, and a slow drift."""
    prices = {}
    hour = MARKET.start_of(day - DAY * days)
    while hour < MARKET.start_of(day):
        local = hour.astimezone(MARKET.zone)
        level = 0.06 + 0.01 * math.sin(hour.timestamp() / 86400 / 9) - 0.02 * (local.weekday() == 6)
        wobble = 0.004 * math.sin(hour.timestamp() / 3600 * 1.7)
        prices[hour] = level + 0.02 * math.sin(2 * math.pi * (local.hour - 9) / 24) + wobble
        hour += HOUR
    return prices


def forecast(prices: dict[datetime, float], day: date) -> tuple[FittedModel, list[HourForecast]]:
    fitted = MODEL.fit(prices, day, MARKET)
    return fitted, MODEL.predict(fitted, prices, MARKET)


@pytest.mark.parametrize(
    ("day", "count"), [(SPRING, 23), (AUTUMN, 25), (AUTUMN + DAY, 24), (SPRING + DAY, 24)]
)
def test_every_hour_of_a_day_is_forecast(day: date, count: int) -> None:
    later = market_prices(day + DAY, 60)
    _, made = forecast({hour: price for hour, price in later.items() if MARKET.day_of(hour) < day}, day)
    assert [each.hour for each in made] == MARKET.hours_of(day)
    assert len(made) == count
    assert all(each.lower <= each.yhat <= each.upper for each in made)
    errors = [abs(each.yhat - later[each.hour]) for each in made]
    naive = [abs(later[MARKET.same_hour_before(each.hour, 1)] - later[each.hour]) for each in made]
    assert sum(errors) < sum(naive)


def test_the_same_prices_give_the_same_bytes_and_later_prices_change_none() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    noisy = prices | dict.fromkeys(market_prices(day + DAY * 3, 3), 9.0)
    first, made = forecast(prices, day)
    second, again = forecast(noisy, day)
    assert first.to_json() == second.to_json()
    assert made == again


def test_a_model_read_from_its_file_forecasts_the_same_to_the_last_bit() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    fitted, made = forecast(prices, day)
    read = FittedModel.from_json(fitted.to_json())
    assert read.to_json() == fitted.to_json()
    assert MODEL.predict(read, prices, MARKET) == made
    assert len(fitted.to_json()) < 100_000
    assert fitted.trained_to == MARKET.start_of(day)


def test_holes_are_bridged_for_a_week_and_not_fitted_on() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    holes = {hour: price for hour, price in prices.items() if not 5 <= (day - MARKET.day_of(hour)).days <= 7}
    fitted, made = forecast(holes, day)
    assert len(made) == 24
    assert fitted.rows == MODEL.fit(prices, day, MARKET).rows - 3 * 24


def test_too_few_prices_are_named() -> None:
    day = date(2025, 6, 12)
    with pytest.raises(NotEnoughPricesError, match=r"312 hours before 2025-06-12 .* at least 336"):
        MODEL.fit(market_prices(day, 20), day, MARKET)
    assert MODEL.fit(market_prices(day, 21), day, MARKET).rows == 14 * 24
    with pytest.raises(NotEnoughPricesError):
        MODEL.fit({}, day, MARKET)


def test_a_forecast_without_the_week_before_is_refused() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 60)
    fitted = MODEL.fit(prices, day, MARKET)
    old = {hour: price for hour, price in prices.items() if (day - MARKET.day_of(hour)).days > 9}
    with pytest.raises(NotEnoughPricesError, match="no price within a week"):
        MODEL.predict(fitted, old, MARKET)


def test_a_fit_leaves_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    day = date(2025, 6, 12)
    with caplog.at_level(logging.INFO):
        forecast(market_prices(day, 40), day)
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


PROGRAM = """
import os, signal, sys, tempfile
from datetime import date
from pathlib import Path
from tests.unit.forecasting.test_prophet_model import MARKET, MODEL, market_prices
from tsobs_pipelines.forecasting.models.interface import FittedModel

left = lambda: sorted(path.name for path in Path(tempfile.gettempdir()).rglob("*"))
day = date(2025, 6, 12)
prices = market_prices(day, 40)
if sys.argv[1] == "predict":
    MODEL.predict(FittedModel.from_json(Path(sys.argv[2]).read_text()), prices, MARKET)
    assert left() == [], left()
elif sys.argv[1] == "killed":
    from prophet import Prophet
    fit = Prophet.fit
    Prophet.fit = lambda *args, **kwargs: (fit(*args, **kwargs), os.kill(os.getpid(), signal.SIGKILL))
    MODEL.fit(prices, day, MARKET)
else:
    for _ in range(2):
        MODEL.predict(MODEL.fit(prices, day, MARKET), prices, MARKET)
        assert left() == [], left()
os._exit(0)  # as the processes of a pool end
"""


def run_program(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[3]
    temporary.mkdir()
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)


def test_nothing_of_a_fit_or_a_forecast_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    day = date(2025, 6, 12)
    model = tmp_path / "model.json"
    model.write_text(MODEL.fit(market_prices(day, 40), day, MARKET).to_json())
    for what in ("fit", "predict"):
        temporary = tmp_path / what
        done = run_program(temporary, what, str(model))
        assert done.returncode == 0, done.stderr
        assert list(temporary.iterdir()) == []


def test_housekeeping_removes_what_a_killed_fit_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    done = run_program(temporary, "killed")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(path.name.startswith("prophet_model") for path in temporary.rglob("*"))
    others = temporary / "tmp12345678"
    others.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with temporary_folder() as living:
        (living / "a file").touch()
        assert remove_left_behind(temporary) == 1
        assert set(temporary.iterdir()) == {living, others}
        assert (living / "a file").exists()
    assert list(temporary.iterdir()) == [others]


def test_the_version_changes_with_the_parameters_and_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ProphetPriceForecast(parameters=Parameters(windows=(56,))).version != MODEL.version
    assert ProphetPriceForecast().version == MODEL.version
    installed = importlib.metadata.version
    for library in ("prophet", "holidays"):
        monkeypatch.setattr(
            importlib.metadata,
            "version",
            lambda name, newer=library: "99.0" if name == newer else installed(name),
        )
        assert ProphetPriceForecast().version != MODEL.version


def test_the_version_of_a_fit_changes_with_the_zone_and_the_country() -> None:
    """Holidays change the forecast: errors made with those of another country are not compared."""
    others = [
        Market("Europe/Madrid", "FR"),
        Market("Atlantic/Canary"),
        Market("Europe/Lisbon"),
        Market("CET"),
    ]
    versions = {MODEL.version_in(market) for market in [MARKET, *others]}
    assert len(versions) == len(others) + 1
    assert MODEL.version_in(Market("Europe/Madrid", "ES")) == MODEL.version_in(MARKET)


def test_a_model_of_another_version_or_market_is_refused() -> None:
    day = date(2025, 6, 12)
    prices = market_prices(day, 40)
    fitted = MODEL.fit(prices, day, MARKET)
    assert fitted.version == MODEL.version_in(MARKET)
    with pytest.raises(ValueError, match=r"expected .*: fit it again"):
        MODEL.predict(fitted, prices, Market("Europe/Madrid", "FR"))
    old = dataclasses.replace(fitted, version="1.abcdef")
    with pytest.raises(ValueError, match=r"of version 1\.abcdef, expected .*: fit it again"):
        MODEL.predict(old, prices, MARKET)
