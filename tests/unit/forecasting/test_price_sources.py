"""The price sources: REData against a stub with its failures, CSV files, and the simulated market."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.support import redata_api as api
from tests.support.prices import FIRST, LAST, MARKET, real_prices, real_prices_file
from tsobs_pipelines.demo.market import DemoMarket, in_shock
from tsobs_pipelines.forecasting.delivery import HOUR, days_between
from tsobs_pipelines.forecasting.prices import service as price_service
from tsobs_pipelines.forecasting.prices.csv_source import CsvPrices
from tsobs_pipelines.forecasting.prices.fetching import fetch_days
from tsobs_pipelines.forecasting.prices.quality import describe, judge_day
from tsobs_pipelines.forecasting.prices.redata import PVPC, RedataPrices
from tsobs_pipelines.forecasting.prices.source import (
    PricePoint,
    PriceSourceError,
    PriceSourceUnavailableError,
)

DAY = date(2026, 5, 12)
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)


@pytest.fixture
def service() -> Iterator[api.Redata]:
    with api.redata_api() as stub:
        yield stub


def source(service: api.Redata) -> RedataPrices:
    return RedataPrices(base_url=service.url, wait_s=0.01)


def test_redata_gives_each_hour_in_eur_per_kwh(service: api.Redata) -> None:
    points = source(service).fetch(DAY, DAY)
    assert [point.start for point in points] == MARKET.hours_of(DAY)
    assert points[13].price == pytest.approx((12 + 0.13) / 1000)
    assert judge_day(DAY, points, MARKET).complete


def test_redata_gives_the_pvpc_as_a_source_of_its_own(service: api.Redata) -> None:
    pvpc = RedataPrices(PVPC, service.url, wait_s=0.01)
    assert pvpc.fetch(DAY, DAY)[0].price == pytest.approx(0.062)
    assert (pvpc.name, source(service).name) == ("redata:pvpc", "redata")


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
@pytest.mark.parametrize("minutes", [60, 15])
def test_redata_on_days_with_a_clock_change(service: api.Redata, day: date, hours: int, minutes: int) -> None:
    service.minutes = minutes
    points = source(service).fetch(day, day)
    assert len(points) == hours
    assert judge_day(day, points, MARKET).complete


def test_quarters_become_the_mean_of_their_hour(service: api.Redata) -> None:
    service.minutes = 15
    service.price = lambda at: at.hour * 10 + at.minute / 15
    points = source(service).fetch(DAY, DAY)
    assert len(points) == 24
    assert points[7].price == pytest.approx(0.0715)


def test_an_hour_that_lacks_a_quarter_is_missing(service: api.Redata) -> None:
    body = json.loads(api.document(DAY, DAY, lambda at: 1.0, 15))
    del body["included"][1]["attributes"]["values"][30]
    service.moods.append((200, "application/json", json.dumps(body)))
    found = judge_day(DAY, source(service).fetch(DAY, DAY), MARKET)
    assert describe(found, MARKET) == "2026-05-12: missing 07:00+0200"


def test_redata_is_asked_for_less_than_a_month_at_once(service: api.Redata) -> None:
    first, last = date(2026, 1, 1), date(2026, 3, 31)
    points = fetch_days(source(service), first, last)
    assert all((end - start).days < 31 for start, end in service.asked)
    days = [day for start, end in service.asked for day in days_between(start, end)]
    assert days == list(days_between(first, last))
    assert len(points) == 90 * 24 - 1


@pytest.mark.parametrize("mood", [api.FIREWALL, api.BROKEN, api.CUT_OFF, (429, "text/plain", "slow down")])
def test_redata_is_asked_again_after_a_mood(service: api.Redata, mood: api.Answer) -> None:
    service.moods += [mood, mood]
    assert len(source(service).fetch(DAY, DAY)) == 24
    assert len(service.asked) == 3


def test_a_firewall_that_stays_is_named(service: api.Redata) -> None:
    service.moods += [api.FIREWALL] * 9
    with pytest.raises(PriceSourceUnavailableError, match="HTTP 403 from a web firewall") as error:
        source(service).fetch(DAY, DAY)
    assert "REData, 2026-05-12 to 2026-05-12" in str(error.value)
    assert "<html>" not in str(error.value)
    assert len(service.asked) == 4


def test_a_page_with_status_200_is_no_data(service: api.Redata) -> None:
    service.moods += [(200, "text/html", "<html>maintenance</html>")] * 4
    with pytest.raises(PriceSourceUnavailableError, match="a page instead of data"):
        source(service).fetch(DAY, DAY)


def test_a_service_that_says_nothing_runs_out_of_time(
    service: api.Redata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(price_service, "TIMEOUT", httpx.Timeout(0.2))
    service.moods += [api.SILENT, api.SILENT]
    assert len(source(service).fetch(DAY, DAY)) == 24
    service.moods += [api.SILENT] * 4
    with pytest.raises(PriceSourceUnavailableError, match="ReadTimeout"):
        source(service).fetch(DAY, DAY)


def test_nobody_there_is_worth_another_try() -> None:
    with pytest.raises(PriceSourceUnavailableError, match="ConnectError"):
        RedataPrices(base_url="http://127.0.0.1:9", attempts=2, wait_s=0.01).fetch(DAY, DAY)


def test_no_prices_yet_is_no_error(service: api.Redata) -> None:
    service.moods.append(api.NO_VALUES)
    assert source(service).fetch(DAY, DAY) == []
    service.moods.append((200, *api.NO_VALUES[1:]))
    assert source(service).fetch(DAY, DAY) == []
    service.moods.append((200, "application/json", json.dumps({"data": {}, "included": []})))
    assert source(service).fetch(DAY, DAY) == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((400, "application/json", '{"errors": [{"detail": "bad date"}]}'), "HTTP 400.*bad date"),
        ((200, "application/json", '{"errors": [{"detail": "upstream gone"}]}'), "HTTP 200.*upstream gone"),
        ((200, "application/json", "[1, 2"), "not JSON"),
        ((200, "application/json", '{"values": 3}'), "another form: KeyError"),
        ((200, "application/json", "[]"), "another form"),
    ],
)
def test_an_answer_in_another_form_is_not_tried_again(
    service: api.Redata, answer: api.Answer, expected: str
) -> None:
    service.moods.append(answer)
    with pytest.raises(PriceSourceError, match=expected) as error:
        source(service).fetch(DAY, DAY)
    assert not isinstance(error.value, PriceSourceUnavailableError)
    assert len(service.asked) == 1


def test_a_time_without_an_offset_is_refused(service: api.Redata) -> None:
    text = api.document(DAY, DAY, lambda at: 1.0).replace("+02:00", "")
    service.moods.append((200, "application/json", text))
    with pytest.raises(PriceSourceError, match="without an offset"):
        source(service).fetch(DAY, DAY)


# CSV.


def write(tmp_path: Path, text: str) -> CsvPrices:
    (tmp_path / "prices.csv").write_text(text, "utf-8")
    return CsvPrices(str(tmp_path / "prices.csv"), MARKET)


def test_the_real_prices_are_read() -> None:
    prices = real_prices()
    # 243 days of 24 values, without the hour that does not exist on the last Sunday of March.
    assert len(prices) == 243 * 24 - 1
    days = list(days_between(FIRST, LAST))
    points = CsvPrices(str(real_prices_file()), MARKET).fetch(FIRST, LAST)
    assert all(
        judge_day(day, [point for point in points if MARKET.day_of(point.start) == day], MARKET).complete
        for day in days[::7]
    )
    assert prices[datetime(2014, 12, 31, 23, tzinfo=UTC)] == pytest.approx(0.0501)


def test_a_file_with_times_and_kwh(tmp_path: Path) -> None:
    text = "time,price_eur_per_kwh,note\n2026-05-12T00:00+02:00,0.05,x\n2026-05-11T23:00:00Z,0.06,\n"
    points = write(tmp_path, text).fetch(DAY, DAY)
    assert [(point.start, point.price) for point in points] == [
        (datetime(2026, 5, 11, 22, tzinfo=UTC), 0.05),
        (datetime(2026, 5, 11, 23, tzinfo=UTC), 0.06),
    ]


def test_a_file_may_be_an_fsspec_url(tmp_path: Path) -> None:
    import fsspec  # noqa: PLC0415

    with fsspec.open("memory://market/prices.csv", "w") as file:
        file.write("date,hour,price_eur_per_mwh\n2026-05-11,0,\n2026-05-12,3,41.5\n")
    points = CsvPrices("memory://market/prices.csv", MARKET).fetch(DAY, DAY)
    assert [point.start for point in points] == [datetime(2026, 5, 12, 1, tzinfo=UTC)]
    assert points[0].price == pytest.approx(0.0415)


def test_a_file_of_quarters_gives_hours(tmp_path: Path) -> None:
    rows = "".join(f"2026-05-12T00:{quarter:02d}:00+02:00,{quarter}\n" for quarter in (0, 15, 30, 45))
    points = write(tmp_path, f"time,price_eur_per_mwh\n{rows}").fetch(DAY, DAY)
    assert [point.price for point in points] == [pytest.approx(0.0225)]


def test_a_file_that_grows_is_followed(tmp_path: Path) -> None:
    prices = write(tmp_path, "date,hour,price_eur_per_mwh\n2026-05-12,0,10\n")
    assert len(prices.fetch(DAY, DAY)) == 1
    write(tmp_path, "date,hour,price_eur_per_mwh\n2026-05-12,0,10\n2026-05-12,1,11\n2026-05-12,2,\n")
    assert len(prices.fetch(DAY, DAY)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("day;price\n", "columns day,price; expected time, or date and hour"),
        ("", "columns none"),
        ("date,hour,price_eur_per_mwh\n2026-05-12,3,cheap\n", "line 2: .*cheap"),
        ("date,hour,price_eur_per_mwh\n12/05/2026,3,1\n", "line 2: .*12/05/2026"),
        ("date,hour,price_eur_per_mwh\n2026-05-12,25,1\n", "line 2: hour 25, expected 0 to 23 or 1 to 24"),
        (
            "date,hour,price_eur_per_mwh\n2026-05-12,0,1\n2026-05-12,24,1\n",
            "day 2026-05-12: hours 0 to 24 in 2 rows fit no way of counting hours",
        ),
        (
            "time,price_eur_per_mwh\n2026-05-12T00:00,1\n",
            "line 2: time='2026-05-12T00:00', expected an offset",
        ),
    ],
)
def test_a_file_in_another_form_is_named_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(PriceSourceError, match=expected):
        write(tmp_path, text).fetch(DAY, DAY)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PriceSourceError, match=r"nowhere\.csv: there is no such file"):
        CsvPrices(str(tmp_path / "nowhere.csv"), MARKET).fetch(DAY, DAY)


# Quality.


def full_day(day: date = DAY) -> list[PricePoint]:
    return [PricePoint(hour, 0.05) for hour in MARKET.hours_of(day)]


def test_missing_doubled_and_absurd_hours_are_named() -> None:
    points = full_day()
    start = points[0].start
    points[3] = PricePoint(points[3].start, float("nan"))
    points[5] = PricePoint(points[5].start, 50.0)
    points[7] = PricePoint(points[7].start, float("-inf"))
    points += [PricePoint(start + 9 * HOUR, 0.07), PricePoint(start + 11 * HOUR, 0.05)]
    del points[1]
    found = judge_day(DAY, points, MARKET)
    assert describe(found, MARKET) == (
        "2026-05-12: missing 01:00+0200, 03:00+0200, 05:00+0200, 07:00+0200, 09:00+0200; "
        "given twice 09:00+0200, 11:00+0200; "
        "not a price 03:00+0200 (nan EUR/kWh), 05:00+0200 (50 EUR/kWh), 07:00+0200 (-inf EUR/kWh)"
    )
    assert len(found.prices) == 19
    assert found.prices[start + 11 * HOUR] == 0.05


def test_negative_prices_are_prices() -> None:
    points = [PricePoint(point.start, -0.5) for point in full_day()]
    assert judge_day(DAY, points, MARKET).complete


def test_the_repeated_autumn_hour_is_named_with_its_offset() -> None:
    points = full_day(AUTUMN)
    del points[3]
    assert describe(judge_day(AUTUMN, points, MARKET), MARKET) == "2026-10-25: missing 02:00+0100"


# The simulated market.


def test_the_demo_market_is_the_same_whenever_it_is_asked() -> None:
    whole = DemoMarket(MARKET).fetch(date(2026, 1, 1), date(2026, 12, 31))
    assert len(whole) == 8760
    assert DemoMarket(MARKET).fetch(DAY, DAY) == [p for p in whole if MARKET.day_of(p.start) == DAY]
    for start in range(0, 8760, 24 * 13):
        day = MARKET.day_of(whole[start + 12].start)
        points = [point for point in whole if MARKET.day_of(point.start) == day]
        assert judge_day(day, points, MARKET).complete


def test_any_31_days_of_the_demo_hold_one_shock_whole_or_in_part() -> None:
    first = date(2026, 1, 1)
    shocked = [in_shock(first + timedelta(days=step)) for step in range(400)]
    for start in range(400 - 31):
        assert any(shocked[start : start + 31])


def test_the_demo_has_day_week_and_year_in_it() -> None:
    points = DemoMarket(MARKET).fetch(date(2026, 1, 1), date(2026, 12, 31))
    calm = [p for p in points if not in_shock(MARKET.day_of(p.start))]

    def mean(chosen: list[PricePoint]) -> float:
        return sum(point.price for point in chosen) / len(chosen)

    evening = mean([p for p in calm if p.start.astimezone(MARKET.zone).hour == 21])
    night = mean([p for p in calm if p.start.astimezone(MARKET.zone).hour == 4])
    sunday = mean([p for p in calm if p.start.astimezone(MARKET.zone).weekday() == 6])
    winter = mean([p for p in calm if p.start.month == 1])
    summer = mean([p for p in calm if p.start.month == 7])
    assert evening > 1.3 * night
    assert sunday < 0.96 * mean(calm)
    assert winter > 1.2 * summer
