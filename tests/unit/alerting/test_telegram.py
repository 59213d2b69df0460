"""What each answer of the Bot API, and none, makes of a message."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.support import bot_api as api
from tsobs_pipelines.alerting import telegram
from tsobs_pipelines.alerting.telegram import Moved, Refused, Sent, Telegram, TryLater, Unknown
from tsobs_pipelines.alerting.text import LIMIT, escape, fit, length, plain


@pytest.fixture
def server() -> Iterator[api.BotApi]:
    with api.bot_api() as running:
        yield running


@pytest.fixture
def bot(server: api.BotApi, monkeypatch: pytest.MonkeyPatch) -> Telegram:
    monkeypatch.setattr(telegram, "TIMEOUT", httpx.Timeout(0.3))
    return Telegram(server.url, api.TOKEN, api.CHAT, 7)


def test_a_message_with_its_topic(server: api.BotApi, bot: Telegram) -> None:
    assert bot.send("<b>hi</b>") == Sent(1)
    (sent,) = server.accepted
    assert (sent["chat_id"], sent["message_thread_id"], sent["parse_mode"]) == (api.CHAT, 7, "HTML")


def test_nobody_listens(bot: Telegram) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        outcome = Telegram(url, api.TOKEN, api.CHAT).send("x")
    assert isinstance(outcome, TryLater)
    assert outcome.after is None


@pytest.mark.parametrize(
    "fault", [api.silent_before_accepting, api.silent_after_accepting, api.hang_up, api.cut_in_half]
)
def test_no_whole_answer_leaves_the_delivery_unknown(
    server: api.BotApi, bot: Telegram, fault: object
) -> None:
    server.order(fault)  # type: ignore[arg-type]
    assert isinstance(bot.send("x"), Unknown)
    assert len(server.requests) == 1


@pytest.mark.parametrize("seconds", [1, 10_000])
def test_429_says_when_to_come_back(server: api.BotApi, bot: Telegram, seconds: int) -> None:
    server.order(api.status(429, "Too Many Requests", retry_after=seconds))
    outcome = bot.send("x")
    assert isinstance(outcome, TryLater)
    assert outcome.after is not None
    assert outcome.after.total_seconds() == seconds


@pytest.mark.parametrize(
    "fault", [api.status(500, "Internal"), api.status(502, "Bad"), api.html(502), api.html(503)]
)
def test_5xx_is_for_later(server: api.BotApi, bot: Telegram, fault: object) -> None:
    server.order(fault)  # type: ignore[arg-type]
    assert isinstance(bot.send("x"), TryLater)


def test_a_page_with_200_is_not_an_answer(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.html(200))
    assert isinstance(bot.send("x"), Unknown)


@pytest.mark.parametrize(
    ("code", "description", "setting"),
    [
        (401, "Unauthorized", "TELEGRAM_BOT_TOKEN"),
        (404, "Not Found", "TELEGRAM_BOT_TOKEN"),
        (403, "Forbidden: bot was kicked from the group chat", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: chat not found", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: message thread not found", "TELEGRAM_THREAD_ID"),
    ],
)
def test_a_wrong_setting_is_named(
    server: api.BotApi, bot: Telegram, code: int, description: str, setting: str
) -> None:
    server.order(api.status(code, description))
    outcome = bot.send("x")
    assert isinstance(outcome, Refused)
    assert setting in outcome.reason


def test_entities_that_can_not_be_parsed_go_as_plain_text(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.status(400, "Bad Request: can't parse entities: unexpected end tag"))
    outcome = bot.send("<b>a</b> &lt;c&gt;")
    assert isinstance(outcome, Sent)
    assert "plain text" in outcome.note
    assert server.accepted[0]["text"] == "a <c>"
    assert "parse_mode" not in server.accepted[0]


def test_another_400_is_not_sent_twice(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.status(400, "Bad Request: message is too long"))
    assert isinstance(bot.send("x"), Refused)
    assert len(server.requests) == 1


def test_a_chat_that_moved(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.status(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-100777))
    assert bot.send("x") == Moved("-100777")
    assert bot.send("x", "-100777") == Sent(1)
    assert server.accepted[0]["chat_id"] == "-100777"


def test_the_token_shows_nowhere(server: api.BotApi, bot: Telegram, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server.order(
        api.status(401, f"Unauthorized for bot{api.TOKEN}"),
        api.hang_up,
        api.silent_before_accepting,
        api.accept,
    )
    outcomes = [bot.send("x") for _ in range(4)]
    outcomes.append(Telegram("http://[bad", api.TOKEN, api.CHAT).send("x"))
    assert api.TOKEN not in f"{outcomes}{bot}{caplog.text}{caplog.records}"


def test_hostile_names_arrive_as_themselves() -> None:
    name = '<b>&"_*[x](y)'
    assert plain(escape(name)) == name
    assert escape("a\r\nb\u202ec\ud800\x00") == "a  bc"


def test_length_is_counted_after_entities_in_utf16() -> None:
    assert length("<b>&lt;a&gt;</b>") == 3
    assert length("😀") == 2


def test_a_long_message_loses_lines_and_says_so() -> None:
    lines = [escape(f"😀<{number}>" + "x" * 300) for number in range(100)]
    message = fit("head", lines, "foot")
    assert LIMIT - 350 < length(message) <= LIMIT
    assert message.endswith("foot")
    assert "more\n" in message
