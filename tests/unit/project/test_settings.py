"""Settings: what is read, what is refused and how it is said."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from tsobs_pipelines.cli.main import main
from tsobs_pipelines.cli.settings import markdown_table
from tsobs_pipelines.settings import (
    DEFAULT_START_DATE,
    SettingsError,
    known_names,
    load_settings,
    unknown_names,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "CONFIGURATION.md"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_nothing_has_to_be_set() -> None:
    settings = load_settings()
    assert settings.home.demo
    assert settings.home.name == "demo"
    assert settings.start_date == DEFAULT_START_DATE
    assert settings.critical_nodes == ("git", "chocolate-factory-dev", "chocolate-factory")
    assert settings.dagster_url == "http://127.0.0.1:3000"


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("TSOBS_API_PORT=9000\nTSOBS_DAGSTER_PORT=9001\n")
    monkeypatch.setenv("TSOBS_API_PORT", "9002")
    assert (load_settings().api_port, load_settings().dagster_port) == (9002, 9001)


def test_the_first_start_keeps_its_date(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "start_date").write_text("2026-10-02\n")
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path))
    assert load_settings().start_date == date(2026, 10, 2)
    monkeypatch.setenv("TSOBS_START_DATE", "2026-09-01")
    assert load_settings().start_date == date(2026, 9, 1)


def test_thresholds_of_single_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_LATENCY_THRESHOLDS_MS", "git=150, far.example=400.5")
    settings = load_settings()
    assert settings.home.latency_threshold_of("git") == 150
    assert settings.home.latency_threshold_of("far.example") == 400.5
    assert settings.home.latency_threshold_of("other") == 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git=0"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "=100"),
        ("TSOBS_LATENCY_THRESHOLD_MS", "inf"),
        ("TSOBS_CRITICAL_NODES", " , "),
        ("TSOBS_API_PORT", "70000"),
        ("TSOBS_LOG_LEVEL", "LOUD"),
        ("TSOBS_LOG_RETENTION_DAYS", "0"),
        ("TELEGRAM_API_URL", "ftp://x"),
        ("LOG_FORMAT_JSON", "maybe"),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"{name}={value!r}: ")
    assert "\n" not in text


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:sesame")
    monkeypatch.setenv("TSOBS_DATABASE_URL", "postgresql://tsobs:pass%20word@db/tsobs")
    monkeypatch.setenv("TSOBS_DAGSTER_DATABASE_URL", "postgresql://d:dagger@db/d")
    settings = load_settings()
    assert "sesame" not in repr(settings)
    assert set(settings.secrets()) == {"123:sesame", "pass%20word", "dagger"}
    printed = CliRunner().invoke(main, ["settings"]).output
    assert "(set)" in printed
    assert "sesame" not in printed
    assert "word" not in printed


def test_secrets_may_be_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "TELEGRAM_BOT_TOKEN").write_text("123:sesame\n")
    (secrets / "INFLUXDB_V2_TOKEN").write_text("from the file")
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    monkeypatch.setenv("INFLUXDB_V2_TOKEN", "from the environment")
    assert set(load_settings().secrets()) == {"123:sesame", "from the environment"}
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"^TSOBS_SECRETS_DIR=.*expected a directory"):
        load_settings()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_postgres_is_reached_by_the_driver_that_is_there(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("TSOBS_DATABASE_URL", f"{scheme}://tsobs@db/tsobs")
    monkeypatch.setenv("TSOBS_DAGSTER_DATABASE_URL", f"{scheme}://tsobs@db/dagster")
    settings = load_settings()
    assert settings.database_url == "postgresql+psycopg2://tsobs@db/tsobs"
    assert settings.dagster_database_url is not None
    assert settings.dagster_database_url.get_secret_value() == "postgresql+psycopg2://tsobs@db/dagster"


def test_a_misspelt_name_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TSOBS_SIDECAR_ULR", "http://x")
    (tmp_path / ".env").write_text("TSOBS_NOTHING_LIKE_IT_AT_ALL=1\n")
    assert unknown_names()["TSOBS_SIDECAR_ULR"] == "TSOBS_SIDECAR_URL"
    assert "TSOBS_NOTHING_LIKE_IT_AT_ALL" in unknown_names()


def test_the_documentation_has_every_setting() -> None:
    assert markdown_table() in DOCUMENT.read_text("utf-8")
