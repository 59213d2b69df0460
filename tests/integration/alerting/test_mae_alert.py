"""A degraded forecast, from today's new price to the message: schedules, runs, sensors, Bot API.

What is real here: the definitions with their schedules and sensors, in-process runs, the alert state, the
price file. What is not: the clock, which the test moves; Prophet, for which cheap models stand; Telegram.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from math import sin, tau
from pathlib import Path

import dagster as dg
import pytest

from tests.support import bot_api as api
from tests.support.forecasts import RANGE
from tests.support.week_mean import WeekMean
from tsobs_pipelines.alerting.history import Incident, firing, recent
from tsobs_pipelines.defs.alerts import assets as alerts
from tsobs_pipelines.defs.alerts import sensors as alert_sensors
from tsobs_pipelines.defs.alerts.definitions import alert_definitions
from tsobs_pipelines.defs.alerts.scopes import alert_engine
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.forecast import assets as forecast
from tsobs_pipelines.defs.forecast import evaluation as forecast_evaluation
from tsobs_pipelines.defs.forecast import jobs as forecast_jobs
from tsobs_pipelines.defs.forecast import prices as forecast_prices
from tsobs_pipelines.defs.forecast.keys import SCORING_DAYS
from tsobs_pipelines.forecasting.delivery import DAY, Market
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.forecasting.models.interface import FittedModel, ForecastModel, HourForecast, Prices
from tsobs_pipelines.forecasting.verdict import ForecastVerdict, judge
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.sql import SqlStore

pytestmark = pytest.mark.long

TODAY = date(2026, 3, 18)
FIRST = TODAY - 12 * DAY
SCARCE = 200.0
"""How much more a MWh costs on a day on which the market is upset, EUR."""

MINUTE = timedelta(minutes=1)


class Usual(WeekMean):
    """Stands for the default model: the usual price of each hour, learnt from usual prices only."""

    name = DEFAULT_MODEL

    def fit(self, prices: Prices, day: date, market: Market) -> FittedModel:
        return super().fit({hour: each for hour, each in prices.items() if each < 0.15}, day, market)


class Stray(Usual):
    """Another model, which goes astray by itself today."""

    name = "stray"

    def predict(self, fitted: FittedModel, prices: Prices, market: Market) -> list[HourForecast]:
        made = super().predict(fitted, prices, market)
        return [replace(each, yhat=each.yhat + 0.1) for each in made] if fitted.day == TODAY else made


def utc(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def write_prices(file: Path, days: Sequence[date], upset: Sequence[date] = ()) -> None:
    """A price file of 24 hours a day: the same shape each day, and a little chance."""
    lines = ["date,hour,price_eur_per_mwh"]
    for day in days:
        chance = random.Random(day.toordinal())  # noqa: S311 - prices, not secrets
        for hour in range(24):
            price = 60 + 25 * sin(tau * hour / 24) + chance.uniform(-4, 4) + SCARCE * (day in upset)
            lines.append(f"{day},{hour},{price:.2f}")
    file.write_text("\n".join(lines) + "\n")


class Day:
    """A day at tsobs: what the daemon does with the definitions, at moments that the test chooses."""

    def __init__(self, models: Sequence[ForecastModel], prices: Path, instance: dg.DagsterInstance) -> None:
        self.settings = load_settings()
        self.prices, self.instance = prices, instance
        names = [model.name for model in models]
        self.defs = dg.Definitions.merge(
            forecast.forecast_definitions(self.settings, models),
            alert_definitions(self.settings.tailnets, names),
            dg.Definitions(resources=default_resources()),
        )
        self.repository = self.defs.get_repository_def()
        self.now = utc(TODAY - DAY, 9)
        self.cursors: dict[str, str | None] = {}
        self.run_keys: set[str] = set()

    def schedule(self, name: str) -> list[dg.ExecuteInProcessResult]:
        """One tick of a schedule, and its runs."""
        definition = self.repository.get_schedule_def(name)
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=self.now, resources=default_resources()
        ) as context:
            ticked = definition(context)
        requests = [ticked] if isinstance(ticked, dg.RunRequest) else ticked
        return self._launch(name, definition.job_name, requests if isinstance(requests, list) else [])

    def sensor(self, name: str) -> list[dg.ExecuteInProcessResult]:
        """One tick of a sensor, from where the last one left off, and its runs."""
        definition = self.repository.get_sensor_def(name)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(name), resources=default_resources()
        ) as context:
            ticked = definition(context)
        if not isinstance(ticked, dg.SensorResult):
            return []
        self.cursors[name] = ticked.cursor
        return self._launch(name, "tell_mae_alerts", ticked.run_requests or [])

    def cycle(self, day: date, hour: int, minute: int = 0, suffix: str = "") -> int:
        """What five minutes bring, at this time: an evaluation and a look at it; the number of alert runs."""
        self.now = utc(day, hour, minute)
        assert self.schedule(f"evaluate_forecast{suffix}_every_5_minutes")
        return len(self.sensor(f"mae_degradation_sensor{suffix}"))

    def fill(self, suffixes: Sequence[str] = ("",)) -> None:
        """The history up to yesterday, in one run for each step."""
        self._fill("fill_prices", FIRST - SCORING_DAYS * DAY, TODAY - DAY)
        for suffix in suffixes:
            self._fill(f"fill_forecasts{suffix}", FIRST, TODAY - DAY)
            self._fill(f"fill_evaluations{suffix}", FIRST, TODAY - 2 * DAY)

    def verdict(self, model: str = DEFAULT_MODEL) -> ForecastVerdict:
        """What the metrics history says."""
        found = judge(ModelMetricsTracker(self.settings.models_dir).rows(model))
        assert found is not None
        return found

    def _fill(self, job: str, first: date, last: date) -> None:
        tags = dict(zip(RANGE, (str(first), str(last)), strict=True))
        assert self.defs.resolve_job_def(job).execute_in_process(instance=self.instance, tags=tags).success

    def _launch(
        self, name: str, job: str, requests: Sequence[dg.RunRequest]
    ) -> list[dg.ExecuteInProcessResult]:
        """The runs of what is asked for; a run key is run once, as the daemon has it."""
        results = []
        for request in requests:
            key = f"{name} {request.run_key}"
            if request.run_key is not None and key in self.run_keys:
                continue
            self.run_keys.add(key)
            results.append(
                self.defs.resolve_job_def(request.job_name or job).execute_in_process(
                    instance=self.instance, partition_key=request.partition_key, tags=request.tags
                )
            )
        return results


@contextmanager
def tsobs(place: Path, models: Sequence[ForecastModel]) -> Iterator[tuple[Day, api.BotApi]]:
    """The price file of every day but today, these models, and a bot."""
    prices = place / "market.csv"
    write_prices(prices, [TODAY + DAY * step for step in range(-50, 0)])
    with (
        pytest.MonkeyPatch.context() as patched,
        api.bot_api() as bot,
        dg.DagsterInstance.ephemeral(str(place)) as instance,
    ):
        patched.chdir(place)
        patched.delenv("TSOBS_DATABASE_URL", raising=False)
        for name, value in {
            "TSOBS_STATE_DIR": place / "var",
            "TSOBS_MODELS_DIR": place / "models",
            "TSOBS_PRICE_SOURCE": f"csv:{prices}",
            "TSOBS_START_DATE": FIRST,
            "TELEGRAM_BOT_TOKEN": api.TOKEN,
            "TELEGRAM_CHAT_ID": api.CHAT,
            "TELEGRAM_API_URL": bot.url,
        }.items():
            patched.setenv(name, str(value))
        day = Day(models, prices, instance)
        store = SqlStore(day.settings.database_url)
        patched.setattr(resources.opened, "settings", lambda: day.settings)
        patched.setattr(resources.opened, "store", lambda: store)
        for module in (
            *(alerts, alert_sensors),
            *(forecast, forecast_evaluation, forecast_jobs, forecast_prices),
        ):
            patched.setattr(module, "utc_now", lambda: day.now)
        yield day, bot
        store.close()


def incidents(day: Day) -> list[Incident]:
    return recent(alert_engine(day.settings), utc(FIRST, 0))


def degrade(day: Day, bot: api.BotApi) -> str:
    """A healthy history, then prices of today that come in late and far off; the message about them."""
    day.fill()
    day.schedule("issue_forecast_at_9_utc")
    day.cycle(TODAY - DAY, 9, 5)
    assert day.verdict().days >= 7
    assert (incidents(day), bot.requests) == ([], [])
    # Ten hours of today have been delivered, and nobody knows their prices.
    day.now = utc(TODAY, 9)
    day.schedule("issue_forecast_at_9_utc")
    assert day.cycle(TODAY, 9, 5) == 0
    write_prices(day.prices, [TODAY + DAY * step for step in range(-50, 3)], upset=[TODAY])
    day.now = utc(TODAY, 9, 15)
    assert day.schedule("fetch_prices_when_due")
    assert bot.requests == []
    assert day.cycle(TODAY, 9, 20) == 1
    (text,) = bot.texts
    return text


def test_a_degradation_of_today_is_told_once(tmp_path: Path) -> None:
    with tsobs(tmp_path, [Usual()]) as (day, bot):
        text = degrade(day, bot)
        verdict = day.verdict()
        assert (verdict.degraded, verdict.naive_failed) == (True, True)
        assert verdict.factor is not None
        assert verdict.factor > 10
        assert f"{DEFAULT_MODEL} is {verdict.factor:.1f} times its baseline (MAE {verdict.mae:.4f}" in text
        assert "since 09:00 UTC (20 min)" in text
        assert "repeating yesterday failed as well" in text
        assert "data of 2026-03-18" in text
        # Nothing new, an hour more of the same, a sensor that has forgotten where it was: nothing is sent.
        for hour, minute in ((9, 25), (10, 5)):
            assert day.cycle(TODAY, hour, minute) == 0
        day.cursors.clear()
        assert day.sensor("mae_degradation_sensor") == []
        day.sensor("alert_delivery_sensor")
        assert bot.texts == [text]
        assert [(one.topic, one.origin, one.until) for one in incidents(day)] == [
            (f"mae_{DEFAULT_MODEL}", "live", None)
        ]


def test_while_it_lasts_it_is_repeated_every_six_hours_and_its_end_is_told_once(tmp_path: Path) -> None:
    tomorrow = TODAY + DAY
    with tsobs(tmp_path, [Usual()]) as (day, bot):
        told = [degrade(day, bot)]
        assert day.cycle(TODAY, 15, 15) == 0
        assert day.schedule("fetch_prices_when_due")
        for at in (utc(TODAY, 15, 20), utc(TODAY, 21, 20), utc(tomorrow, 17, 20)):
            assert day.cycle(at.date(), at.hour, at.minute) == 1
            told.append(bot.texts[-1])
            assert "still, since" in told[-1]
        # The last bad hour leaves the 24 hours at the end of tomorrow; once more good, and it is over.
        assert day.cycle(tomorrow, 22, 5) == 0
        assert day.verdict().degraded is True
        assert day.cycle(tomorrow, 23, 5) == 0
        assert day.verdict().degraded is False
        assert day.cycle(tomorrow + DAY, 0, 5) == 1
        told.append(bot.texts[-1])
        assert f"{DEFAULT_MODEL} is good again" in told[-1]
        assert "from 2026-03-18 09:00 UTC to 2026-03-19 23:00 UTC (38 h 0 min)" in told[-1]
        assert day.cycle(tomorrow + DAY, 1, 5) == 0
        assert bot.texts == told
        (incident,) = incidents(day)
        assert (incident.since, incident.until) == (utc(TODAY, 9), utc(tomorrow, 23))
        assert firing(alert_engine(day.settings)) == []


def test_each_model_has_its_topic_and_waits_for_no_other(tmp_path: Path) -> None:
    with tsobs(tmp_path, [Usual(), Stray()]) as (day, bot):
        day.fill(["", "_stray"])
        for suffix in ("", "_stray"):
            day.schedule(f"issue_forecast{suffix}_at_9_utc")
            day.cycle(TODAY - DAY, 9, 5, suffix)
        write_prices(day.prices, [TODAY + DAY * step for step in range(-50, 3)])
        day.now = utc(TODAY - DAY, 12)
        assert day.schedule("fetch_prices_when_due")
        assert bot.requests == []
        # One odd hour. The healthy model is evaluated and looked at before the other is evaluated.
        assert day.cycle(TODAY, 0, 5) == 0
        assert day.cycle(TODAY, 0, 5, "_stray") == 1
        assert day.verdict().degraded is False
        (text,) = bot.texts
        factor = day.verdict("stray").factor
        assert factor is not None
        assert f"forecast stray is {factor:.1f} times its baseline" in text
        assert "repeating yesterday did not fail" in text
        for suffix in ("", "_stray"):
            assert day.cycle(TODAY, 0, 10, suffix) == 0
        assert bot.texts == [text]
        assert [(one.topic, one.origin) for one in incidents(day)] == [("mae_stray", "live")]


def test_the_alert_asset_hangs_below_the_evaluation_of_each_model(tmp_path: Path) -> None:
    with tsobs(tmp_path, [Usual(), Stray()]) as (day, _):
        parents = day.defs.resolve_asset_graph().get(dg.AssetKey("mae_alerts")).parent_keys
        assert parents == {dg.AssetKey("forecast_evaluation"), dg.AssetKey(["stray", "forecast_evaluation"])}
