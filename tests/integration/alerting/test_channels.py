"""Addresses of ``TSOBS_NOTIFY_URLS``: a real mail server and webhook on loopback, with their failures."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support import bot_api as api
from tests.support.alert_rows import DAY, MINUTE
from tests.support.api_world import settings_of
from tests.support.mail_server import HANG_UP, SILENT, MailServer, mail_server
from tests.support.old_outbox import check_taken_over, write_old_outbox
from tests.support.ports import free_port
from tsobs_pipelines.alerting import notify, outbox
from tsobs_pipelines.alerting.channel import Channel, Letter, Outcome, Sent, TryLater, Unknown
from tsobs_pipelines.alerting.depth import depth, refusals
from tsobs_pipelines.alerting.notify import AppriseChannel, UnusableAddressError, check_address
from tsobs_pipelines.alerting.rule import Severity
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.processes.up import check_notify_urls
from tsobs_pipelines.secret_url import SecretTarget
from tsobs_pipelines.settings import SettingsError

SECRET = "cAnArY-of-the-webhook"
HTML = '⚠️ <b>WARNING</b> high latency to git: 143 ms; since 10:05 UTC\n<a href="https://t.example/p">page</a>'
LETTER = Letter(HTML, Severity.WARNING)
TEXT = "⚠️ WARNING high latency to git: 143 ms; since 10:05 UTC\npage: https://t.example/p"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "ANSWER_WITHIN_S", 0.5)
    monkeypatch.setattr(notify, "CONNECT_WITHIN_S", 2.0)


@pytest.fixture
def hook() -> Iterator[api.BotApi]:
    with api.bot_api(api.WebhookHandler) as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


def webhook(server: api.BotApi) -> AppriseChannel:
    address = server.url.removeprefix("http://")
    return AppriseChannel(SecretTarget(f"json://user:{SECRET}@{address}/{SECRET}?token={SECRET}"))


def mails(server: MailServer) -> AppriseChannel:
    return AppriseChannel(SecretTarget(server.url))


def dripping(handler: api.Handler) -> None:
    """Answer a byte at a time, each within the time that a read may take."""
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(20):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def test_a_webhook_gets_the_text_its_title_and_its_kind(hook: api.BotApi) -> None:
    assert webhook(hook).deliver(LETTER) == Sent()
    (got,) = hook.accepted
    assert (got["title"], got["message"], got["type"]) == (
        "⚠️ WARNING high latency to git: 143 ms",
        TEXT,
        "warning",
    )


WEBHOOK_FAULTS: list[tuple[str, api.Fault, type[TryLater | Unknown], str]] = [
    ("500", api.html(500), TryLater, "answered 500 Internal Server Error"),
    ("403 of a proxy", api.html(403), TryLater, "answered 403 Forbidden"),
    ("404", api.empty(404), TryLater, "answered 404 Not Found"),
    ("429", api.text(429), TryLater, "answered 429 Too Many Requests"),
    ("302", api.html(302), TryLater, "answered 302 Found"),
    ("time-out", api.silent_after_accepting, Unknown, "ReadTimeout"),
    ("no answer", api.hang_up, Unknown, "no answer that can be read"),
    ("half an answer", api.cut_in_half, Unknown, "no answer that can be read"),
]


@pytest.mark.parametrize(
    ("fault", "kind", "said"), [row[1:] for row in WEBHOOK_FAULTS], ids=[row[0] for row in WEBHOOK_FAULTS]
)
def test_what_a_webhook_may_do(
    hook: api.BotApi, fault: api.Fault, kind: type[TryLater | Unknown], said: str
) -> None:
    hook.order(fault)
    outcome = webhook(hook).deliver(LETTER)
    assert isinstance(outcome, kind), outcome
    assert said in outcome.reason
    assert len(hook.requests) == 1


def test_an_answer_without_an_end_is_given_up(hook: api.BotApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify, "SEND_WITHIN_S", 0.6)
    hook.order(dripping)
    outcome = webhook(hook).deliver(LETTER)
    assert isinstance(outcome, Unknown)
    assert "no end of the send" in outcome.reason


@pytest.mark.parametrize(
    "url", ["json://127.0.0.1:{port}/x", "mailto://127.0.0.1:{port}/?from=a@b.cd&to=e@f.gh&mode=insecure"]
)
def test_a_refused_connection_is_tried_again(url: str) -> None:
    outcome = AppriseChannel(SecretTarget(url.format(port=free_port()))).deliver(LETTER)
    assert isinstance(outcome, TryLater)
    assert "Connection refused" in outcome.reason


def test_a_mail_has_its_subject_and_text(mail: MailServer) -> None:
    assert mails(mail).deliver(LETTER) == Sent()
    assert mail.subjects == ["⚠️ WARNING high latency to git: 143 ms"]
    part = next(part for part in mail.mails[0].walk() if not part.is_multipart())
    body = part.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "https://t.example/p" in body.decode()


MAIL_FAULTS: list[tuple[str, type[TryLater | Unknown], str]] = [
    ("451 4.3.0 later", TryLater, "451 4.3.0 later"),
    ("554 5.7.1 spam", TryLater, "554 5.7.1 spam"),
    (SILENT, Unknown, "no answer that can be read"),
    (HANG_UP, Unknown, "no answer that can be read"),
]


@pytest.mark.parametrize(("order", "kind", "said"), MAIL_FAULTS, ids=[row[0] for row in MAIL_FAULTS])
def test_what_a_mail_server_may_do(
    mail: MailServer, order: str, kind: type[TryLater | Unknown], said: str
) -> None:
    mail.orders.append(order)
    outcome = mails(mail).deliver(LETTER)
    assert isinstance(outcome, kind), outcome
    assert said in outcome.reason
    assert mails(mail).deliver(LETTER) == Sent()


def test_a_service_that_says_nothing_at_all_has_nothing(hook: api.BotApi) -> None:
    """A web server's connection stays silent until it gets a request: no mail server is there."""
    port = hook.url.rpartition(":")[2]
    url = f"mailto://127.0.0.1:{port}/?from=a@b.cd&to=e@f.gh&mode=insecure&cto=0.5"
    outcome = AppriseChannel(SecretTarget(url)).deliver(LETTER)
    assert isinstance(outcome, TryLater), outcome


def test_the_options_of_an_address_do_not_outlast_the_lease(hook: api.BotApi) -> None:
    target = SecretTarget(
        f"{hook.url.replace('http', 'json', 1)}/x?retry=9&wait=60&rto=900&cto=900&optional=yes"
    )
    hook.order(*[api.html(500)] * 2)
    begun = time.monotonic()
    assert isinstance(AppriseChannel(target).deliver(LETTER), TryLater)
    assert time.monotonic() - begun < 10
    assert len(hook.requests) == 1


NOT_USABLE = (
    *("nonsense://u:cAnArY@host/x", "mailto://", "slack://cAnArY"),
    *("json://u:cAnArY@h:0/x", "json://u:cAnArY@h:99999", "jsons://h:-1", "ntfy://u:cAnArY@h:70000/topic"),
)


@pytest.mark.parametrize("url", NOT_USABLE)
def test_an_address_that_apprise_can_not_use(url: str) -> None:
    with pytest.raises(UnusableAddressError) as caught:
        check_address(SecretTarget(url))
    assert "cAnArY" not in str(caught.value)
    assert isinstance(AppriseChannel(SecretTarget(url)).deliver(LETTER), TryLater)


def test_a_bad_address_ends_the_start_with_its_position(tmp_path: Path) -> None:
    good, bad = SecretTarget("json://127.0.0.1:1/x"), SecretTarget("slack://cAnArY")
    check_notify_urls(settings_of(tmp_path, notify_urls=(good,)))
    with pytest.raises(SettingsError) as caught:
        check_notify_urls(settings_of(tmp_path, notify_urls=(good, bad)))
    assert str(caught.value).startswith("TSOBS_NOTIFY_URLS: entry 2 (slack://[redacted]): Apprise")


@dataclass
class Stub:
    """A channel that answers as it is told, each time it is asked."""

    name: str
    answer: Callable[[Letter], Outcome]
    chat_id: str = ""

    def deliver(self, letter: Letter) -> Outcome:
        return self.answer(letter)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_for(f"sqlite:///{tmp_path / 'tsobs.db'}")


def fates(engine: Engine, number: int) -> dict[str, str]:
    found = outbox.message(engine, number)
    assert found is not None
    return {each.channel: each.fate for each in found.deliveries}


def pend(engine: Engine, minute: int = 0) -> int:
    return outbox.enqueue_test(engine, f"<b>m</b> {minute}", DAY + minute * MINUTE)


def deliver(engine: Engine, *to: Channel, minute: float = 0) -> list[int]:
    return outbox.deliver(engine, to, lambda: DAY + minute * MINUTE)


def test_a_channel_that_hangs_delays_no_other(engine: Engine) -> None:
    release, arrived = threading.Event(), threading.Event()

    def hang(_letter: Letter) -> Outcome:
        assert release.wait(30)
        return TryLater("time-out")

    def take(_letter: Letter) -> Outcome:
        arrived.set()
        return Sent(5)

    number = pend(engine)
    work = threading.Thread(target=deliver, args=(engine, Stub("slow", hang), Stub("fast", take)))
    work.start()
    try:
        assert arrived.wait(10), "the fast channel waits for the slow one"
    finally:
        release.set()
        work.join()
    assert fates(engine, number) == {"slow": "pending", "fast": "sent"}


def test_each_channel_has_its_own_retries_until_its_own_end(
    engine: Engine, hook: api.BotApi, mail: MailServer
) -> None:
    bad = webhook(hook)
    hook.order(*[api.html(500)] * 300)
    number, minute = pend(engine), 0
    while fates(engine, number).get(bad.name, "pending") == "pending":
        deliver(engine, bad, mails(mail), minute=minute)
        minute += 15
    assert fates(engine, number) == {bad.name: "failed", mails(mail).name: "sent"}
    assert minute > 24 * 60
    assert len(mail.mails) == 1
    found = outbox.message(engine, number)
    assert found is not None
    assert found.fate == "failed"
    assert found.reason.startswith(f"{bad.name}: failed (given up after")
    assert list(refusals(engine, [bad.name, "mail"])) == [bad.name]
    assert refusals(engine, ["mail"]) == {}, "a channel that was removed is nobody's business"


def test_a_bug_in_one_channel_costs_the_others_nothing(engine: Engine) -> None:
    def fail(_letter: Letter) -> Outcome:
        raise ZeroDivisionError

    number = pend(engine)
    deliver(engine, Stub("bad", fail), Stub("good", lambda _: Sent(1)))
    assert fates(engine, number) == {"bad": "delivery_unknown", "good": "sent"}
    found = outbox.message(engine, number)
    assert found is not None
    assert "ZeroDivisionError" in found.reason


@pytest.mark.parametrize(
    ("code", "body", "header", "fate"),
    [
        (400, rb'{"ok":false,"description":"bad \ud800 x"}', "", "failed"),
        (400, rb'{"ok":false,"description":"bad \u0000 \u001b[31m \u202e x"}', "", "failed"),
        (429, rb'{"ok":false,"error_code":429,"description":"bad \ud800 x"}', "", "pending"),
        (429, b'{"ok":false}', "9" * 5000, "pending"),
        (200, b'{"ok":true,"result":{"message_id":%d}}' % 10**30, "", "delivery_unknown"),
        (200, b'{"ok":true,"result":{"message_id":true}}', "", "delivery_unknown"),
    ],
)
def test_an_odd_answer_of_the_bot_api_has_a_fate(
    engine: Engine, code: int, body: bytes, header: str, fate: str
) -> None:
    with api.bot_api() as server:
        server.order(api.page(code, body, "application/json", **{"retry-after": header} if header else {}))
        number = pend(engine)
        deliver(engine, Telegram(server.url, api.TOKEN, api.CHAT))
    assert fates(engine, number) == {"telegram": fate}
    found = outbox.message(engine, number)
    assert found is not None
    assert found.reason
    assert found.reason.isprintable()


def test_a_channel_that_is_added_gets_what_is_new(engine: Engine, hook: api.BotApi) -> None:
    first = Stub("first", lambda _: TryLater("500"))
    waiting = pend(engine)
    deliver(engine, first)
    later = pend(engine, 1)
    deliver(engine, first, webhook(hook), minute=1)
    assert fates(engine, waiting) == {"first": "pending"}
    assert fates(engine, later) == {"first": "pending", webhook(hook).name: "sent"}
    assert [got["message"] for got in hook.accepted] == ["m 1"]


def test_what_waits_for_a_channel_that_was_removed_is_suppressed(engine: Engine, hook: api.BotApi) -> None:
    hook.order(api.html(500))
    number = pend(engine)
    deliver(engine, webhook(hook), Stub("other", lambda _: Sent(1)))
    deliver(engine, Stub("other", lambda _: Sent(1)), minute=1)
    assert fates(engine, number) == {webhook(hook).name: "suppressed", "other": "sent"}
    found = outbox.message(engine, number)
    assert found is not None
    assert (found.fate, outbox.CHANNEL_GONE in found.reason) == ("sent", True)
    deliver(engine, webhook(hook), minute=60)
    assert hook.accepted == [], "what was suppressed is not sent when the address comes back"


def test_a_sender_that_died_leaves_that_channel_unknown(engine: Engine, hook: api.BotApi) -> None:
    number, channel = pend(engine), webhook(hook)
    outbox.hand_over(engine, [channel.name, "other"], DAY)
    claimed = outbox.claim(engine, channel, DAY)
    assert claimed is not None
    channel.deliver(claimed.letter)
    for minute in (0.5, 2, 60):
        deliver(engine, channel, Stub("other", lambda _: Sent(1)), minute=minute)
    assert fates(engine, number) == {channel.name: "delivery_unknown", "other": "sent"}
    assert len(hook.accepted) == 1


def test_two_processes_send_it_once_in_each_channel(
    engine: Engine, hook: api.BotApi, mail: MailServer
) -> None:
    numbers = [pend(engine, minute) for minute in range(3)]
    work = [
        threading.Thread(target=deliver, args=(engine, webhook(hook), mails(mail)), kwargs={"minute": 3})
        for _ in range(3)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    deliver(engine, webhook(hook), mails(mail), minute=3)
    assert [got["message"] for got in hook.accepted] == ["m 0", "m 1", "m 2"]
    assert len(mail.mails) == 3
    assert {fate for number in numbers for fate in fates(engine, number).values()} == {"sent"}


def test_nothing_shows_an_address(
    engine: Engine, hook: api.BotApi, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    channel = webhook(hook)
    hook.order(api.html(500), api.hang_up)
    for minute in range(3):
        pend(engine, minute)
        deliver(engine, channel, minute=10 * minute)
    assert hook.accepted, "it was sent at last"
    said = capfd.readouterr()
    kept = b"".join(path.read_bytes() for path in Path(str(engine.url.database)).parent.glob("tsobs.db*"))
    assert channel.name.encode() in kept
    for text in (caplog.text, said.out, said.err, repr(channel), kept.decode("latin-1")):
        assert SECRET not in text
    assert "apprise" not in {record.name for record in caplog.records}


def test_the_depth_is_told_by_channel(engine: Engine) -> None:
    for minute in range(2):
        pend(engine, minute)
    deliver(engine, Stub("a", lambda _: TryLater("500")), Stub("b", lambda _: Sent(1)), minute=1)
    found = depth(engine, ["a", "b"])
    assert found.pending == 2
    assert (found.channels["a"].pending, found.channels["b"].pending) == (2, 0)
    assert (found.channels["a"].waits_for, found.channels["a"].oldest_pending) == ("500", DAY)


def test_an_outbox_of_the_days_of_one_channel_is_taken_over(tmp_path: Path) -> None:
    engine, now = engine_for(f"sqlite:///{tmp_path / 'old.db'}"), DAY + timedelta(hours=1)
    write_old_outbox(engine, now)
    check_taken_over(engine)
