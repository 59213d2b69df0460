"""Selecting a store by the settings, windows, and the pure parts of the InfluxDB backend."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.store_contract import HOSTILE, SAMPLE, few, sample, texts
from tsobs_pipelines.settings import Settings, SettingsError, load_settings
from tsobs_pipelines.timeseries.influx import InfluxStore
from tsobs_pipelines.timeseries.influx_points import decode_text, encode_text, point_of, predicate
from tsobs_pipelines.timeseries.open import STORES, StoreKind, open_store
from tsobs_pipelines.timeseries.rows import from_micros, to_micros
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

INFLUX = {
    "INFLUXDB_V2_URL": "http://127.0.0.1:8086",
    "INFLUXDB_V2_ORG": "team",
    "INFLUXDB_V2_TOKEN": "secret-token",
}


@pytest.fixture(autouse=True)
def empty_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (*INFLUX, "TSOBS_INFLUX_BUCKET", "TSOBS_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))


def test_sql_is_the_default_and_influx_a_setting_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(open_store(load_settings()), SqlStore)
    for name, value in INFLUX.items():
        monkeypatch.setenv(name, value)
    assert isinstance(open_store(load_settings()), InfluxStore)


@pytest.mark.parametrize("missing", INFLUX)
def test_a_part_of_influx_that_is_missing_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in INFLUX.keys() - {missing}:
        monkeypatch.setenv(name, INFLUX[name])
    with pytest.raises(SettingsError, match=f"^{missing}: unset") as caught:
        open_store(load_settings())
    assert "secret-token" not in str(caught.value)


def test_a_database_url_that_is_none_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_DATABASE_URL", "mistake://user:hunter2@host/name")
    with pytest.raises(SettingsError, match=r"^TSOBS_DATABASE_URL=") as caught:
        open_store(load_settings())
    assert "hunter2" not in str(caught.value)


class Nowhere(SqlStore):
    """A store that is written in one file."""


def open_nowhere(settings: Settings) -> Nowhere:
    return Nowhere(settings.database_url)


def test_a_store_that_is_registered_is_opened_where_its_setting_asks_for_it() -> None:
    kind = StoreKind("nowhere", lambda settings: settings.log_level == "ERROR", f"{__name__}:open_nowhere")
    settings = load_settings()
    asked = settings.model_copy(update={"log_level": "ERROR"})
    assert type(open_store(asked)) is SqlStore
    STORES.add(kind)
    try:
        # SQL is the last resort: what is registered goes before it.
        assert type(open_store(asked)) is Nowhere
        assert type(open_store(settings)) is SqlStore
    finally:
        STORES.remove("nowhere")


def test_opening_sql_loads_neither_pandas_nor_the_influx_client() -> None:
    program = (
        "import sys; from tsobs_pipelines.settings import load_settings\n"
        "from tsobs_pipelines.timeseries.open import open_store\n"
        "open_store(load_settings()); print({'pandas', 'influxdb_client', 'numpy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_windows_are_half_open_days_and_spans() -> None:
    day = Window.of_day(date(2026, 11, 24))
    assert day == Window(datetime(2026, 11, 24, tzinfo=UTC), datetime(2026, 11, 25, tzinfo=UTC))
    now = datetime(2026, 11, 24, 12, tzinfo=UTC)
    assert Window.trailing(now, timedelta(hours=1)) == Window(now - timedelta(hours=1), now)
    with pytest.raises(ValueError, match="timezone-aware"):
        Window(day.start.replace(tzinfo=None), day.end)
    with pytest.raises(ValueError, match="starts after its end"):
        Window(day.end, day.start)


@few
@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_are_exact(time: datetime) -> None:
    assert from_micros(to_micros(time)) == time


@few
@given(texts)
def test_an_encoded_text_needs_no_escape_and_decodes_to_itself(text: str) -> None:
    encoded = encode_text(text)
    assert decode_text(encoded) == text
    assert not set(encoded) & set("\"'\\\n\r\t")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_predicate_stays_one_term_for_each_tag(text: str) -> None:
    terms = predicate(SAMPLE, [("place", encode_text(text))])
    assert terms.count('"') == 4
    assert terms.startswith('_measurement="contract_sample" AND place="')


def test_values_are_written_by_the_schema() -> None:
    line = point_of(SAMPLE, sample(0, place="a b,c=d", level=3, count=4)).line
    assert line == r"contract_sample,kind=direct,place=a\ b\,c\=d level=3.0,count=4i"
