"""Addresses in settings: what the clients can use, and what is shown of them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from tests.support.settings import refusal
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.secret_url import SecretTarget, SecretUrl, below, masked
from tsobs_pipelines.serving.requests import HostNames, refuse_foreign
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import (
    SettingsError,
    load_settings,
)


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
