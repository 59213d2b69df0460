"""Settings: what is read, what is rejected, and the error messages."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.settings import refusal
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.cli.settings import markdown_table
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.settings import (
    DEFAULT_START_DATE,
    SettingsError,
    load_settings,
    unknown_names,
)

DOCUMENT = Path(__file__).parents[3] / "docs" / "CONFIGURATION.md"


def test_nothing_has_to_be_set() -> None:
    settings = load_settings()
    assert settings.first_tailnet.demo
    assert settings.first_tailnet.name == "demo"
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
    assert settings.first_tailnet.latency_threshold_of("git") == 150
    assert settings.first_tailnet.latency_threshold_of("far.example") == 400.5
    assert settings.first_tailnet.latency_threshold_of("other") == 100


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
    text = refusal()
    assert text.startswith(f"{name}={value!r}: ")
    assert "\n" not in text


def test_a_secret_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:sesame")
    monkeypatch.setenv("TSOBS_DATABASE_URL", "postgresql://tsobs:pass%20word@db/tsobs")
    monkeypatch.setenv("TSOBS_DAGSTER_DATABASE_URL", "postgresql://d:dagger@db/d")
    settings = load_settings()
    assert "sesame" not in repr(settings)
    assert set(settings.secrets()) == {"123:sesame", "pass%20word", "pass word", "dagger"}
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
    assert settings.database_url.get_secret_value() == "postgresql+psycopg2://tsobs@db/tsobs"
    assert settings.dagster_database_url is not None
    assert settings.dagster_database_url.get_secret_value() == "postgresql+psycopg2://tsobs@db/dagster"


def test_a_misspelt_name_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TSOBS_SIDECAR_ULR", "http://x")
    (tmp_path / ".env").write_text("TSOBS_NOTHING_LIKE_IT_AT_ALL=1\n")
    assert unknown_names()["TSOBS_SIDECAR_ULR"] == "TSOBS_SIDECAR_URL"
    assert "TSOBS_NOTHING_LIKE_IT_AT_ALL" in unknown_names()


def test_the_documentation_has_every_setting() -> None:
    page = DOCUMENT.read_text("utf-8")
    assert markdown_table() in page, "docs/CONFIGURATION.md: put in what `tsobs settings --markdown` prints"


NO_ZONES = (
    "Factory",
    "localtime",
    "posixrules",
    "right/UTC",
    "right/Europe/Madrid",
    "zone.tab",
    "Europe",
    "../UTC",
)


PATHS = (
    *("TSOBS_STATE_DIR", "TSOBS_MODELS_DIR", "TSOBS_SIDECAR_TOKEN_FILE", "TSOBS_TAILNETS_FILE"),
    *("TSOBS_SECRETS_DIR", "TSOBS_RUN_LAUNCHER_CONFIG", "TSOBS_TAILSCALED_LOG"),
)


SECRETS = (
    *(
        "INFLUXDB_V2_TOKEN",
        "TELEGRAM_BOT_TOKEN",
        "TSOBS_PROXY_SECRET",
        "TSOBS_ESIOS_TOKEN",
        "TSOBS_ENTSOE_TOKEN",
    ),
)


@pytest.mark.parametrize(
    "value", ["\u20acuro-canary", "  ", "canary ", " canary", "\tcanary", "canary" * 700, "can\x7fary"]
)
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_no_header_can_carry_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(f"{name}: expected printable characters of ASCII")
    assert "canary" not in text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git=150,git=200", "'git' is there twice"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git=5, git =6", "'git' is there twice"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git=5;b=6", "not 'git=5;b=6'"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git\x01=5", "expected <node>=<milliseconds"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "g it=5", "expected <node>=<milliseconds"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", f"{'n' * 300}=5", "expected <node>=<milliseconds"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git=nan", "expected <node>=<milliseconds"),
        ("TSOBS_START_DATE", "1698796800", "expected a valid date, YYYY-MM-DD"),
        ("TSOBS_START_DATE", "2026-11-01T00:00", "expected a valid date, YYYY-MM-DD"),
        ("TSOBS_START_DATE", "2026-W45-1", "expected a valid date, YYYY-MM-DD"),
        ("TSOBS_START_DATE", "\u0662026-11-01", "expected a valid date, YYYY-MM-DD"),
        ("TELEGRAM_THREAD_ID", "-5", "greater than or equal to 1"),
        ("TELEGRAM_THREAD_ID", "0", "greater than or equal to 1"),
        ("TELEGRAM_THREAD_ID", "9" * 30, "less than or equal to"),
        ("TSOBS_MARKET_COUNTRY", "\u00df", "expected a country by its two letters"),
        ("TSOBS_MARKET_COUNTRY", "\ufb01", "expected a country by its two letters"),
        *(("TSOBS_MARKET_TIMEZONE", zone, "expected a time zone name") for zone in NO_ZONES),
        *((name, "~/x", "without ~") for name in PATHS),
        ("TSOBS_STATE_DIR", "~", "without ~"),
        ("TSOBS_STATE_DIR", "  ", "expected a path"),
        ("TSOBS_STATE_DIR", "~somebody/x", "without ~"),
        ("TSOBS_MODELS_DIR", "file://~/x", "without ~"),
        ("TSOBS_API_HOST", "224.0.0.1", "expected an address of this machine"),
        ("TSOBS_API_HOST", "ff02::1", "expected an address of this machine"),
        ("TSOBS_API_HOST", "::ffff:224.0.0.1", "expected an address of this machine"),
        ("TSOBS_API_HOST", "255.255.255.255", "expected an address of this machine"),
        ("TSOBS_API_HOST", "fe80::1%eth0", "expected an IP address without a zone"),
        ("TSOBS_API_HOST", "a..b", "expected the name of a host"),
        ("TSOBS_API_HOST", "a" * 64, "expected the name of a host"),
        ("TSOBS_TRUSTED_PROXY", "224.0.0.1", "expected the IP address"),
        ("TSOBS_TRUSTED_PROXY", "::ffff:0.0.0.0", "expected the IP address"),
        ("TSOBS_SIDECAR_URL", f"http://h/{'x' * 5000}", "expected an http"),
        ("TSOBS_SIDECAR_URL", "http://x:abc", "expected an http"),
        ("TSOBS_SIDECAR_URL", "http://x\r\nHost: y", "expected an http"),
        ("TSOBS_SIDECAR_URL", "http://x:0", "expected an http"),
        ("TSOBS_DATABASE_URL", "x", "expected sqlite"),
        ("TSOBS_DATABASE_URL", "mysql://u:p@h/x", "expected sqlite"),
        ("TSOBS_DATABASE_URL", "postgresql://u:p@h:abc/x", "expected sqlite"),
        ("TSOBS_DATABASE_URL", "postgresql+asyncpg://h/x", "expected sqlite"),
        ("TSOBS_DAGSTER_DATABASE_URL", "sqlite:///x", "expected postgresql"),
        ("TSOBS_TRUSTED_PROXY", "foo", "expected the IP address"),
        ("TSOBS_TRUSTED_PROXY", "127.0.0.1:80", "expected the IP address"),
        ("TSOBS_TRUSTED_PROXY", "0.0.0.0", "expected the IP address"),  # noqa: S104 - nobody's
        ("TSOBS_TRUSTED_PROXY", "::", "expected the IP address"),
        ("TSOBS_SIDECAR_URL", "http://x=y", "expected an http"),
        ("TSOBS_STATE_DIR", "var\r\n", "without control characters"),
        ("TSOBS_MODELS_DIR", "s3://bucket/x\x1b[31m", "without control characters"),
        ("TSOBS_TAILSCALED_LOG", "/var/log/x\t", "without control characters"),
        ("INFLUXDB_V2_TOKEN", "abcdefgh\r\nHost: y", "expected printable characters"),
        ("TELEGRAM_BOT_TOKEN", "123:abc\r", "expected printable characters"),
        ("TSOBS_ENTSOE_TOKEN", "\ufeffabc", "expected printable characters"),
        ("TSOBS_ESIOS_TOKEN", "a\tb", "expected printable characters"),
        ("TSOBS_PROXY_SECRET", "sesame\n", "expected printable characters"),
        ("INFLUXDB_V2_ORG", "team\n", "printable characters"),
        ("TSOBS_INFLUX_BUCKET", "b" * 5000, "printable characters"),
        ("TELEGRAM_CHAT_ID", "-5\r\n", "printable characters"),
        ("TELEGRAM_THREAD_ID", "1e400", "valid integer"),
        ("TSOBS_LOG_RETENTION_DAYS", "1e400", "valid integer"),
        ("TSOBS_LATENCY_THRESHOLD_MS", "1e400", "finite number"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "git=1e400", "expected <node>=<milliseconds"),
        ("TSOBS_START_DATE", "10000-01-01", "valid date"),
        ("TSOBS_START_DATE", "0001-01-01", "expected a date from"),
        ("TSOBS_START_DATE", "9999-13-01", "valid date"),
        ("TSOBS_API_HOST", "[::1]", "expected an IP address or a host name"),
        ("TSOBS_API_HOST", "127.0.0.1:80", "expected an IP address or a host name"),
        ("TSOBS_API_HOST", "999.1.1.1", "expected an IP address or a host name"),
        ("TSOBS_API_HOST", "a host", "expected an IP address or a host name"),
        ("TSOBS_CRITICAL_NODES", "n" * 300, "expected names of nodes of at most 253"),
        ("TSOBS_CRITICAL_NODES", "git\x1b[31m", "printable"),
        ("TSOBS_STATE_DIR", "d/" * 2500, "expected a path"),
        ("TSOBS_SECRETS_DIR", "d" * 5000, "expected a directory"),
        ("TSOBS_TAILNETS_FILE", "d" * 5000, "expected a TOML file"),
        ("TSOBS_API_PORT", "9" * 5000, "int"),
        ("TSOBS_LATENCY_THRESHOLDS_MS", "x" * 5000, "expected <node>=<milliseconds"),
    ],
)
def test_a_value_that_would_fail_later_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert expected in text
    assert text.isprintable()
    assert len(text) < 600


def test_values_near_those_that_are_refused_stay_legal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TELEGRAM_THREAD_ID", "1")
    monkeypatch.setenv("TSOBS_MARKET_COUNTRY", "es")
    monkeypatch.setenv("TSOBS_STATE_DIR", "./~/x")
    monkeypatch.setenv("TSOBS_LATENCY_THRESHOLDS_MS", "git=150,, m\u00fcnchen = 4e2,")
    monkeypatch.setenv("TSOBS_PROXY_SECRET", "open sesame")
    settings = load_settings()
    assert (settings.telegram_thread_id, settings.market_country) == (1, "ES")
    assert settings.latency_thresholds_ms == {"git": 150, "m\u00fcnchen": 400}
    for zone in ("UTC", "Etc/GMT+1", "Asia/Kolkata", "EST5EDT", "posix/Europe/Madrid"):
        monkeypatch.setenv("TSOBS_MARKET_TIMEZONE", zone)
        assert load_settings().market_timezone == zone
    # fsspec itself replaces the ~ of a price file.
    (tmp_path / "prices.csv").write_text("time,price_eur_per_mwh\n2026-11-20T00:00:00+01:00,1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TSOBS_PRICE_SOURCE", "csv:~/prices.csv")
    monkeypatch.setenv("TSOBS_MARKET_TIMEZONE", "Europe/Madrid")
    assert "can be read" in str(open_price_source(load_settings()).probe(date(2026, 11, 20), 1.0))
