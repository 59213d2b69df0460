"""Users: the login behind an address, trusted headers, and rejected requests."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_world import LOOPBACK, Api, api_of, parts_of, settings_of
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.api.middleware import PAGE_CSP
from tsobs_pipelines.api.users import is_loopback, login_from_header, users_required
from tsobs_pipelines.logs.formatter import JSONFormatter
from tsobs_pipelines.logs.redact import Redactor

ANA, TAGGED, STRANGER = "100.64.0.2", "100.64.0.3", "203.0.113.9"
PROXY = "10.0.0.7"
FORGED = {"Tailscale-User-Login": "boss@example.com"}
FORMATTER = JSONFormatter(redactor=Redactor())


def whois(login: str) -> dict[str, object]:
    return {"Node": {"Name": "laptop.example.ts.net."}, "UserProfile": {"LoginName": login}}


@pytest.fixture
def sidecar() -> Iterator[StubSidecar]:
    answers = {f"/whois/{ANA}": whois("ana@example.com"), f"/whois/{TAGGED}": whois("tagged-devices")}
    server = StubSidecar(answers)
    with served(server):
        yield server


class Heard(logging.Handler):
    """Keeps what the access log would write."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(FORMATTER.format(record))


@pytest.fixture
def heard() -> Iterator[Heard]:
    handler, access = Heard(), logging.getLogger("tsobs_pipelines.api")
    level = access.level
    access.addHandler(handler)
    access.setLevel(logging.DEBUG)
    yield handler
    access.removeHandler(handler)
    access.setLevel(level)


@pytest.fixture
def made(tmp_path: Path, sidecar: StubSidecar) -> Iterator[dict[str, Api]]:
    """Three APIs: open, with a proxy, and for users only."""
    settings = {
        "open": settings_of(tmp_path),
        "proxied": settings_of(tmp_path, trusted_proxy=PROXY, require_tailscale_user=True),
        "closed": settings_of(tmp_path, require_tailscale_user=True),
    }
    parts = {name: parts_of(one, sidecar.url) for name, one in settings.items()}
    apis = {name: Api(create_app(one.settings, one)) for name, one in parts.items()}
    yield apis
    for name, api in apis.items():
        api.close()
        parts[name].store.close()


def user_of(api: Api, **request: object) -> object:
    answer = api.get("/about", **request)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.json()["user"]


def test_the_login_of_the_address_is_asked_once(made: dict[str, Api], sidecar: StubSidecar) -> None:
    assert [user_of(made["closed"], address=ANA) for _ in range(5)] == ["ana@example.com"] * 5
    assert user_of(made["closed"], address=f"::ffff:{ANA}") == "ana@example.com"
    assert sidecar.requests.count(f"/whois/{ANA}") == 1


def test_the_user_is_in_every_line_of_the_request(made: dict[str, Api], heard: Heard) -> None:
    made["open"].get("/alerts", address=ANA)
    made["open"].get("/alerts?hours=0", address=ANA)
    assert len(heard.lines) == 2
    assert all('"user":"ana@example.com"' in line for line in heard.lines)
    made["open"].get("/alerts", address=LOOPBACK, headers=FORGED)
    assert '"user"' not in heard.lines[-1]
    assert "boss" not in heard.lines[-1]


def test_an_access_line_has_what_one_looks_for(made: dict[str, Api], heard: Heard) -> None:
    made["open"].get("/alerts?hours=3", headers={"User-Agent": "curl/8\x1b[2J"})
    (line,) = heard.lines
    for part in ('"method":"GET"', '"path":"/alerts"', '"query":"hours=3"', '"status":200', '"client":"127'):
        assert part in line
    assert "\x1b" not in line


@pytest.mark.parametrize("api", ["open", "closed", "proxied"])
@pytest.mark.parametrize("address", [ANA, STRANGER, LOOPBACK, "::1"])
def test_a_forged_header_makes_no_user(made: dict[str, Api], api: str, address: str) -> None:
    answer = made[api].get("/about", address=address, headers=FORGED)
    if api == "open" or address == ANA:
        assert answer.json()["user"] == ("ana@example.com" if address == ANA else None)
    else:
        assert answer.status_code == 403
    assert "boss" not in answer.text


def test_the_named_proxy_is_believed_and_it_alone(made: dict[str, Api]) -> None:
    header = {"Tailscale-User-Login": "eva@example.com"}
    assert user_of(made["proxied"], address=PROXY, headers=header) == "eva@example.com"
    assert user_of(made["proxied"], address=f"::ffff:{PROXY}", headers=header) == "eva@example.com"
    twice = [("Tailscale-User-Login", "eva@example.com"), ("Tailscale-User-Login", "boss@example.com")]
    assert made["proxied"].get("/about", address=PROXY, headers=twice).status_code == 403
    assert made["proxied"].get("/about", address=PROXY).status_code == 403
    assert made["closed"].get("/about", address=PROXY, headers=header).status_code == 403


def test_a_proxy_on_loopback_can_be_named(tmp_path: Path, sidecar: StubSidecar) -> None:
    settings = settings_of(tmp_path, trusted_proxy=LOOPBACK, require_tailscale_user=True)
    with api_of(parts_of(settings, sidecar.url)) as api:
        assert user_of(api, headers={"Tailscale-User-Login": "eva@example.com"}) == "eva@example.com"
        assert api.get("/about").status_code == 403


@pytest.mark.parametrize("address", [TAGGED, STRANGER, LOOPBACK])
@pytest.mark.parametrize(
    "path", ["/about", "/alerts", "/vpn.html", "/metrics", "/docs", "/nothing", "/js/x", "/healthz%0A"]
)
def test_strangers_are_turned_away_everywhere(made: dict[str, Api], address: str, path: str) -> None:
    answer = made["closed"].get(path, address=address)
    assert answer.status_code == 403
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_supervisors_need_no_user_for_the_health(made: dict[str, Api]) -> None:
    assert made["closed"].get("/healthz", address=STRANGER).status_code in {200, 503}


def test_funnel_is_never_answered(made: dict[str, Api]) -> None:
    header = {"Tailscale-Funnel-Request": "?1"}
    for path in ("/healthz", "/about"):
        assert made["open"].get(path, address=ANA, headers=header).status_code == 403


def test_a_sidecar_that_is_down_lets_nobody_in(tmp_path: Path) -> None:
    required = settings_of(tmp_path, require_tailscale_user=True)
    with api_of(parts_of(required, "http://127.0.0.1:9")) as api:
        answer = api.get("/about", address=ANA)
        assert answer.status_code == 503
        assert "can't be found out" in answer.json()["detail"]
    with api_of(parts_of(settings_of(tmp_path), "http://127.0.0.1:9")) as api:
        assert user_of(api, address=ANA) is None


@pytest.mark.parametrize(
    ("host", "said", "required"),
    [
        ("127.0.0.1", None, False),
        ("localhost", None, False),
        ("::1", None, False),
        ("0.0.0.0", None, True),  # noqa: S104
        ("100.64.0.9", None, True),
        ("api.example", None, True),
        ("0.0.0.0", False, False),  # noqa: S104
        ("127.0.0.1", True, True),
    ],
)
def test_users_are_required_as_soon_as_it_leaves_loopback(
    tmp_path: Path, host: str, said: bool | None, required: bool
) -> None:
    settings = settings_of(tmp_path, api_host=host, require_tailscale_user=said)
    assert users_required(settings) is required
    assert is_loopback(host) is (host in {"127.0.0.1", "localhost", "::1"})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:9", 200),
        ("vpn.example.ts.net", 200),
        ("VPN.example.ts.net:443", 200),
        ("evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("user@127.0.0.1", 400),
        ("127.0.0.1/x", 400),
        ("", 400),
        ("100.64.0.1", 400),
    ],
)
def test_only_its_own_names_are_answered(
    tmp_path: Path, sidecar: StubSidecar, host: str, status: int
) -> None:
    settings = settings_of(tmp_path, public_url_override="https://vpn.example.ts.net")
    with api_of(parts_of(settings, sidecar.url)) as api:
        assert api.get("/about", host=host).status_code == status


def test_headers_that_protect_the_reader(made: dict[str, Api]) -> None:
    for path in ("/about", "/vpn.html", "/nothing", "/alerts?hours=0"):
        headers = made["open"].get(path, headers={"Origin": "https://evil.example"}).headers
        assert headers["content-security-policy"] == PAGE_CSP
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
    assert "unsafe" not in PAGE_CSP
    assert made["open"].get("/alerts", method="OPTIONS").status_code == 405
    assert made["open"].get("/alerts", method="POST").status_code == 405


@pytest.mark.parametrize(
    ("values", "login"),
    [
        ([b"ana@example.com"], "ana@example.com"),
        ([b"=?utf-8?q?jos=C3=A9=40example=2Ecom?="], "jos\u00e9@example.com"),
        ([b"\xff"], None),
        ([b"=?nonsense?q?x?="], None),
        ([b"a\nb"], None),
        ([b"x" * 400], None),
        ([b"tagged-devices"], None),
        ([b""], None),
        ([], None),
    ],
)
def test_a_login_in_a_header(values: list[bytes], login: str | None) -> None:
    assert login_from_header(values) == login


@pytest.mark.parametrize(
    ("tun", "believed"), [({}, True), ({"TUN": True}, True), ({"TUN": False}, False), (None, False)]
)
def test_loopback_is_believed_only_where_peers_do_not_come_from_it(
    tmp_path: Path, sidecar: StubSidecar, tun: dict[str, bool] | None, believed: bool
) -> None:
    settings = settings_of(
        tmp_path, trusted_proxy=LOOPBACK, require_tailscale_user=True, sidecar_url=sidecar.url
    )
    if tun is not None:
        sidecar.answers["/status"] = {"BackendState": "Running", **tun}
    with api_of(parts_of(settings, sidecar.url)) as api:
        answer = api.get("/about", headers={"Tailscale-User-Login": "eva@example.com"})
        assert answer.status_code == (200 if believed else 403)


def test_a_proxy_with_a_secret_is_believed_beside_a_daemon_in_userspace_mode(
    tmp_path: Path, sidecar: StubSidecar
) -> None:
    sidecar.answers["/status"] = {"BackendState": "Running", "TUN": False}
    settings = settings_of(
        tmp_path,
        trusted_proxy=LOOPBACK,
        require_tailscale_user=True,
        sidecar_url=sidecar.url,
        proxy_secret="sesame-open",
    )
    login = {"Tailscale-User-Login": "eva@example.com"}
    with api_of(parts_of(settings, sidecar.url)) as api:
        assert user_of(api, headers={**login, "Tsobs-Proxy-Secret": "sesame-open"}) == "eva@example.com"
        for wrong in ("", "sesame", "sesame-open "[:-1] + "x"):
            answer = api.get("/about", headers={**login, "Tsobs-Proxy-Secret": wrong})
            assert answer.status_code == 403
        twice = [*login.items(), *[("Tsobs-Proxy-Secret", "sesame-open")] * 2]
        assert api.get("/about", headers=twice).status_code == 403
        assert api.get("/about", headers=login).status_code == 403
