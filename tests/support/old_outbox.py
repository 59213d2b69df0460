"""The tables of the outbox as they were when Telegram was the only channel, with a message of each kind."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, text

from tests.support import bot_api as api
from tests.support.alert_rows import DAY
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.channel import TELEGRAM
from tsobs_pipelines.alerting.depth import refusals
from tsobs_pipelines.alerting.tables import attempts
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import reading, writing
from tsobs_pipelines.timeseries.rows import to_micros

TABLES = (
    """CREATE TABLE alert_messages ({key}, scope VARCHAR NOT NULL, rule VARCHAR NOT NULL,
    severity VARCHAR NOT NULL, html TEXT NOT NULL, created_at BIGINT NOT NULL, fate VARCHAR NOT NULL,
    reason VARCHAR NOT NULL, source_run VARCHAR NOT NULL, source_partition VARCHAR NOT NULL,
    telegram_id BIGINT, settled_at BIGINT, retry_at BIGINT, tries INTEGER NOT NULL, leased_until BIGINT)""",
    "CREATE INDEX ix_alert_messages_fate ON alert_messages (fate)",
    """CREATE TABLE alert_attempts ({key}, message_id INTEGER NOT NULL, started_at BIGINT NOT NULL,
    ended_at BIGINT, outcome VARCHAR NOT NULL)""",
    "CREATE INDEX ix_alert_attempts_message_id ON alert_attempts (message_id)",
    """CREATE TABLE alert_sender ({key}, hold_until BIGINT, hold_reason VARCHAR NOT NULL,
    migrated_from VARCHAR, migrated_to VARCHAR)""",
)

MESSAGE = """INSERT INTO alert_messages (scope, rule, severity, html, created_at, fate, reason, source_run,
    source_partition, telegram_id, settled_at, retry_at, tries, leased_until) VALUES ('demo', 'relay',
    'WARNING', :html, :at, :fate, :reason, '', '', :number, :settled, :retry, :tries, :lease)"""

KINDS = ("sent", "failed", "tried", "in flight", "new", "kept back")
"""The messages, in their order."""


def write_old_outbox(engine: Engine, now: datetime) -> None:
    """Make the tables, with messages that were written a minute before ``now``, and a chat that has moved."""
    key = "id SERIAL PRIMARY KEY" if engine.dialect.name == "postgresql" else "id INTEGER PRIMARY KEY"
    then = to_micros(now - timedelta(minutes=1))
    message = {"at": then, "fate": "pending", "reason": "", "number": None, "settled": None}
    message |= {"retry": None, "tries": 0, "lease": None}
    told: dict[str, dict[str, object]] = {
        "sent": {"fate": "sent", "number": 7, "settled": then, "tries": 1},
        "failed": {"fate": "failed", "reason": "400 chat not found", "settled": then + 1, "tries": 1},
        "tried": {"reason": "500", "retry": then + 90_000_000, "tries": 2},
        "in flight": {"tries": 1, "lease": then + 30_000_000},
        "new": {},
        "kept back": {"fate": "suppressed", "reason": "muted", "settled": then},
    }
    with writing(engine) as connection:
        for statement in TABLES:
            connection.execute(text(statement.format(key=key)))
        for kind in KINDS:
            connection.execute(
                text(MESSAGE),
                {**message, "html": kind, **told[kind]},
            )
        connection.execute(
            text("INSERT INTO alert_attempts (message_id, started_at, outcome) VALUES (4, :at, 'started')"),
            {"at": then},
        )
        connection.execute(text("INSERT INTO alert_sender VALUES (1, NULL, 'moved', '-1001', '-1002')"))


def check_taken_over(engine: Engine) -> None:
    """That nothing is lost or sent twice of what :func:`write_old_outbox` left an hour into the day."""
    with api.bot_api() as server:
        bot = Telegram(server.url, api.TOKEN, api.CHAT)
        before = {message.html: message for message in outbox.newest(engine)}
        assert list(before) == list(KINDS)[::-1]
        assert [each.receipt for each in before["sent"].deliveries] == [7]
        assert refusals(engine, [TELEGRAM]) == {TELEGRAM: "400 chat not found"}
        outbox.deliver(engine, [bot], lambda: DAY + timedelta(hours=1))
        assert server.texts == [], "in flight goes first"
        outbox.deliver(engine, [bot], lambda: DAY + timedelta(hours=1, minutes=3))
        assert server.texts == ["tried", "new"]
        assert {message["chat_id"] for message in server.accepted} == {"-1002"}
    found = {message.html: message.fate for message in outbox.newest(engine)}
    assert found == {
        "sent": "sent",
        "failed": "failed",
        "tried": "sent",
        "in flight": "delivery_unknown",
        "new": "sent",
        "kept back": "suppressed",
    }
    with reading(engine) as connection:
        ended = connection.execute(attempts.select().order_by(attempts.c.id)).all()
    assert (ended[0].channel, ended[0].outcome) == (TELEGRAM, "died")
