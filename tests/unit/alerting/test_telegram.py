"""The fate of a message for each answer of the Bot API, and for none."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta

import httpx
import pytest

from tests.support import bot_api as api
from tsobs_pipelines.alerting import telegram
from tsobs_pipelines.alerting.channel import Moved, Refused, Sent, TryLater, Unknown
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.alerting.text import LIMIT, escape, fit, length, link, plain


@pytest.fixture
def server() -> Iterator[api.BotApi]:
    with api.bot_api() as running:
        yield running


@pytest.fixture
def bot(server: api.BotApi) -> Telegram:
    return Telegram(server.url, api.TOKEN, api.CHAT, 7)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is waited for only shortly; where an answer counts, a busy machine may take longer."""
    monkeypatch.setattr(telegram, "TIMEOUT", httpx.Timeout(0.3))


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


@pytest.mark.usefixtures("impatient")
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
    ("said", "seconds"),
    [
        (3600.0, 3600),
        (3.2, 4),
        ("7", 7),
        (1e30, 7 * 86_400),
        (10**400, 7 * 86_400),
        (-5, 0),
        (True, None),
        (None, None),
        ([], None),
        ("soon", None),
        (float("inf"), None),
    ],
)
def test_the_wait_may_have_any_type(
    server: api.BotApi, bot: Telegram, said: object, seconds: int | None
) -> None:
    server.order(api.status(429, "Too Many Requests", retry_after=said))
    outcome = bot.send("x")
    assert isinstance(outcome, TryLater)
    assert outcome.after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(("header", "seconds"), [("5", 5), ("9" * 5000, None), ("²", None), ("-1", None)])
def test_the_wait_may_stand_in_a_header(
    server: api.BotApi, bot: Telegram, header: str, seconds: int | None
) -> None:
    server.order(api.page(429, b'{"ok":false}', "application/json", **{"retry-after": header}))
    outcome = bot.send("x")
    assert isinstance(outcome, TryLater)
    assert outcome.after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("code", [True, 0, -1, 200, 1000, "x", None])
def test_an_error_code_that_is_none_leaves_the_status(
    server: api.BotApi, bot: Telegram, code: object
) -> None:
    body = json.dumps({"ok": False, "error_code": code, "description": None}).encode()
    server.order(
        api.page(502, body, "application/json"),
        api.page(403, body, "application/json"),
        api.page(502, body.replace(json.dumps(code).encode(), b'"403"', 1), "application/json"),
    )
    assert bot.send("x") == TryLater("the Bot API answered 502")
    assert bot.send("x") == Refused("403")
    assert bot.send("x") == Refused("403")


@pytest.mark.parametrize(
    "fault", [api.status(500, "Internal"), api.status(502, "Bad"), api.html(502), api.html(503)]
)
def test_5xx_is_for_later(server: api.BotApi, bot: Telegram, fault: object) -> None:
    server.order(fault)  # type: ignore[arg-type]
    assert isinstance(bot.send("x"), TryLater)


@pytest.mark.parametrize("code", [200, 302, 400, 401, 403, 404, 407, 408, 413, 421, 425, 429, 451, 502, 503])
@pytest.mark.parametrize("stranger", [api.html, api.text, api.strange_json])
def test_only_the_bot_api_refuses(
    server: api.BotApi, bot: Telegram, code: int, stranger: Callable[[int], api.Fault]
) -> None:
    server.order(stranger(code))
    outcome = bot.send("x")
    assert isinstance(outcome, TryLater)
    assert "not the Bot API's" in outcome.reason


def test_an_empty_200_may_be_an_acceptance(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.empty(200))
    assert isinstance(bot.send("x"), Unknown)


@pytest.mark.parametrize(
    ("code", "description", "setting"),
    [
        (401, "Unauthorized", "TELEGRAM_BOT_TOKEN"),
        (404, "Not Found", "TELEGRAM_BOT_TOKEN"),
        (403, "Forbidden: bot was kicked from the group chat", "TELEGRAM_CHAT_ID"),
        (403, "Forbidden: bot is not a member of the channel chat", "TELEGRAM_CHAT_ID"),
        (403, "Forbidden: user is deactivated", "TELEGRAM_CHAT_ID"),
        (403, "Forbidden: bot was blocked by the user", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: chat not found", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: not enough rights to send text messages to the chat", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: CHAT_WRITE_FORBIDDEN", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: CHAT_RESTRICTED", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: PEER_ID_INVALID", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: need administrator rights in the channel chat", "TELEGRAM_CHAT_ID"),
        (400, "Bad Request: the chat is not a forum", "TELEGRAM_THREAD_ID"),
        (400, "Bad Request: USER_BANNED_IN_CHANNEL", "TELEGRAM_CHAT_ID"),
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


@pytest.mark.parametrize(
    "description",
    [
        "message thread not found",
        "message thread is closed",
        "message_thread_id is invalid",
        "invalid message thread identifier specified",
        "TOPIC_CLOSED",
        "TOPIC_DELETED",
        "TOPIC_ID_INVALID",
        "topic closed",
        "topic is closed",
        "the topic was closed",
    ],
)
def test_a_topic_that_is_gone_is_left_out(server: api.BotApi, bot: Telegram, description: str) -> None:
    server.order(api.status(400, f"Bad Request: {description}"))
    outcome = bot.send("x")
    assert isinstance(outcome, Sent)
    assert "TELEGRAM_THREAD_ID" in outcome.note
    assert "message_thread_id" not in server.accepted[0]


def test_a_closed_topic_and_broken_entities(server: api.BotApi, bot: Telegram) -> None:
    server.order(
        api.status(400, "Bad Request: message thread not found"),
        api.status(400, "Bad Request: can't parse entities: unexpected end tag"),
    )
    outcome = bot.send("<b>x</b>")
    assert isinstance(outcome, Sent)
    assert "TELEGRAM_THREAD_ID" in outcome.note
    assert "plain text" in outcome.note


def test_a_topic_is_left_out_once(server: api.BotApi, bot: Telegram) -> None:
    server.order(*[api.status(400, "Bad Request: message thread not found")] * 2)
    assert isinstance(bot.send("x"), Refused)
    assert len(server.requests) == 2


def test_the_general_topic_has_no_number(server: api.BotApi) -> None:
    assert Telegram(server.url, api.TOKEN, api.CHAT, 1).send("x") == Sent(1)
    assert "message_thread_id" not in server.accepted[0]


def test_another_400_is_not_sent_twice(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.status(400, "Bad Request: message is too long"))
    assert isinstance(bot.send("x"), Refused)
    assert len(server.requests) == 1


def test_a_chat_that_moved(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.status(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-100777))
    assert bot.send("x") == Moved("-100777")
    assert bot.send("x", "-100777") == Sent(1)
    assert server.accepted[0]["chat_id"] == "-100777"


@pytest.mark.parametrize(
    ("said", "chat"),
    [("-100777", "-100777"), (-100777.0, "-100777"), (True, None), (0, None), (10**400, None)],
)
def test_where_a_chat_moved_to_may_have_any_type(
    server: api.BotApi, bot: Telegram, said: object, chat: str | None
) -> None:
    server.order(api.status(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=said))
    outcome = bot.send("x")
    assert outcome == Moved(chat) if chat else isinstance(outcome, Refused)


@pytest.mark.usefixtures("impatient")
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


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://tsobs.tail1234.ts.net/vpn.html", True),
        ("http://100.64.0.7:8000/vpn.html", True),
        ("http://tsobs:8000/vpn.html", False),
        ("http://localhost:8000/", False),
        ("http://tsobs.:8000/", False),
        ("http://127.0.0.1:8000/vpn.html", False),
        ("http://127.0.0.2/", False),
        ("http://0.0.0.0:8000/", False),
        ("http://[::1]:8000/", False),
        ("http://[fd7a:115c:a1e0::1]:8000/", False),
        ("http://127.1/", False),
        ("http://0x7f.1/", False),
        ("http://0177.0.0.1/", False),
        ("http://2130706433/", False),
        ("http://999.1.1.1/", False),
        ("http://localhost.localdomain/", False),
        ("http://a.localhost/", False),
        ("http://.tsobs/", False),
        ("http://a..b/", False),
        ("http://-.a/", False),
        ("http://[::1/", False),
        ("http://a.b:99999/", False),
        ("http://192.168.1.5:8000/", True),
        ("http://bücher.example/", True),
        ("http://tsobs_1.tail1234.ts.net./", True),
        ("http://127.0.0.1.nip.io/", True),
    ],
)
def test_a_link_that_nobody_can_follow_is_text(url: str, kept: bool) -> None:
    shown = link("page", url)
    assert ("<a " in shown) is kept
    assert plain(shown) == f"page: {url}"


def test_plain_text_is_no_longer_than_telegram_takes(server: api.BotApi, bot: Telegram) -> None:
    server.order(api.status(400, "Bad Request: can't parse entities: unexpected end tag"))
    assert isinstance(bot.send("<b>" + "😀" * 5_000), Sent)
    text = str(server.accepted[0]["text"])
    assert len(text.encode("utf-16-le")) // 2 == LIMIT - 1
    assert text.endswith("…")


def test_a_message_fits_as_plain_text_too() -> None:
    lines = [f"• high latency to node-{number}" for number in range(500)]
    foot = " · ".join(link(f"l{number}", "https://tsobs.example.com/" + "x" * 80) for number in range(2))
    message = fit("head", lines, foot)
    assert len(plain(message).encode("utf-16-le")) // 2 <= LIMIT


def test_length_is_counted_after_entities_in_utf16() -> None:
    assert length("<b>&lt;a&gt;</b>") == 3
    assert length("😀") == 2


def test_a_long_message_loses_lines_and_says_so() -> None:
    lines = [escape(f"😀<{number}>" + "x" * 300) for number in range(100)]
    message = fit("head", lines, "foot")
    assert LIMIT - 350 < length(message) <= LIMIT
    assert message.endswith("foot")
    assert "more\n" in message
