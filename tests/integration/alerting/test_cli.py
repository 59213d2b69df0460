"""``tsobs alerts`` and ``tsobs mute`` against a real database and the Bot API of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support import bot_api as api
from tsobs_pipelines.alerting.evaluation import Observed, evaluate
from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.cli.alerts import alerts, mute
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.settings import load_settings


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[api.BotApi]:
    monkeypatch.chdir(tmp_path)
    with api.bot_api() as running:
        monkeypatch.setenv("TELEGRAM_API_URL", running.url)
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", api.TOKEN)
        monkeypatch.setenv("TELEGRAM_CHAT_ID", api.CHAT)
        yield running


def fire(host: str) -> None:
    """The node is slow since ten minutes."""
    now = datetime.now(UTC)
    signal = Signal(now, now - timedelta(minutes=10), Verdict.BAD, 150.0, 100.0)
    alert_store = AlertStore(engine_for(load_settings().database_url), "default")
    observed = Observed(now - timedelta(hours=1), now, {host: [signal]})
    evaluate(alert_store, LATENCY, lambda _: observed, Source("http://p", "http://d"), now)


def test_nothing_fires(server: api.BotApi) -> None:
    result = CliRunner().invoke(alerts)
    assert result.exit_code == 0
    assert "Nothing fires." in result.output


def test_what_fires_is_listed_with_its_fate_and_its_mute(server: api.BotApi) -> None:
    fire("git\x1b[31m")
    assert CliRunner().invoke(mute, ["latency_*", "2h"]).exit_code == 0
    result = CliRunner().invoke(alerts)
    assert "latency_git[31m  10 min, goes on, worst 150 ms  [pending]" in result.output
    assert "\x1b" not in result.output
    assert "Muted until" in result.output
    assert "1 messages wait" in result.output
    assert "no longer muted" in CliRunner().invoke(mute, ["latency_*", "--off"]).output


def test_a_test_message_and_its_fate(server: api.BotApi) -> None:
    result = CliRunner().invoke(alerts, ["test"])
    assert (result.exit_code, result.output) == (0, "telegram: sent, message 1\n")
    server.order(api.status(403, "Forbidden: bot was blocked by the user"))
    result = CliRunner().invoke(alerts, ["test"])
    assert result.exit_code == 1
    assert "TELEGRAM_CHAT_ID" in result.output
    listed = CliRunner().invoke(alerts).output
    assert "telegram: the newest message was refused: configuration: check TELEGRAM_CHAT_ID" in listed
    assert CliRunner().invoke(alerts, ["test"]).exit_code == 0
    assert "was refused" not in CliRunner().invoke(alerts).output


def test_the_test_message_has_a_link_to_try(server: api.BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSOBS_PUBLIC_URL", "https://tsobs.example.com")
    CliRunner().invoke(alerts, ["test"])
    assert '<a href="https://tsobs.example.com/vpn.html">page</a>' in server.texts[0]


def test_without_a_token_the_test_says_so(server: api.BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELEGRAM_BOT_TOKEN")
    result = CliRunner().invoke(alerts, ["test"])
    assert result.exit_code == 1
    assert "no TELEGRAM_BOT_TOKEN" in result.output


@pytest.mark.parametrize("arguments", [["x"], ["x", "0h"], ["x", "2"], ["x", "91d"], ["x", "2h", "--off"]])
def test_a_bad_span_gets_one_clear_line(server: api.BotApi, arguments: list[str]) -> None:
    result = CliRunner().invoke(mute, arguments)
    assert result.exit_code == 2
    assert "expected" in result.output


def test_every_channel_of_the_test_has_its_line(server: api.BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with api.bot_api(api.WebhookHandler) as hook:
        host = hook.url.removeprefix("http://")
        monkeypatch.setenv("TSOBS_NOTIFY_URLS", f"json://u:sesame@{host}/one json://u:sesame@{host}/two")
        first, second = (target.name for target in load_settings().notify_urls)
        result = CliRunner().invoke(alerts, ["test"])
        assert (result.exit_code, result.output.splitlines()) == (
            0,
            ["telegram: sent, message 1", f"{first}: sent", f"{second}: sent"],
        )
        hook.order(api.html(403), api.html(403))
        result = CliRunner().invoke(alerts, ["test"])
        assert (result.exit_code, result.output.splitlines()) == (
            1,
            [
                "telegram: sent, message 2",
                f"{first}: pending: answered 403 Forbidden",
                f"{second}: pending: answered 403 Forbidden",
            ],
        )
    listed = CliRunner().invoke(alerts).output
    assert f"{first}: 1 wait, the oldest: answered 403 Forbidden" in listed
    assert "sesame" not in listed
