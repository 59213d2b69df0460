"""Addresses with a path and a query: further paths go to the path, and the query comes with each request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.api_world import NOW
from tsobs_pipelines.alerting.channel import TryLater
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.cli.settings import shown
from tsobs_pipelines.doctor.services import check_influx, check_sidecar, check_telegram
from tsobs_pipelines.settings import Settings, known_names, load_settings
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.errors import SidecarError, SidecarRefusedError
from tsobs_pipelines.timeseries import influx_client
from tsobs_pipelines.timeseries.influx_client import InfluxAddress, InfluxConnection
from tsobs_pipelines.timeseries.store import StoreError


@pytest.fixture
def asked() -> Iterator[tuple[int, list[str]]]:
    """A port, and the request targets that arrive there; each answer is a 404."""
    targets: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            targets.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_error(404)

        do_GET = do_POST = _answer  # noqa: N815 - named by http.server

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], targets
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def settings(asked: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(influx_client, "ATTEMPTS", 1)
    for name in ("TSOBS_SIDECAR_URL", "INFLUXDB_V2_URL", "TELEGRAM_API_URL"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{asked[0]}/x/?token=sesame/")
    monkeypatch.setenv("INFLUXDB_V2_TOKEN", "t")
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "1:a")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "7")
    return load_settings()


def parted(targets: list[str]) -> list[tuple[str, dict[str, list[str]]]]:
    return [(urlsplit(target).path, parse_qs(urlsplit(target).query)) for target in targets]


def test_every_client_keeps_the_query_at_the_end(settings: Settings, asked: tuple[int, list[str]]) -> None:
    _, targets = asked
    assert settings.sidecar_url is not None
    assert settings.influx_url is not None
    with TailscaleHealthService(settings.sidecar_url) as sidecar, pytest.raises(SidecarError) as refused:
        sidecar.get_tailscale_status()
    assert "/x/status?[redacted]: 404" in str(refused.value)
    bot = Telegram.from_settings(settings)
    assert bot is not None
    assert isinstance(bot.send("hello"), TryLater)
    connection = InfluxConnection(InfluxAddress(settings.influx_url.get_secret_value(), "o", "b", "t"))
    with pytest.raises(StoreError):
        connection.write(["m f=1 1"])
    with pytest.raises(StoreError):
        connection.version()
    connection.close()
    found = parted(targets)
    assert [path for path, _ in found] == ["/x/status", "/x/bot1:a/sendMessage", "/x/api/v2/write", "/x/ping"]
    assert all(query["token"] == ["sesame/"] for _, query in found)
    assert found[2][1]["bucket"] == ["b"]
    assert "sesame" not in shown(settings.sidecar_url)


def test_so_does_the_doctor(settings: Settings, asked: tuple[int, list[str]]) -> None:
    _, targets = asked
    check_sidecar(settings.first_tailnet, NOW)
    check_influx(settings, NOW)
    check_telegram(settings, NOW)
    found = parted(targets)
    assert {path for path, _ in found} >= {
        *("/x/healthz", "/x/health", "/x/api/v2/write", "/x/api/v2/query"),
        *("/x/bot1:a/getMe", "/x/bot1:a/getChat"),
    }
    assert all(query["token"] == ["sesame/"] for _, query in found)
    assert {"bucket", "org"} & found[-4][1].keys()
    assert found[-1][1]["chat_id"] == ["7"]


@pytest.mark.parametrize("address", ["http://xn--a", "http://" + "a" * 64, "http://[::1]x", "http://a..b"])
def test_an_address_that_the_client_can_not_use_is_its_own_error(address: str) -> None:
    with TailscaleHealthService(address) as sidecar, pytest.raises(SidecarError) as refused:
        sidecar.get_tailscale_status()
    assert isinstance(refused.value, SidecarRefusedError) or "http" in str(refused.value)
