"""Settings: what is read, what is rejected, and the error messages."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner
from sqlalchemy import make_url

from tsobs_pipelines.cli.main import main
from tsobs_pipelines.cli.settings import markdown_table
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.secret_url import SecretTarget, SecretUrl, below, masked
from tsobs_pipelines.serving.requests import HostNames, refuse_foreign
from tsobs_pipelines.setting_values import shown_value
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


def refusal() -> str:
    """Why the settings are refused."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


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


@pytest.mark.parametrize(
    ("value", "entry"),
    [
        ("sesame", 1),
        ("json://u:sesame@host/x sesame", 2),
        ("json://u:sesame@host/x,json://u:sesame2@host/x", 2),
        ("json://u:sesame@host\x01/x", 1),
    ],
)
def test_a_bad_address_of_alerts_is_named_by_its_position(
    monkeypatch: pytest.MonkeyPatch, value: str, entry: int
) -> None:
    monkeypatch.setenv("TSOBS_NOTIFY_URLS", value)
    text = refusal()
    assert text.startswith(f"TSOBS_NOTIFY_URLS: entry {entry}: ")
    assert "sesame" not in text
    assert text.isprintable()


def test_addresses_of_alerts_have_names_without_their_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = (
        "mailto://u:ses/ame@mail.example.com:25?to=a@x.org,b@x.org",
        "slack://SesameAAA/SesameBBB/SesameCCC/#alerts",
        "sendgrid://SG.SesameAAA.SesameBBB:a@x.org",
        "ntfy://sesame-topic",
        "json://u:sesame@[::1]:80/sesame-path?token=ses",
    )
    monkeypatch.setenv("TSOBS_NOTIFY_URLS", ", ".join(addresses))
    settings = load_settings()
    assert [target.get_secret_value() for target in settings.notify_urls] == list(addresses)
    names = [target.name for target in settings.notify_urls]
    kinds = [name.rpartition("/")[0] for name in names]
    assert kinds == ["mailto/mail.example.com", "slack", "sendgrid/x.org", "ntfy", "json/[::1]"]
    printed = CliRunner().invoke(main, ["settings"]).output
    for text in (repr(settings), printed, " ".join(names)):
        assert "sesame" not in text.lower()
    known = " ".join(settings.secrets())
    for secret in (
        "ses/ame",
        "SesameAAA",
        "SesameCCC",
        "SG.SesameAAA.SesameBBB",
        "sesame-topic",
        "sesame-path",
        "ses",
    ):
        assert secret in known
    monkeypatch.setenv("TSOBS_NOTIFY_URLS", "json://u:changed@[::1]:80/sesame-path?token=other")
    assert load_settings().notify_urls[0].name == names[-1]


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("bulksms://u:pw@447700900123", None),
        ("bulksms://u:pw@1.2.3.4.5", None),
        ("json://u:pw@999.1.1.1/x", None),
        ("json://u:pw@192.0.2.7/x", "192.0.2.7"),
        ("json://u:pw@[2001:db8::1]:80/x", "[2001:db8::1]"),
        ("json://u:pw@[::beef]x/y", None),
    ],
)
def test_a_number_in_the_place_of_a_host_is_not_shown(address: str, host: str | None) -> None:
    _, *shown, digest = SecretTarget(address).name.split("/")
    assert shown == ([host] if host else [])
    assert len(digest) == 8
    number = address.partition("@")[2].partition("/")[0]
    assert (number in SecretTarget(address).credentials()) is (host is None)


CREDENTIALS = (
    "http://user:canary@host:abc",
    "http://user:canary@host\r\n:1",
    "http://canary@ho st",
    "user:canary@host:8765",
    "http://user:can/canary#x@host:abc",
    "http://:canary",
    "ftp://user:canary@host/x?token=canary",
    "http://user:x@host:abc&token=canary",
    "http://user:x@host=canary",
    "http://user:%63anary@host;canary",
)


@pytest.mark.parametrize("value", CREDENTIALS)
@pytest.mark.parametrize(
    "name",
    [
        "TSOBS_SIDECAR_URL",
        "INFLUXDB_V2_URL",
        "TELEGRAM_API_URL",
        "TSOBS_HEARTBEAT_URL",
        "TSOBS_DATABASE_URL",
        "TSOBS_DAGSTER_DATABASE_URL",
        "TSOBS_PUBLIC_URL",
        "TSOBS_DAGSTER_URL",
    ],
)
def test_an_address_that_can_not_be_used_shows_no_credentials(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert "canary" not in text
    assert "\n" not in text


MISTYPED = (
    "http:/u:CANARY/h",
    "http:/h/x#token=CANARY",
    "http:/h&token=CANARY",
    "http:\\\\u:CANARY",
    "u:CANARY",
    "//u:CANARY@h",
    "postgresql://u:p@h:abc/x?password=CAN@ARY",
    "http://h:abc/?token=ab@CANARY",
    "http//h/x?token=CANARY",
    "http:://u:CANARY@h",
    "http:///u:CANARY@h",
    "ht tp://u:CANARY@h",
    "http://u:CANARY",
    "http://u:p#CANARY@h",
)


@pytest.mark.parametrize("value", MISTYPED)
@pytest.mark.parametrize(
    "name",
    [
        *("TSOBS_SIDECAR_URL", "INFLUXDB_V2_URL", "TELEGRAM_API_URL", "TSOBS_HEARTBEAT_URL"),
        *("TSOBS_DATABASE_URL", "TSOBS_DAGSTER_DATABASE_URL", "TSOBS_PUBLIC_URL", "TSOBS_PRICE_SOURCE"),
    ],
)
def test_of_an_address_that_is_mistyped_at_most_scheme_and_host_are_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert "CAN" not in text
    assert "ARY" not in text


@pytest.mark.parametrize("value", ["http:/u:CANARY/h", "http:\\\\u:CANARY", "u:CANARY", "s3:/k:CANARY@b"])
def test_a_place_that_was_meant_to_be_an_address_is_no_path(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name, before in (("TSOBS_MODELS_DIR", ""), ("TSOBS_PRICE_SOURCE", "csv:")):
        with monkeypatch.context() as patched:
            patched.setenv(name, f"{before}{value}")
            text = refusal()
            assert text.startswith(name)
            assert "expected a path or an address with ://" in text
            assert "CANARY" not in text
            patched.setenv(name, f"{before}./2026:11/{value}")  # a path with a colon in it
            load_settings()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:1/?token=ab@CANARY", "http://[redacted]"),
        ("http://u:p/CANARY@h/x", "http://[redacted]"),
        ("csv:https://h/p.csv?sig=ab@CANARY", "csv:https://[redacted]"),
        ("csv:https://h/p.csv?sig=CANARY", "csv:https://h/p.csv?[redacted]"),
        ("postgresql://u:p@h:abc/x?password=CAN@ARY", "postgresql://[redacted]"),
        ("postgresql://u:CANARY@db:5432/x?sslmode=require", "postgresql://[redacted]@db:5432/x?[redacted]"),
        ("s3://key:CANARY", "s3://[redacted]"),
        ("zip://a.zip::s3://k:CANARY@b/x", "zip://[redacted]"),
        ("simplecache::s3://bucket/x", "simplecache::s3://bucket/x"),
        ("http://[fe80::1%eth0]:8765/x", "http://[fe80::1%eth0]:8765/x"),
        ("http:/u:CANARY/x://y", "[redacted]"),
        ("sqlite:////var/lib/tsobs.db", "sqlite:////var/lib/tsobs.db"),
        ("/var/lib/tsobs", "/var/lib/tsobs"),
    ],
)
def test_an_address_is_masked_where_its_host_can_not_be_told(address: str, said: str) -> None:
    assert masked(address) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("http://u:CANARY@h:80/CANARY?x=CANARY", "'http://[redacted]@h:80/…'"),
        ("csv:https://u:CANARY@h/CANARY", "'csv:https://[redacted]@h/…'"),
        ("http:/CANARY://x", "'[redacted]'"),
        ("u:CANARY@h", "'[redacted]'"),
        ("/srv/a@b/x", "'/srv/a@b/x'"),
        (["http://u:CANARY@h"], "[redacted]"),
    ],
)
def test_in_the_place_of_another_value_an_address_is_masked_as_well(value: object, said: str) -> None:
    assert shown_value(value) == said


def test_what_an_at_sign_hides_is_known_to_the_redaction_of_logs() -> None:
    for address in (
        "http://h/?token=ab@CANARY",
        "postgresql://u:p@h/x?password=ab@CANARY",
        "https://u:ab@CANARY@h",
    ):
        assert "ab@CANARY" in SecretUrl(address).credentials()


def test_a_link_for_people_holds_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_PUBLIC_URL", "https://user:canary@watch.example")
    with pytest.raises(SettingsError, match=r"TSOBS_PUBLIC_URL='https://.redacted.@watch.example': expected"):
        load_settings()


def test_addresses_are_shown_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tailnets = tmp_path / "tailnets.toml"
    tailnets.write_text('[office]\nsidecar_url = "http://u:canary7@office:1"\ncritical_nodes = ["git"]\n')
    addresses = {
        "TSOBS_SIDECAR_URL": "http://user:canary1@sidecar:8765",
        "INFLUXDB_V2_URL": "https://longtokencanary2@influx/?token=canary-3-3",
        "TELEGRAM_API_URL": "http://u:canary4%21@bots:1",
        "TSOBS_HEARTBEAT_URL": "https://hc.example/ping/canary-5-5",
        "TSOBS_DATABASE_URL": "postgresql://u:canary/6@db/tsobs?sslmode=require",
        "TSOBS_MODELS_DIR": "s3://key:canary8@bucket/models",
        "TSOBS_PRICE_SOURCE": "csv:https://u:canary9@files/prices.csv?sig=canary-10",
        "TSOBS_TAILNETS_FILE": str(tailnets),
    }
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    printed = CliRunner().invoke(main, ["settings"]).output
    shown = [repr(settings), str(settings), printed, str(settings.tailnets)]
    assert not [text for text in shown if "canary" in text]
    assert "http://[redacted]@sidecar:8765" in printed
    assert "https://hc.example/[redacted]" in printed
    known = " ".join(settings.secrets())
    canaries = ("canary1", "longtokencanary2", "canary-3-3", "canary4!", "canary4%21", "ping/canary-5-5")
    for canary in (*canaries, "canary/6", "canary7", "canary8", "canary9", "canary-10"):
        assert canary in known


API_BASES = ("TSOBS_SIDECAR_URL", "INFLUXDB_V2_URL", "TELEGRAM_API_URL")
LINKS = ("TSOBS_PUBLIC_URL", "TSOBS_DAGSTER_URL")
NO_HOSTS = (
    *("a..b", "...", "a" * 64, f"x.{'a' * 64}.example", ".".join(["a" * 60] * 5)),
    *("\u210dost", "xn--a", ".a", "a..", "a\u3002\u3002b", "ü" * 60),
    *("[::1]x", "[::1].example", "x[::1]", "[::g]", "[v1.x]", "999.1.1.1", "[::1", "a]"),
    *("xn--a.example", "a:b:80", "a%41", "a,b", "a*b", ""),
)


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("name", [*API_BASES, *LINKS, "TSOBS_HEARTBEAT_URL"])
def test_a_host_that_no_client_could_ask_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, host: str
) -> None:
    for address in (f"http://{host}", f"http://{host}:80/x", f"http://u:p@{host}"):
        monkeypatch.setenv(name, address)
        assert "expected an http" in refusal()


HOSTS = (
    *(
        "localhost",
        "my_service",
        "a.b.example.",
        "A.example",
        "a" * 63,
        "127.0.0.1",
        "127.1",
        "[::1]",
        "[fe80::1%eth0]",
    ),
    *(
        "münchen.example",
        "MÜNCHEN.example",
        "xn--mnchen-3ya.example",
        "münchen.xn--mnchen-3ya",
        "日本.example",
        "-a",
    ),
)


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_accepted_can_be_asked_by_the_clients(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    for rest in ("", ":", ":8765", "/", "/x/", "?token=a@b/", "/x?token=sesame/&"):
        monkeypatch.setenv("TSOBS_SIDECAR_URL", f"http://{host}{rest}")
        address = load_settings().sidecar_url
        assert address is not None
        asked = httpx.URL(below(address, "/status")).copy_merge_params({"after": "1"})
        asked.host.encode("idna")
        assert asked.path == ("/x/status" if rest.startswith("/x") else "/status")
        assert ("token" in asked.params) is ("token" in rest)
        assert asked.params["after"] == "1"
        assert asked.params.get("token", "/").endswith(("/", "sesame/"))


@pytest.mark.parametrize("value", ["http://h/#frag", "http://h#", "http://h/x#", "http://h/?a=1#x"])
@pytest.mark.parametrize("name", [*API_BASES, *LINKS])
def test_an_address_that_paths_are_appended_to_has_no_fragment(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert "fragment" in refusal()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("https://MÜNCHEN.example/tsobs/", "https://xn--mnchen-3ya.example/tsobs"),
        ("HTTPS://Host.Example:443", "https://host.example"),
        ("http://host:80/", "http://host"),
        ("http://host:443", "http://host:443"),
        ("https://host:", "https://host"),
        ("https://host:/x", "https://host/x"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("http://[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ],
)
def test_a_link_is_written_as_browsers_write_its_origin(
    monkeypatch: pytest.MonkeyPatch, value: str, written: str
) -> None:
    for name in LINKS:
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.public_url, settings.dagster_url) == (written, written)
    origin = "/".join(written.split("/")[:3])
    host = origin.partition("://")[2]
    names = HostNames(urlsplit(settings.dagster_url).hostname)
    assert names.allow(host, None)
    scope = {"headers": [(b"origin", origin.encode())]}
    public = urlsplit(settings.dagster_url)
    refuse_foreign(scope, "behind.a.proxy", {f"{public.scheme}://{public.netloc}"})


@pytest.mark.parametrize("value", ["http://127.1", "http://2130706433", "http://0x7f.1", "http://host.1"])
def test_a_link_to_a_number_that_browsers_would_write_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TSOBS_PUBLIC_URL", value)
    assert refusal().startswith("TSOBS_PUBLIC_URL=")


@pytest.mark.parametrize(
    ("value", "listens", "link"),
    [
        ("::0", "::", "http://127.0.0.1:8000"),
        ("0:0:0:0:0:0:0:0", "::", "http://127.0.0.1:8000"),
        ("::ffff:0.0.0.0", "0.0.0.0", "http://127.0.0.1:8000"),  # noqa: S104 - compared only
        ("::ffff:127.0.0.1", "127.0.0.1", "http://127.0.0.1:8000"),
        ("0:0:0:0:0:0:0:1", "::1", "http://[::1]:8000"),
        ("FD7A:115C::1", "fd7a:115c::1", "http://[fd7a:115c::1]:8000"),
        ("localhost", "localhost", "http://localhost:8000"),
    ],
)
def test_an_address_to_listen_on_has_one_form(
    monkeypatch: pytest.MonkeyPatch, value: str, listens: str, link: str
) -> None:
    monkeypatch.setenv("TSOBS_API_HOST", value)
    settings = load_settings()
    assert (settings.api_host, settings.public_url) == (listens, link)


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
DATABASES = ("TSOBS_DATABASE_URL", "TSOBS_DAGSTER_DATABASE_URL")
NO_POSTGRES = (
    *("postgresql://u:p@h:0/x", "postgresql://u:p@h:99999/x", "postgresql://u:p@h:-1/x"),
    *(
        "postgresql://h/x?port=99999",
        "postgresql://h/x?host=h1:1&host=h2:99999",
        "postgresql://h/x?host=a..b",
    ),
    *(
        "postgresql://u:p@h\r\n/x",
        "postgresql://u:p@h/x\r\n",
        "postgresql://h/x%00y",
        "postgresql://u:%00@h/x",
    ),
    *("postgresql://u:p@h/x?foo=bar", "postgresql://h/x?sslmode=sometimes", "postgresql://h/x%0Ay"),
    *("postgresql://a..b/x", f"postgresql://{'a' * 64}/x", "postgresql://h/x ", "postgresql://h h/x"),
    *(f"postgresql://h/{'x' * 5000}", "postgres:/h/x", "postgresql://münchen/x"),
    *("postgresql://h/x?connect_timeout=soon", "postgresql://h/x?keepalives=yes"),
)
NO_SQLITE = (
    *(
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////tmp",
        "sqlite://h/x",
        "sqlite:///",
        "sqlite:///x?foo=bar",
    ),
    *(
        "sqlite:///.",
        "sqlite:///x%00y",
        f"sqlite:///{'d/' * 2500}x",
        f"sqlite:///{'d' * 300}",
        "sqlite:///~/x",
    ),
    *(
        "sqlite:////dev/null",
        "sqlite:////dev/null/x",
        "sqlite:///file:x",
        "sqlite+aiosqlite:///x",
        "sqlite:///x\n",
    ),
)


@pytest.mark.parametrize("value", [*NO_POSTGRES, *NO_SQLITE])
@pytest.mark.parametrize("name", DATABASES)
def test_an_address_at_which_no_database_can_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    text = refusal()
    assert text.startswith(name)
    assert "expected sqlite:///<path> or postgresql://" in text
    assert text.isprintable()
    assert len(text) < 500


@pytest.mark.parametrize(
    "value",
    [
        *(
            "postgresql://u:p%40@db.example:5432/x?sslmode=require",
            "postgresql://u:p w@my_db/x",
            "postgresql:///x",
        ),
        *(
            "postgresql:///x?host=/run/postgresql",
            "postgresql://u@[::1]:5432/x?connect_timeout=5&application_name=a",
        ),
        *(
            "postgresql://u@/x?host=h1:5432&host=h2:5433",
            "postgresql://h",
            "sqlite:///x.db",
            "sqlite:///a/b/x.db",
        ),
    ],
)
def test_an_address_at_which_a_database_may_be_is_accepted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TSOBS_DATABASE_URL", value)
    assert load_settings().database_url.get_secret_value().endswith(value.partition("://")[2])


@pytest.mark.parametrize("name", ["var", "a%41", "a?b", "a%", "ü b", "a#b"])
def test_the_database_is_in_the_state_directory_whatever_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / name))
    settings = load_settings()
    assert make_url(settings.database_url.get_secret_value()).database == str(tmp_path / name / "tsobs.db")
    assert settings.database_file == tmp_path / name / "tsobs.db"


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


def test_files_that_are_no_text_end_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes("TSOBS_STATE_DIR=m\xfcll".encode("latin-1"))
    with pytest.raises(SettingsError, match=r"\.env: expected UTF-8"):
        load_settings()
    with pytest.raises(SettingsError, match=r"\.env: expected UTF-8"):
        unknown_names()
    dotenv.unlink()
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    token = secrets / "TELEGRAM_BOT_TOKEN"
    token.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN is not UTF-8"):
        load_settings()
    token.write_bytes(b"x" * 100_000)
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN has more than"):
        load_settings()
    token.unlink()
    os.mkfifo(token)
    with pytest.raises(SettingsError, match="TELEGRAM_BOT_TOKEN is not a file"):
        load_settings()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# ours\n\nTSOBS_API_PORT 9999\n", "line 3 (TSOBS_API_PORT): expected NAME=value"),
        ("A=1\nexport TELEGRAM_BOT_TOKEN 123:canary\n", "line 2 (TELEGRAM_BOT_TOKEN): expected"),
        ("A=1\nTSOBS_STATE_DIR='canary\nB=2\n", "line 2 (TSOBS_STATE_DIR): expected NAME=value"),
        ("TSOBS_LOG_LEVEL\n", "line 1 (TSOBS_LOG_LEVEL): expected NAME=value"),
        ("A=1\n canary canary\n", "line 2: expected NAME=value"),
        ("\n" * 2**20 + "A=1\n", "can't be read (more than 1048576 bytes)"),
    ],
)
def test_a_line_of_the_file_that_can_not_be_understood_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / ".env").write_text(content)
    for directory in (None, str(tmp_path)):
        if directory:
            monkeypatch.setenv("TSOBS_SECRETS_DIR", directory)
        text = refusal()
        assert text.startswith(f".env: {said}")
        assert "canary" not in text


def test_what_is_no_file_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.mkdir()
    assert refusal() == ".env: can't be read (not a regular file)"
    dotenv.rmdir()
    os.mkfifo(dotenv)
    assert refusal() == ".env: can't be read (not a regular file)"
    dotenv.unlink()
    dotenv.write_bytes("TSOBS_STATE_DIR=m\xfcll".encode("latin-1"))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    assert refusal() == ".env: expected UTF-8, and byte 17 is not"
    dotenv.unlink()
    dotenv.symlink_to(os.devnull)  # how a container takes it away
    assert load_settings().api_port == 8000


def test_other_programs_may_have_their_lines_in_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(
        b"\xef\xbb\xbfTSOBS_API_PORT=9000 # here\r\nCOMPOSE_PROJECT_NAME\r\nPLACE=/srv\r\n"
        b'export TSOBS_STATE_DIR="${PLACE}/x"\r\ntsobs_dagster_port=9001\r\n'
    )
    settings = load_settings()
    assert (settings.api_port, settings.dagster_port) == (9000, 9001)
    assert settings.state_dir == Path("/srv/x")


def test_a_misspelt_file_of_a_secret_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    ours = {
        "TSOBS_ESIOS_TOKN": "TSOBS_ESIOS_TOKEN",
        "TELEGRAM_BOT_TOKEN.txt": "TELEGRAM_BOT_TOKEN",
        "INFLUXDB_V2_TOKN": "INFLUXDB_V2_TOKEN",
    }
    for name in (
        *ours,
        "sidecar_token",
        "postgres_password",
        "influxdb_password",
        "..data",
        "telegram_bot_token",
    ):
        (secrets / name).write_text("x")
    monkeypatch.setenv("TSOBS_SECRETS_DIR", str(secrets))
    found = unknown_names()
    assert {name: found.get(name) for name in ours} == ours
    assert not {name for name in found if not name.startswith("TSOBS_")} - ours.keys()


def test_nested_toml_ends_the_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "tailnets.toml"
    path.write_text("x = " + "[" * 100_000)
    monkeypatch.setenv("TSOBS_TAILNETS_FILE", str(path))
    with pytest.raises(SettingsError, match=r"TSOBS_TAILNETS_FILE=.*expected"):
        load_settings()
