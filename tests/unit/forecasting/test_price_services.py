"""Services of prices: nulls and failed months of REData, ESIOS and its token, ENTSO-E by its library."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

import entsoe.entsoe
import pandas as pd
import pytest

from tests.support import redata_api
from tests.support.price_services import Answer, Query, Service, entsoe_document, esios_answer, serving
from tests.support.prices import MARKET
from tsobs_pipelines.forecasting.delivery import DAY, Market, days_between
from tsobs_pipelines.forecasting.prices.entsoe import EntsoePrices, open_entsoe
from tsobs_pipelines.forecasting.prices.esios import PVPC, EsiosPrices
from tsobs_pipelines.forecasting.prices.fetching import fetch_days
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.prices.quality import judge_day
from tsobs_pipelines.forecasting.prices.redata import RedataPrices
from tsobs_pipelines.forecasting.prices.source import (
    Fetched,
    PricePoint,
    PriceSourceError,
    PriceSourceSetupError,
    PriceSourceUnavailableError,
    Probe,
)
from tsobs_pipelines.settings import SettingsError, load_settings

DAY_1 = date(2026, 5, 12)
SPRING, AUTUMN = date(2026, 3, 29), date(2026, 10, 25)
TOKEN = "a-token-that-nobody-may-read"


# REData.


@pytest.fixture
def redata() -> Iterator[redata_api.Redata]:
    with redata_api.redata_api() as stub:
        yield stub


def spoilt(first: date, last: date, changes: Mapping[int, object]) -> redata_api.Answer:
    body = json.loads(redata_api.document(first, last, redata_api.day_and_hour))
    for place, value in changes.items():
        body["included"][1]["attributes"]["values"][place]["value"] = value
    return 200, "application/json", json.dumps(body)


def test_a_null_among_three_days_costs_its_hour(redata: redata_api.Redata) -> None:
    """As text, as numbers that JSON does not have, and as what is none."""
    changes = {30: None, 31: "much", 32: True, 33: float("nan"), 34: "n/a", 35: "1_0", 36: [1], 37: "12.5"}
    redata.moods.append(spoilt(DAY_1, DAY_1 + 2 * DAY, changes))
    found = RedataPrices(base_url=redata.url).fetch(DAY_1, DAY_1 + 2 * DAY)
    assert len(found) == 72 - 7
    missing = judge_day(
        DAY_1 + DAY, [p for p in found if MARKET.day_of(p.start) == DAY_1 + DAY], MARKET
    ).missing
    assert missing == tuple(MARKET.hours_of(DAY_1 + DAY)[6:13])
    assert [p.price for p in found if p.start == MARKET.hours_of(DAY_1 + DAY)[13]] == [0.0125]
    assert len(found.remarks) == 4, "a null is an hour without a price, the others are named"
    assert "'much'" in found.remarks[0]


def test_hours_and_quarters_in_one_answer(redata: redata_api.Redata) -> None:
    before, after = date(2025, 9, 30), date(2025, 10, 1)
    parts = [
        json.loads(redata_api.document(day, day, lambda at: at.hour + at.minute / 60, minutes))
        for day, minutes in ((before, 60), (after, 15))
    ]
    values = [value for part in parts for value in part["included"][1]["attributes"]["values"]]
    parts[0]["included"][1]["attributes"]["values"] = values
    redata.moods.append((200, "application/json", json.dumps(parts[0])))
    found = RedataPrices(base_url=redata.url).fetch(before, after)
    expected = [*map(float, range(24)), *(hour + 0.375 for hour in range(24))]
    assert [point.price * 1000 for point in found] == pytest.approx(expected)


@pytest.mark.parametrize("status", [500, 400])
def test_a_failed_month_leaves_the_others(redata: redata_api.Redata, status: int) -> None:
    first = date(2026, 1, 1)
    last = first + 56 * DAY
    refusal = (status, "application/json", '{"errors": [{"detail": "not today"}]}')
    redata.moods += [refusal] * (4 if status == 500 else 1)
    found = fetch_days(RedataPrices(base_url=redata.url, wait_s=0.01), first, last)
    assert {MARKET.day_of(point.start) for point in found} == set(days_between(first + 28 * DAY, last))
    (failure,) = found.failures
    assert (failure.first, failure.last) == (first, first + 27 * DAY)
    assert str(failure).startswith(f"REData, {first} to {first + 27 * DAY}: HTTP {status}")
    assert fetch_days(RedataPrices(base_url=redata.url), first, last).failures == (), "asked again"


def test_a_service_that_is_down_is_not_asked_for_every_month(redata: redata_api.Redata) -> None:
    source = RedataPrices(base_url=redata.url, attempts=1)
    redata.moods += [redata_api.BROKEN] * 99
    with pytest.raises(PriceSourceUnavailableError, match="HTTP 502"):
        fetch_days(source, date(2025, 1, 1), date(2025, 12, 31))
    assert len(redata.asked) == 3
    redata.moods = [
        (200, "application/json", redata_api.document(DAY_1, DAY_1, lambda at: 1.0)),
        *[redata_api.BROKEN] * 9,
    ]
    found = fetch_days(source, date(2025, 1, 1), date(2025, 12, 31))
    assert len(found) == 24
    assert "not asked for" in str(found.failures[-1])


class Monthly:
    """A source that answers each request in turn with prices or an error."""

    name = "monthly"
    days_a_request = 28

    def __init__(self, *errors: PriceSourceError | None) -> None:
        self.errors = list(errors)
        self.asked: list[tuple[date, date]] = []

    def fetch(self, first: date, last: date) -> Fetched:
        self.asked.append((first, last))
        if error := self.errors.pop(0) if self.errors else None:
            raise error
        return Fetched([PricePoint(MARKET.start_of(day), 1.0) for day in days_between(first, last)])

    def probe(self, day: date, timeout_s: float) -> Probe:
        return Probe(f"asked for {day} within {timeout_s:g} s")


BUSY, REFUSED = PriceSourceUnavailableError("HTTP 500"), PriceSourceError("HTTP 400")
NO_TOKEN = PriceSourceSetupError("HTTP 403")


@pytest.mark.parametrize("errors", [(BUSY,), (BUSY, BUSY), (REFUSED, REFUSED), (None, BUSY, BUSY)])
def test_what_is_answered_is_kept_whichever_requests_fail(
    errors: tuple[PriceSourceError | None, ...],
) -> None:
    source = Monthly(*errors)
    first, last = date(2026, 4, 1), date(2026, 5, 27)
    found = fetch_days(source, first, last)
    assert source.asked == [
        (first, first + 27 * DAY),
        (first + 28 * DAY, first + 55 * DAY),
        (last, last),
    ]
    failed = {day for failure in found.failures for day in days_between(failure.first, failure.last)}
    kept = [MARKET.day_of(point.start) for point in found]
    assert kept == sorted(set(days_between(first, last)) - failed)
    assert len(found.failures) == sum(error is not None for error in errors)


def test_the_newest_days_are_kept_where_the_oldest_are_not_answered() -> None:
    source = Monthly(BUSY, BUSY)
    found = fetch_days(source, date(2025, 1, 1), date(2025, 12, 31))
    assert [MARKET.day_of(point.start) for point in found] == [date(2025, 12, 31)]
    assert len(source.asked) == 3
    assert (found.failures[-1].first, found.failures[-1].last) == (date(2025, 2, 26), date(2025, 12, 30))
    assert "2025-02-26 to 2025-12-30: not asked for" in str(found.failures[-1])


def test_a_token_that_is_refused_later_leaves_what_came_before() -> None:
    source = Monthly(None, NO_TOKEN)
    first, last = date(2026, 4, 1), date(2026, 5, 27)
    found = fetch_days(source, first, last)
    assert len(found) == 28
    assert [str(failure) for failure in found.failures] == [
        "HTTP 403",
        "2026-05-27 to 2026-05-27: not asked for, as the requests before failed",
    ]
    assert len(source.asked) == 2
    with pytest.raises(PriceSourceSetupError):
        fetch_days(Monthly(BUSY, NO_TOKEN), first, last)


@pytest.mark.parametrize("at", ["9999-12-31T10:00:00Z", "0001-01-01T00:30:00+00:00", "2201-01-01T00:00:00Z"])
def test_a_value_at_the_ends_of_time_costs_itself(redata: redata_api.Redata, at: str) -> None:
    body = json.loads(redata_api.document(DAY_1, DAY_1, lambda _: 1.0))
    body["included"][1]["attributes"]["values"][5]["datetime"] = at
    redata.moods.append((200, "application/json", json.dumps(body)))
    found = RedataPrices(base_url=redata.url).fetch(DAY_1, DAY_1)
    assert len(found) == 23
    assert f"datetime='{at}', expected a year of 1970 to 2200" in found.remarks[0]


def test_a_number_of_thousands_of_digits_is_no_json(redata: redata_api.Redata) -> None:
    redata.moods.append((200, "application/json", '{"included": %s}' % ("9" * 5000)))
    with pytest.raises(PriceSourceError, match="HTTP 200, not JSON"):
        RedataPrices(base_url=redata.url).fetch(DAY_1, DAY_1)


def test_a_span_that_does_not_divide_an_hour_is_named(redata: redata_api.Redata) -> None:
    redata.moods.append((200, "application/json", redata_api.document(DAY_1, DAY_1, lambda _: 1.0, 7)))
    found = RedataPrices(base_url=redata.url).fetch(DAY_1, DAY_1)
    assert found == []
    assert "prices every 7 minutes, expected a span that divides an hour" in str(found.failures[0])


# ESIOS.


@pytest.fixture
def esios() -> Iterator[Service]:
    with serving(esios_answer) as stub:
        yield stub


@pytest.mark.parametrize(("day", "hours"), [(DAY_1, 24), (SPRING, 23), (AUTUMN, 25)])
def test_esios_gives_the_prices_of_spain_alone(esios: Service, day: date, hours: int) -> None:
    found = EsiosPrices(TOKEN, base_url=esios.url).fetch(day, day)
    assert len(found) == hours
    assert judge_day(day, found, MARKET).complete
    assert found[0].price * 1000 == pytest.approx(300)
    assert esios.headers[0]["x-api-key"] == TOKEN
    assert esios.asked[0][0] == "/indicators/600"
    pvpc = EsiosPrices(TOKEN, PVPC, esios.url)
    assert pvpc.fetch(day, day)[0].price * 1000 == pytest.approx(874_100)
    assert (pvpc.name, esios.asked[-1][0]) == ("esios:pvpc", "/indicators/1001")


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_esios_refuses_is_named_at_once(esios: Service, status: int) -> None:
    esios.moods.append((status, "application/json", '{"status": "Forbidden"}'))
    with pytest.raises(PriceSourceSetupError, match="TSOBS_ESIOS_TOKEN is not accepted") as error:
        EsiosPrices(TOKEN, base_url=esios.url).fetch(DAY_1, DAY_1)
    assert len(esios.asked) == 1
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize(
    ("mood", "error", "said"),
    [
        ((503, "text/html", "<html>"), PriceSourceUnavailableError, "HTTP 503"),
        ((200, "text/html", "<html>log in"), PriceSourceUnavailableError, "a page instead of data"),
        ((200, "application/json", "[]"), PriceSourceError, "another form"),
        (
            (200, "application/json", '{"indicator": {"values": [{"value": 1}]}}'),
            PriceSourceError,
            "another form",
        ),
        (
            (404, "application/json", '{"message": "no such indicator"}'),
            PriceSourceError,
            "no such indicator",
        ),
    ],
)
def test_other_answers_of_esios(esios: Service, mood: Answer, error: type[Exception], said: str) -> None:
    esios.moods += [mood, mood]
    source = EsiosPrices(TOKEN, base_url=esios.url, attempts=2, wait_s=0.01)
    with pytest.raises(error, match=said) as caught:
        source.fetch(DAY_1, DAY_1)
    assert "\n" not in str(caught.value)
    esios.moods.clear()
    assert source.probe(DAY_1, 2.0).detail == f"{esios.url} answers"


@pytest.mark.parametrize("spoilt", [None, "text", 5, [1], {"value": None, "datetime": None, "geo_id": 3}])
def test_one_value_of_esios_that_is_none_costs_itself(esios: Service, spoilt: object) -> None:
    status, kind, text = esios_answer("/indicators/600", {"start_date": f"{DAY_1}", "end_date": f"{DAY_1}"})
    body = json.loads(text)
    body["indicator"]["values"][4 * 7] = spoilt
    esios.moods.append((status, kind, json.dumps(body)))
    found = EsiosPrices(TOKEN, base_url=esios.url).fetch(DAY_1, DAY_1)
    assert judge_day(DAY_1, found, MARKET).missing == (MARKET.hours_of(DAY_1)[7],)
    assert len(found.remarks) == 1


# ENTSO-E, by the real library against a server in its form.


def price_of(at: datetime) -> float:
    """Equal for two hours each, so that curve type A03 leaves half of the positions out."""
    return float(at.astimezone(UTC).hour // 2 * 2)


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    def answer(_path: str, query: Query) -> Answer:
        start = datetime.strptime(query["periodStart"], "%Y%m%d%H%M").replace(tzinfo=UTC)
        end = datetime.strptime(query["periodEnd"], "%Y%m%d%H%M").replace(tzinfo=UTC)
        series = ""
        for day in days_between(MARKET.day_of(start), MARKET.day_of(end)):
            minutes = 15 if day >= date(2025, 10, 1) else 60
            step = timedelta(minutes=minutes)
            count = (MARKET.end_of(day) - MARKET.start_of(day)) // step
            prices = [price_of(MARKET.start_of(day) + step * n) for n in range(count)]
            document = entsoe_document(MARKET.start_of(day), prices, minutes)
            head, mark, rest = document.partition("<TimeSeries>")
            one, end_mark, tail = rest.partition("</TimeSeries>")
            series += mark + one + end_mark
        return 200, "application/xml", head + series + tail

    with serving(answer) as stub:
        monkeypatch.setattr(entsoe.entsoe, "URL", f"{stub.url}/api")
        yield stub


@pytest.mark.parametrize(
    ("first", "last"),
    [(date(2025, 9, 30), date(2025, 10, 1)), (SPRING, SPRING), (AUTUMN, AUTUMN), (DAY_1, DAY_1)],
)
def test_entsoe_gives_each_hour_with_what_curve_type_a03_leaves_out(
    platform: Service, first: date, last: date
) -> None:
    found = EntsoePrices(TOKEN, "ES", MARKET).fetch(first, last)
    hours = [hour for day in days_between(first, last) for hour in MARKET.hours_of(day)]
    assert [point.start for point in found] == hours
    assert [point.price * 1000 for point in found] == pytest.approx([price_of(hour) for hour in hours])
    assert platform.asked[0][1]["in_Domain"] == "10YES-REE------0"


def test_entsoe_has_no_prices_yet(platform: Service) -> None:
    reason = "<Reason><code>999</code><text>No matching data found</text></Reason>"
    text = f"<Acknowledgement_MarketDocument>{reason}</Acknowledgement_MarketDocument>"
    platform.moods += [(200, "text/xml", text)]
    assert EntsoePrices(TOKEN, "ES", MARKET).fetch(DAY_1, DAY_1) == []


def test_prices_in_another_currency_are_refused_by_its_name(platform: Service) -> None:
    """Poland's were in PLN, Romania's in RON: as euros they would be several times too high."""
    source = EntsoePrices(TOKEN, "PL", MARKET)
    hours = [50.0] * 24
    document = entsoe_document(MARKET.start_of(DAY_1), hours, 60)
    platform.moods += [(200, "application/xml", document.replace(">EUR<", ">PLN<"))] * 2
    for ask in (lambda: source.fetch(DAY_1, DAY_1), lambda: source.probe(DAY_1, 2.0)):
        with pytest.raises(PriceSourceSetupError, match="prices in PLN, expected EUR") as caught:
            ask()
        assert TOKEN not in str(caught.value)
    assert len(platform.asked) == 2


@pytest.mark.parametrize(
    ("mood", "error", "said"),
    [
        ((401, "text/html", "Unauthorized"), PriceSourceSetupError, "TSOBS_ENTSOE_TOKEN is not accepted"),
        ((503, "text/html", "<html>maintenance"), PriceSourceUnavailableError, "HTTP 503"),
        ((429, "text/plain", ""), PriceSourceUnavailableError, "HTTP 429"),
        ((400, "text/xml", "<a/>"), PriceSourceError, "HTTP 400"),
        ((200, "text/html", "<html>log in</html>"), PriceSourceError, "another form"),
        ((200, "application/xml", "<half"), PriceSourceError, "another form"),
    ],
)
def test_other_answers_of_entsoe(platform: Service, mood: Answer, error: type[Exception], said: str) -> None:
    platform.moods += [mood] * 3
    with pytest.raises(error, match=said) as caught:
        EntsoePrices(TOKEN, "ES", MARKET).fetch(DAY_1, DAY_1)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


INDEX = pd.date_range("2026-05-11 22:00", periods=24, freq="h", tz="UTC")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        pd.DataFrame({"a": range(24)}, index=INDEX),
        pd.DataFrame({0: [5.0]}, index=INDEX[:1]),
        pd.Series(range(24), index=INDEX.tz_localize(None)),
        pd.Series(["x"] * 24, index=INDEX),
        pd.Series(range(24)),
    ],
)
def test_whatever_the_library_of_entsoe_returns_is_one_line(
    monkeypatch: pytest.MonkeyPatch, answer: object
) -> None:
    monkeypatch.setattr(
        entsoe.entsoe.EntsoePandasClient, "query_day_ahead_prices", lambda *_args, **_options: answer
    )
    with pytest.raises(PriceSourceError, match=r"ENTSO-E, ES, .*: an answer in another form") as caught:
        EntsoePrices(TOKEN, "ES", MARKET).fetch(DAY_1, DAY_1)
    assert "\n" not in str(caught.value)


def test_nobody_there_is_unavailable_without_the_address_and_so_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entsoe.entsoe, "URL", "http://127.0.0.1:9/api")
    with pytest.raises(PriceSourceUnavailableError, match="ConnectionError") as caught:
        EntsoePrices(TOKEN, "ES", MARKET, attempts=1).fetch(DAY_1, DAY_1)
    assert TOKEN not in str(caught.value)


# Settings.


@pytest.mark.parametrize(
    ("source", "zone", "name"),
    [
        ("entsoe", "Europe/Madrid", "entsoe:ES"),
        ("entsoe", "Europe/Berlin", "entsoe:DE_LU"),
        ("entsoe", "Europe/Dublin", "entsoe:IE_SEM"),
        ("entsoe:SE_3", "Europe/Stockholm", "entsoe:SE_3"),
        ("esios", "Europe/Madrid", "esios"),
        ("esios:pvpc", "Europe/Madrid", "esios:pvpc"),
    ],
)
def test_sources_with_a_token_are_opened(
    monkeypatch: pytest.MonkeyPatch, source: str, zone: str, name: str
) -> None:
    for variable, value in (("SOURCE", source), ("TIMEZONE", zone)):
        monkeypatch.setenv(f"TSOBS_{'PRICE' if variable == 'SOURCE' else 'MARKET'}_{variable}", value)
    for variable in ("TSOBS_ESIOS_TOKEN", "TSOBS_ENTSOE_TOKEN"):
        monkeypatch.setenv(variable, TOKEN)
    settings = load_settings()
    assert open_price_source(settings).name == name
    assert TOKEN in settings.secrets()


@pytest.mark.parametrize(
    ("source", "zone", "said"),
    [
        ("esios", "Europe/Madrid", "expected a token of ESIOS in TSOBS_ESIOS_TOKEN"),
        ("entsoe", "Europe/Madrid", "expected a token of ENTSO-E in TSOBS_ENTSOE_TOKEN"),
        ("entsoe", "Europe/Stockholm", "expected entsoe:<bidding zone>.*Europe/Stockholm does not name one"),
        ("entsoe:spain", "Europe/Madrid", "expected entsoe:<bidding zone>"),
    ],
)
def test_a_source_that_can_not_work_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, source: str, zone: str, said: str
) -> None:
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", source)
    monkeypatch.setenv("TSOBS_MARKET_TIMEZONE", zone)
    with pytest.raises(SettingsError, match=said):
        open_price_source(load_settings())


def test_the_library_of_entsoe_is_named_where_it_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_ENTSOE_TOKEN", TOKEN)
    monkeypatch.setattr("tsobs_pipelines.forecasting.prices.entsoe.find_spec", lambda _name: None)
    with pytest.raises(ValueError, match="needs the package entsoe-py"):
        open_entsoe("ES", load_settings())


def test_a_zone_that_entsoe_does_not_have_is_named() -> None:
    with pytest.raises(PriceSourceSetupError, match="no bidding zone 'ATLANTIS'"):
        EntsoePrices(TOKEN, "ATLANTIS", Market("Europe/Madrid")).probe(DAY_1, 1.0)
