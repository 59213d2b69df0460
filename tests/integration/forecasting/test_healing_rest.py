"""The healing sensor of forecasts rests after a look that found nothing, until something is new."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from tests.support.forecasts import Forecasts, opened_forecasts
from tests.support.prices import MARKET
from tsobs_pipelines.defs.common.resources import default_resources
from tsobs_pipelines.defs.forecast import jobs
from tsobs_pipelines.forecasting.delivery import DAY
from tsobs_pipelines.forecasting.gaps import Gaps

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


class Looks:
    """The sensor, evaluated at a time; what its looks find is given."""

    def __init__(self, forecasts: Forecasts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forecasts = forecasts
        self.found = Gaps()
        self.count = 0
        self.cursor: str | None = None
        self.now = NOW
        monkeypatch.setattr(jobs, "find_gaps", self._look)
        monkeypatch.setattr(jobs, "utc_now", lambda: self.now)

    def _look(self, *_: object) -> Gaps:
        self.count += 1
        return self.found

    def tick(self, later: timedelta = timedelta(0)) -> dg.SensorExecutionData:
        self.now += later
        sensor = self.forecasts.defs.resolve_sensor_def("forecast_healing_sensor")
        instance = self.forecasts.instance
        with dg.build_sensor_context(
            instance=instance, cursor=self.cursor, resources=default_resources()
        ) as context:
            found = sensor.evaluate_tick(context)
        self.cursor = found.cursor
        return found


@pytest.fixture
def looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    day = MARKET.day_of(datetime.now(UTC))
    for forecasts in opened_forecasts(tmp_path, monkeypatch, "demo", day - 10 * DAY):
        yield Looks(forecasts, monkeypatch)


def test_it_rests_for_five_minutes_after_nothing_was_found(looks: Looks) -> None:
    assert looks.tick().skip_message == jobs.NOTHING_LACKS
    resting = looks.tick(timedelta(seconds=45))
    assert resting.skip_message == f"{jobs.NOTHING_LACKS} Looks again at 12:05:00 UTC."
    looks.tick(timedelta(seconds=254))
    assert looks.count == 1
    looks.tick(timedelta(seconds=1))
    assert looks.count == 2


def test_new_prices_end_the_rest(looks: Looks) -> None:
    looks.tick()
    day = MARKET.day_of(datetime.now(UTC)) - DAY
    assert looks.forecasts.run("fill_prices", day, day).success
    looks.tick(timedelta(seconds=45))
    looks.tick(timedelta(seconds=45))
    assert looks.count == 2


def test_it_does_not_rest_while_something_lacks(looks: Looks) -> None:
    looks.tick()
    looks.found = Gaps(prices=(NOW.date(),))
    assert looks.tick(timedelta(minutes=5)).run_requests
    assert looks.tick(timedelta(seconds=45)).run_requests
    assert looks.count == 3


def test_a_clock_that_is_set_back_does_not_prolong_the_rest(looks: Looks) -> None:
    looks.tick()
    looks.tick(-timedelta(hours=1))
    assert looks.count == 2


@pytest.mark.parametrize(
    "cursor", ["", "5", "2026-03-02T12:05:00 0", "2026-03-02T12:05:00+00:00 x", "later 0"]
)
def test_a_cursor_that_is_no_rest_is_no_reason_to_rest(looks: Looks, cursor: str) -> None:
    looks.cursor = cursor
    looks.tick()
    assert looks.count == 1
