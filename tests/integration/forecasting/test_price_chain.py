"""Prices through Dagster and the API: half-hour zones, failed months, refused days, no prices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support import redata_api
from tests.support.api_world import api_of, demo_sidecar, parts_of
from tests.support.forecasts import Forecasts, check_results
from tests.support.week_mean import WeekMean
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.forecast import jobs
from tsobs_pipelines.defs.forecast.keys import PRICES_CHECK, PRICES_KEY
from tsobs_pipelines.forecasting.delivery import DAY, Market, market_of
from tsobs_pipelines.forecasting.prices import redata
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.scoring import prices_from_rows
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.timeseries.schema import FORECASTS, PRICES
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

MADRID = Market("Europe/Madrid")


@contextmanager
def opened(directory: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[Forecasts]:
    """The forecast assets with these settings, in a Dagster instance of their own."""
    directory.mkdir(parents=True, exist_ok=True)
    environment |= {
        "TSOBS_STATE_DIR": str(directory / "var"),
        "TSOBS_MODELS_DIR": str(directory / "models"),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (directory / "var").mkdir()
    settings = load_settings()
    store = SqlStore(settings.database_url)
    monkeypatch.setattr(resources.opened, "settings", lambda: settings)
    monkeypatch.setattr(resources.opened, "store", lambda: store)
    with dg.DagsterInstance.ephemeral(str(directory)) as instance:
        yield Forecasts(settings, store, instance, open_price_source(settings).name, WeekMean())
    store.close()


def write_prices(
    file: Path, market: Market, first: date, last: date, minutes: int
) -> Callable[[datetime], float]:
    """A file with ``time`` of these days; gives the true price of an hour in EUR/kWh."""
    start, step = market.start_of(first), timedelta(minutes=minutes)
    count = (market.end_of(last) - start) // step

    def price(at: datetime) -> float:
        hour = (at - start) // timedelta(hours=1)
        return 50 + 10 * ((hour * 7) % 5) + (hour % 24) / 4

    rows = [f"{(start + step * n).isoformat()},{price(start + step * n)}\n" for n in range(count)]
    file.write_text("time,price_eur_per_mwh\n" + "".join(rows))
    return lambda hour: price(hour) / 1000


@pytest.mark.parametrize(
    ("zone", "minutes"),
    [("Asia/Kolkata", 60), ("Australia/Adelaide", 30), ("America/St_Johns", 15), ("Asia/Kathmandu", 15)],
)
def test_half_hour_zones_work_through_the_whole_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str, minutes: int
) -> None:
    market = Market(zone)
    now = datetime.now(UTC)
    today = market.day_of(now)
    first = today - 10 * DAY
    true = write_prices(tmp_path / "prices.csv", market, first - 40 * DAY, today + DAY, minutes)
    environment = {
        "TSOBS_PRICE_SOURCE": f"csv:{tmp_path / 'prices.csv'}",
        "TSOBS_MARKET_TIMEZONE": zone,
        "TSOBS_START_DATE": str(first),
    }
    with opened(tmp_path / "state", monkeypatch, **environment) as forecasts:
        assert market_of(forecasts.settings) == market
        forecasts.fill(first, today - DAY)
        day = today - DAY
        span = Window(market.start_of(day), market.end_of(day))
        stored = prices_from_rows(forecasts.store.read(PRICES, span, {"source": forecasts.source}))
        assert stored == pytest.approx({hour: true(hour) for hour in market.hours_of(day)})
        of_model = {"source": forecasts.source, "model": "week_mean"}
        assert [row.time for row in forecasts.store.read(FORECASTS, span, of_model)] == market.hours_of(day)
        evaluation = forecasts.metadata(forecasts.keys.evaluation, day)
        assert evaluation["n"] == len(market.hours_of(day))
        assert evaluation["naive_mae"] is not None
        rows = forecasts.tracker().rows("week_mean")
        assert [market.day_of(row.window_end - timedelta(hours=1)) for row in rows][-1] == day
        # The day under way ends on a full hour of the market's clock.
        forecasts.fill(today, today)
        assert forecasts.tracker().rows("week_mean")[-1].window_end in {
            market.hour_of(now),
            market.hour_of(datetime.now(UTC)),
            market.end_of(day),
        }
        check_schedules(forecasts, market)
        with demo_sidecar() as url:
            parts = parts_of(forecasts.settings, url)
            with api_of(parts) as api:
                found = api.get(f"/models/forecast?model_name=week_mean&day={day}").json()
        assert found["timezone"] == zone
        assert [datetime.fromisoformat(hour["hour"]) for hour in found["hours"]] == market.hours_of(day)
        assert all(hour["price"] is not None and hour["yhat"] is not None for hour in found["hours"])


def check_schedules(forecasts: Forecasts, market: Market) -> None:
    """Each schedule asks for partitions that there are; a forecast is issued before its prices come out."""
    repository = forecasts.defs.get_repository_def()
    (issue,) = [each for each in repository.schedule_defs if each.name.startswith("issue_forecast")]
    day = market.day_of(datetime.now(UTC))
    at = market.issued_at(day)
    local = at.astimezone(market.zone)
    cron = f"{market.issue.time.minute} {market.issue.time.hour} * * *"
    assert (issue.cron_schedule, issue.execution_timezone) == (cron, market.issue.timezone)
    context = dg.build_schedule_context(
        instance=forecasts.instance, scheduled_execution_time=at, repository_def=repository
    )
    (request,) = requests_of(issue, context)
    assert request.partition_key == str(day)
    assert local.date() == day - DAY
    assert at < market.published_at(day)
    for moment in (market.start_of(day), market.start_of(day) + timedelta(minutes=5)):
        assert set(jobs.evaluated_days(moment, market)) <= {day - DAY, day}


def requests_of(
    schedule: dg.ScheduleDefinition, context: dg.ScheduleEvaluationContext
) -> Sequence[dg.RunRequest]:
    """What a tick asks for."""
    found = schedule.evaluate_tick(context).run_requests
    assert found
    return found


# What fails is named, what came is kept.


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[redata_api.Redata]:
    with redata_api.redata_api() as stub:
        real = redata.RedataPrices
        monkeypatch.setattr(
            redata,
            "open_redata",
            lambda _argument, _settings: real(base_url=stub.url, attempts=2, wait_s=0.01),
        )
        yield stub


@pytest.mark.parametrize("status", [500, 400])
def test_a_failed_month_is_named_and_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: redata_api.Redata, status: int
) -> None:
    last = MADRID.day_of(datetime.now(UTC)) - 5 * DAY
    first = last - 56 * DAY
    environment = {"TSOBS_PRICE_SOURCE": "redata", "TSOBS_START_DATE": str(last)}
    monkeypatch.setattr("tsobs_pipelines.defs.forecast.keys.SCORING_DAYS", 60)
    refusal = (status, "application/json", '{"errors": [{"detail": "not today"}]}')
    with opened(tmp_path / "state", monkeypatch, **environment) as forecasts:
        service.moods += [refusal] * (2 if status == 500 else 1)
        result = forecasts.run("fill_prices", first, last)
        assert result.success
        check = check_results(result)[PRICES_CHECK]
        assert not check.passed
        assert f"REData, {first} to {first + 27 * DAY}: HTTP {status}" in str(check.description)
        kept = forecasts.prices(first, last)
        assert {MADRID.day_of(hour) for hour in kept} == {first + DAY * n for n in range(28, 57)}
        shown = forecasts.metadata(PRICES_KEY, first)
        assert f"HTTP {status}" in str(shown["not_fetched"])
        assert "not_fetched" not in forecasts.metadata(PRICES_KEY, last)
        # Asked for again, all is there.
        assert check_results(forecasts.run("fill_prices", first, first + 27 * DAY))[PRICES_CHECK].passed
        assert len({MADRID.day_of(hour) for hour in forecasts.prices(first, last)}) == 57


def test_a_day_that_can_be_read_in_two_ways_fails_the_check_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spring = date(2026, 3, 29)
    days = [spring - DAY, spring, spring + DAY]
    rows = [f"{day},{hour},{hour}" for day in days for hour in range(23 if day == spring else 24)]
    (tmp_path / "prices.csv").write_text("\n".join(["date,hour,price_eur_per_mwh", *rows]) + "\n")
    environment = {
        "TSOBS_PRICE_SOURCE": f"csv:{tmp_path / 'prices.csv'}",
        "TSOBS_START_DATE": str(spring),
    }
    with opened(tmp_path / "state", monkeypatch, **environment) as forecasts:
        result = forecasts.run("fill_prices", days[0], days[-1])
        assert result.success
        said = str(check_results(result)[PRICES_CHECK].description)
        assert "day 2026-03-29: hours 0 to 22 in 23 rows can be read in two ways" in said
        assert "2026-03-29: no price at all" in said
        assert len(forecasts.prices(days[0], days[-1])) == 48


def test_days_without_any_price_say_so_in_few_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = MADRID.day_of(datetime.now(UTC))
    first, last = today - 20 * DAY, today - 10 * DAY
    (tmp_path / "prices.csv").write_text(f"date,hour,price_eur_per_mwh\n{first - DAY},0,1\n{last},5,\n")
    environment = {
        "TSOBS_PRICE_SOURCE": f"csv:{tmp_path / 'prices.csv'}",
        "TSOBS_START_DATE": str(first),
    }
    with opened(tmp_path / "state", monkeypatch, **environment) as forecasts:
        check = check_results(forecasts.run("fill_prices", first, last))[PRICES_CHECK]
        assert not check.passed
        assert str(check.description).startswith(f"{first}: no price at all; {first + DAY}: no price at all")
        assert len(str(check.description)) < 300
        missing = check.metadata["missing_hours"].value
        assert missing == sum(len(MADRID.hours_of(first + DAY * n)) for n in range(11))
