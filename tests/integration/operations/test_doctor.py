"""``tsobs doctor`` finds what is wrong, says how to fix it, and reveals no secret."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.support.ports import free_port
from tests.support.sidecars import StubSidecar, served
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channel import TELEGRAM, Refused
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.cli.main import main
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.doctor.findings import clock_difference, clock_finding
from tsobs_pipelines.doctor.machine import check_ports
from tsobs_pipelines.processes.up import check_ports as refuse_ports
from tsobs_pipelines.serving.listening import listening_socket
from tsobs_pipelines.settings import Settings, SettingsError, known_names, load_settings


@contextmanager
def serving(server: StubSidecar) -> Iterator[StubSidecar]:
    with served(server):
        yield server


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in known_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "var"
    made.mkdir(mode=0o700)
    return made


def findings() -> tuple[int, dict[str, Mapping[str, str]], str]:
    done = CliRunner().invoke(main, ["doctor", "--json"])
    said = json.loads(done.output)
    assert said["ok"] is (done.exit_code == 0)
    return done.exit_code, {found["name"]: found for found in said["findings"]}, done.output


def test_nothing_fails_on_a_new_machine() -> None:
    status, found, _ = findings()
    assert status == 0
    assert {one["level"] for one in found.values()} == {"ok", "warning"}
    assert CliRunner().invoke(main, ["doctor"]).output.endswith("Nothing fails.\n")


def test_a_damaged_file_is_named_with_the_way_back(state: Path) -> None:
    place = state / "dagster" / "storage" / "history"
    (place / "runs").mkdir(parents=True)
    with closing(sqlite3.connect(place / "runs.db")) as connection:
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 200)
        connection.commit()
    content = bytearray((place / "runs.db").read_bytes())
    content[4096 * 3 : 4096 * 5] = b"\xff" * 8192
    (place / "runs.db").write_bytes(content)
    (state / "tsobs.db").write_bytes(b"this is no database, whatever its name says" * 100)
    status, found, _ = findings()
    assert status == 1
    damaged = found["Dagster storage, history/runs.db"]
    assert damaged["level"] == "failed"
    assert "backup" in damaged["remedy"]
    assert found["database"]["level"] == "failed"
    assert "not a database" in found["database"]["detail"]


def test_a_state_directory_for_all_is_refused(state: Path) -> None:
    state.chmod(0o755)
    status, found, _ = findings()
    assert status == 1
    assert found["state directory"]["remedy"].startswith("chmod 700")


def test_a_sidecar_that_refuses_or_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame")
    monkeypatch.setenv("TSOBS_SIDECAR_TOKEN_FILE", str(tmp_path / "token"))
    with serving(StubSidecar({"/healthz": {"error": "no"}}, {"/healthz": 401})) as sidecar:
        monkeypatch.setenv("TSOBS_SIDECAR_URL", sidecar.url)
        status, found, _ = findings()
        assert status == 1
        assert "TSOBS_SIDECAR_TOKEN_FILE" in found["sidecar"]["remedy"]
    _, found, _ = findings()
    assert "running" in found["sidecar"]["remedy"]


def test_telegram_is_asked_and_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:sesame")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "-5")
    me = {"ok": True, "result": {"username": "tsobs_bot"}}
    with serving(StubSidecar({"/bot123:sesame/getMe": me, "/bot123:sesame/getChat": {"ok": True}})) as server:
        monkeypatch.setenv("TELEGRAM_API_URL", server.url)
        status, found, output = findings()
        assert (status, found["Telegram"]["level"]) == (0, "ok")
        assert {path.rpartition("/")[2].partition("?")[0] for path in server.requests} == {"getMe", "getChat"}
        server.statuses["/bot123:sesame/getChat?chat_id=-5"] = 400
        server.answers["/bot123:sesame/getChat?chat_id=-5"] = {"ok": False}
        assert "TELEGRAM_CHAT_ID" in findings()[1]["Telegram"]["remedy"]
    status, found, output = findings()
    assert (status, found["Telegram"]["level"]) == (1, "failed")
    assert "sesame" not in output


def test_a_page_of_a_proxy_is_not_the_bot_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:sesame")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "-5")
    with serving(StubSidecar({"/bot123:sesame/getMe": {"login": "please"}})) as server:
        monkeypatch.setenv("TELEGRAM_API_URL", server.url)
        assert "not the Bot API's" in findings()[1]["Telegram"]["detail"]


def test_links_that_nobody_can_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "links in alerts" not in findings()[1]
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:sesame")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "-5")
    monkeypatch.setenv("TELEGRAM_API_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TSOBS_DAGSTER_URL", "https://tsobs.example.com:3000")
    monkeypatch.setenv("TSOBS_PUBLIC_URL", "http://tsobs:8000")
    found = findings()[1]["links in alerts"]
    assert (found["level"], "http://tsobs:8000" in found["detail"]) == ("warning", True)


def test_a_refused_message_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "outbox" not in findings()[1]
    engine = engine_for(load_settings().database_url)
    now = datetime(2026, 11, 25, tzinfo=UTC)
    outbox.enqueue_test(engine, "x", now)
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "123:sesame")
    monkeypatch.setenv("TELEGRAM_CHAT_ID", "-5")
    outbox.hand_over(engine, [TELEGRAM], now)
    claimed = outbox.claim(engine, Telegram("http://127.0.0.1:1", "t", "c"), now)
    assert claimed is not None
    outbox.settle(engine, claimed, Refused("400 chat not found"), now, "c")
    status, found, _ = findings()
    assert (status, found["outbox"]["level"]) == (1, "failed")
    assert "chat not found" in found["outbox"]["detail"]


def test_addresses_of_alerts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_NOTIFY_URLS", "json://u:sesame@127.0.0.1:1/x nonsense://u:sesame@host/y")
    good, bad = (f"channel {target.name}" for target in load_settings().notify_urls)
    status, found, printed = findings()
    assert (status, found[good]["level"], found[bad]["level"]) == (1, "ok", "failed")
    assert "entry 2 of TSOBS_NOTIFY_URLS" in found[bad]["remedy"]
    assert found["Telegram"]["level"] == "ok"
    assert "sesame" not in str(printed)


def test_a_port_that_somebody_else_has(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(StubSidecar({})) as stranger:
        monkeypatch.setenv("TSOBS_API_PORT", stranger.url.rpartition(":")[2])
        status, found, _ = findings()
        assert status == 1
        assert "TSOBS_API_PORT" in found["API"]["remedy"]


@pytest.mark.parametrize("host", ["::1", "::0", "127.0.0.1"])
def test_a_healthy_api_is_recognised_at_any_address(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    async def healthy(_request: Request) -> JSONResponse:
        return JSONResponse({"parts": {}, "version": "1"})

    app = Starlette(routes=[Route("/healthz", healthy)])
    with listening_socket(load_settings_of(monkeypatch, host).api_host, 0) as listener:
        monkeypatch.setenv("TSOBS_API_PORT", str(listener.getsockname()[1]))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            found = {one.name: one for one in check_ports(load_settings(), datetime.now(UTC))}
        finally:
            server.should_exit = True
            thread.join()
    assert (found["API"].level, found["API"].version) == ("ok", "1"), found["API"]


def load_settings_of(monkeypatch: pytest.MonkeyPatch, host: str) -> Settings:
    """The settings with an API on this host."""
    monkeypatch.setenv("TSOBS_API_HOST", host)
    return load_settings()


def test_an_address_of_another_machine_is_the_host_s_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_DAGSTER_PORT", str(free_port()))
    settings = load_settings_of(monkeypatch, "192.0.2.1")
    api = next(one for one in check_ports(settings, datetime.now(UTC)) if one.name == "API")
    assert (api.level, api.remedy) == ("failed", "set TSOBS_API_HOST to an address of this machine")
    with pytest.raises(SettingsError, match=r"^TSOBS_API_HOST=192.0.2.1: can't listen on 192.0.2.1 port"):
        refuse_ports(settings)


def test_clocks() -> None:
    sent = datetime(2026, 11, 25, 12, 0, 0, 400_000, UTC)
    received = sent + timedelta(milliseconds=300)

    def difference(ahead_s: float) -> float | None:
        theirs = sent.replace(microsecond=0) - timedelta(seconds=ahead_s)
        return clock_difference(format_datetime(theirs, usegmt=True), sent, received)

    assert difference(0) == 0.0
    assert difference(3600) == pytest.approx(3600, abs=1.5)
    assert difference(-3600) == pytest.approx(-3600, abs=1.5)
    assert clock_difference(None, sent, received) is None
    assert clock_difference("yesterday", sent, received) is None
    assert [found.level for found in clock_finding("x", 3600.0)] == ["failed"]
    assert [found.level for found in clock_finding("x", -10.0)] == ["warning"]
    assert clock_finding("x", 0.0) == []


def node(label: str, host_name: str | None = None, **others: object) -> dict[str, object]:
    host = label if host_name is None else host_name
    return {"HostName": host, "DNSName": f"{label}.tail.test.", "Online": True, **others}


def look_at_nodes(
    monkeypatch: pytest.MonkeyPatch, critical: str, peers: Mapping[str, object], sampled: Mapping[str, object]
) -> dict[str, Mapping[str, str]]:
    """What the doctor finds of critical nodes, over a status and a newest round that sampled these."""
    now = datetime.now(UTC)
    pongs = {name: [{"LatencySeconds": 0.01, "Endpoint": "10.0.0.1:41641"}] * 6 for name in sampled}
    line = {"v": 1, "at": now.strftime("%Y-%m-%dT%H:%M:%SZ"), "state": "Running", "pings": pongs}
    day = {"rounds": 1, "bytes": 10}
    answers = {
        "/healthz": {"ok": True},
        "/status": {"BackendState": "Running", "Self": node("observer"), "Peer": peers},
        "/samples": {"days": {str(now.date()): day}},
        f"/samples/{now.date()}": json.dumps({**line, "peers": sampled}) + "\n",
    }
    with serving(StubSidecar(answers)) as sidecar:
        monkeypatch.setenv("TSOBS_SIDECAR_URL", sidecar.url)
        monkeypatch.setenv("TSOBS_CRITICAL_NODES", critical)
        status, found, _ = findings()
    assert status == int(any(one["level"] == "failed" for one in found.values()))
    return {name: one for name, one in found.items() if name.startswith("node ")}


def test_a_node_that_is_not_in_the_tailnet_fails_and_the_nearest_names_are_suggested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peers = {"k1": node("git"), "k2": node("chocolate-factory")}
    found = look_at_nodes(monkeypatch, "gti,chocolate-factory", peers, {"chocolate-factory": peers["k2"]})
    assert (found["node gti"]["level"], found["node gti"]["detail"]) == (
        "failed",
        "gti is not in the tailnet",
    )
    assert found["node gti"]["remedy"].startswith("did you mean git?")
    assert found["node chocolate-factory"]["level"] == "ok"


def test_a_name_of_several_nodes_fails_with_their_dns_names(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = {"k1": node("vm-1", "vm"), "k2": node("vm-2", "vm")}
    found = look_at_nodes(monkeypatch, "vm", peers, {})
    assert found["node vm"]["level"] == "failed"
    assert "vm-1.tail.test" in found["node vm"]["detail"]
    assert "vm-2.tail.test" in found["node vm"]["detail"]


def test_a_node_that_the_sampler_is_not_told_to_sample_fails_with_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    peers = {"k1": node("git"), "k2": node("dev")}
    found = look_at_nodes(monkeypatch, "git,dev", peers, {"git": peers["k1"]})
    assert found["node git"]["level"] == "ok"
    assert found["node dev"]["level"] == "failed"
    assert "SAMPLE_HOSTS" in found["node dev"]["remedy"]


def test_keys_that_expired_or_soon_will_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    peers = {"k1": node("git", Expired=True), "k2": node("dev", KeyExpiry=soon)}
    found = look_at_nodes(monkeypatch, "git,dev", peers, {"git": peers["k1"], "dev": peers["k2"]})
    assert (found["node git"]["level"], found["node git"]["detail"]) == ("failed", "its key expired")
    assert found["node dev"]["level"] == "warning"
    assert "expires in 2.0 days" in found["node dev"]["detail"]
