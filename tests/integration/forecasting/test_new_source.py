"""A price source in one file is accepted by the setting, fetched, stored and checked by the doctor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from tsobs_pipelines.definitions import build_defs
from tsobs_pipelines.defs.common import resources
from tsobs_pipelines.defs.common.resources import StoreResource
from tsobs_pipelines.doctor.services import check_prices
from tsobs_pipelines.forecasting.delivery import Market, days_between, market_of
from tsobs_pipelines.forecasting.prices.open import alert_scope, open_price_source
from tsobs_pipelines.forecasting.prices.source import ALL_DAYS, PricePoint, PriceSourceUnavailableError, Probe
from tsobs_pipelines.price_sources import PRICE_SOURCES, PriceSourceKind, chosen_source
from tsobs_pipelines.settings import Settings, SettingsError, load_settings
from tsobs_pipelines.timeseries.schema import PRICES
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window


class FlatPrices:
    """The same price at every hour."""

    days_a_request = ALL_DAYS

    def __init__(self, price: float, market: Market) -> None:
        self.price, self.market = price, market

    @property
    def name(self) -> str:
        return f"flat:{self.price:g}"

    def fetch(self, first: date, last: date) -> list[PricePoint]:
        hours = [hour for day in days_between(first, last) for hour in self.market.hours_of(day)]
        return [PricePoint(hour, self.price) for hour in hours]

    def probe(self, day: date, timeout_s: float) -> Probe:
        if self.price > 1:
            raise PriceSourceUnavailableError("flat: closed for today")
        return Probe("flat as ever")


def open_flat(argument: str, settings: Settings) -> FlatPrices:
    try:
        return FlatPrices(float(argument), market_of(settings))
    except ValueError:
        msg = "expected a number after flat:"
        raise ValueError(msg) from None


@pytest.fixture(autouse=True)
def added() -> Iterator[None]:
    PRICE_SOURCES.add(PriceSourceKind("flat", ("<price>",), f"{__name__}:open_flat", label="FLAT market"))
    yield
    PRICE_SOURCES.remove("flat")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    monkeypatch.setenv("TSOBS_START_DATE", "2026-11-01")
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", "flat:0.05")
    (tmp_path / "var").mkdir()
    made = load_settings()
    store = SqlStore(made.database_url)
    monkeypatch.setattr(resources.opened, "settings", lambda: made)
    monkeypatch.setattr(resources.opened, "store", lambda: store)
    yield made
    store.close()


def test_its_prices_are_fetched_and_stored(settings: Settings, tmp_path: Path) -> None:
    defs = build_defs(settings)
    assets = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
    result = dg.materialize(
        assets,
        instance=dg.DagsterInstance.ephemeral(str(tmp_path)),
        resources=dict(defs.resources or {}),
        selection=["electricity_prices"],
        partition_key="2026-11-02",
    )
    (event,) = result.asset_materializations_for_node("electricity_prices")
    assert event.metadata["source"].value == "FLAT market"
    stored = StoreResource().get().read(PRICES, Window.of_day(date(2026, 11, 2)), {"source": "flat:0.05"})
    assert {row["price"] for row in stored} == {0.05}


def test_the_doctor_asks_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    assert [(one.level, one.detail) for one in check_prices(settings, now)] == [("ok", "flat as ever")]
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", "flat:2")
    (found,) = check_prices(load_settings(), now)
    assert (found.level, found.detail) == ("warning", "flat: closed for today")


def test_it_has_a_scope_of_alerts_of_its_own(settings: Settings) -> None:
    assert alert_scope(settings) == "prices-flat:0.05"
    assert not settings.demo_prices


@pytest.mark.parametrize(
    "value", ["flat", "flat:", "flat: ", "omie", "redata:", "redata:spot", "csv", ":", ""]
)
def test_what_no_source_takes_is_refused_by_name(value: str) -> None:
    with pytest.raises(ValueError, match=r"expected demo, redata, redata:pvpc, .* or flat:<price>"):
        chosen_source(value)


def test_an_argument_that_its_opener_refuses_is_a_setting_that_is_wrong(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", "flat:cheap")
    wrong = load_settings()
    with pytest.raises(SettingsError, match="TSOBS_PRICE_SOURCE='flat:cheap': expected a number after flat:"):
        open_price_source(wrong)
    (found,) = check_prices(wrong, datetime.now(UTC))
    assert found.level == "failed"


@pytest.mark.parametrize("setting", ["demo", "redata", "redata:pvpc", "csv:/tmp/spain.csv"])
def test_every_kind_opens_without_asking_anybody(setting: str, settings: Settings) -> None:
    opened = open_price_source(settings.model_copy(update={"price_source": setting}))
    assert opened.name
