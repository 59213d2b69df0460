"""The tables of the alert state and the outbox, and their creation.

Times are kept as microseconds since the epoch: both databases sort and compare them exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    text,
)
from sqlalchemy.types import TypeDecorator

from tsobs_pipelines.alerting.channel import TELEGRAM
from tsobs_pipelines.database import writing
from tsobs_pipelines.timeseries.rows import from_micros, to_micros

_LOCK = 0x74736F6273  # "tsobs"


class UtcTime(TypeDecorator[datetime]):
    """A timezone-aware time as microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """To the database."""
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        return None if value is None else from_micros(value)


metadata = MetaData()

progress = Table(
    "alert_progress",
    metadata,
    Column("scope", String, primary_key=True),
    Column("rule", String, primary_key=True),
    Column("begun_at", UtcTime, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("evaluated_until", UtcTime, nullable=False),
    Column("version", Integer, nullable=False),
)
"""How far each rule has come. ``begun_at`` is when the watch began by the clock, ``started_at`` and
``evaluated_until`` are data times, ``version`` lets one of two evaluations at once win."""

topics = Table(
    "alert_topics",
    metadata,
    Column("scope", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("rule", String, nullable=False, index=True),
    Column("subject", String, nullable=False),
    Column("status", String, nullable=False),
    Column("state", Text, nullable=False),
    Column("last_told", UtcTime),
)

incidents = Table(
    "alert_incidents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("scope", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("since", UtcTime, nullable=False, index=True),
    Column("until", UtcTime),
    Column("origin", String, nullable=False),
    Column("value", Float),
    Column("worst", Float),
    Column("threshold", Float),
    Column("detail", String, nullable=False),
    Column("told", Boolean, nullable=False),
    UniqueConstraint("scope", "topic", "since", "origin"),
)

messages = Table(
    "alert_messages",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("scope", String, nullable=False),
    Column("rule", String, nullable=False),
    Column("severity", String, nullable=False),
    Column("html", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("fate", String, nullable=False, index=True),
    Column("reason", String, nullable=False),
    Column("source_run", String, nullable=False),
    Column("source_partition", String, nullable=False),
    Column("settled_at", UtcTime),
)
"""The outbox: every message that was or would have been sent. Fate and reason sum up its deliveries; a
pending message without deliveries was not handed to the channels yet."""

deliveries = Table(
    "alert_deliveries",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("message_id", Integer, nullable=False, index=True),
    Column("channel", String, nullable=False),
    Column("fate", String, nullable=False, index=True),
    Column("reason", String, nullable=False),
    Column("receipt", BigInteger),
    Column("settled_at", UtcTime),
    Column("retry_at", UtcTime),
    Column("tries", Integer, nullable=False),
    Column("leased_until", UtcTime),
    UniqueConstraint("message_id", "channel"),
)
"""What became of each message in each channel; ``receipt`` is Telegram's message id."""

changes = Table(
    "alert_changes",
    metadata,
    Column("id", String, primary_key=True),
    Column("scope", String, nullable=False),
    Column("topic", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("voice", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("until", UtcTime),
    Column("value", Float),
    Column("threshold", Float),
    Column("message_id", Integer, nullable=False, index=True),
)
"""Every change; its id is made of topic, time and kind, so that no change can be told twice."""

pictures = Table(
    "alert_pictures",
    metadata,
    Column("message_id", Integer, primary_key=True),
    Column("claimed_at", UtcTime, nullable=False),
    Column("outcome", String, nullable=False),
)
"""Written before a picture is drawn, so that no message gets two."""

attempts = Table(
    "alert_attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("message_id", Integer, nullable=False, index=True),
    Column("channel", String, nullable=False, server_default=TELEGRAM),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("outcome", String, nullable=False),
)
"""Written before each send: an attempt without an end is one of which nobody knows what it did."""

mutes = Table(
    "alert_mutes",
    metadata,
    Column("topic", String, primary_key=True),
    Column("until", UtcTime, nullable=False),
)

channels = Table(
    "alert_channels",
    metadata,
    Column("name", String, primary_key=True),
    Column("hold_until", UtcTime),
    Column("hold_reason", String, nullable=False, server_default=""),
    Column("migrated_from", String),
    Column("migrated_to", String),
)
"""What a channel has told us that holds for all messages: when to come back, and where a chat went."""

observations = Table(
    "alert_observations",
    metadata,
    Column("scope", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("time", UtcTime, primary_key=True),
    Column("mae", Float),
    Column("baseline", Float),
    Column("naive_mae", Float),
    Column("naive_baseline", Float),
    Column("week_ratio", Float),
    Column("week_limit", Float),
)
"""What the evaluations of forecasts said, so that the past can be judged again."""

replays = Table(
    "alert_replays",
    metadata,
    Column("scope", String, primary_key=True),
    Column("rule", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("source_id", BigInteger, nullable=False),
    Column("done_id", BigInteger, nullable=False),
)
"""Past days whose data are new; one with ``done_id`` below ``source_id`` is still to be replayed."""


@cache
def ensure_tables(engine: Engine) -> None:
    """Make the tables that are missing, once a process, and bring those of older versions up to date."""
    with writing(engine) as connection:
        _lock(connection)
        metadata.create_all(connection)
        if "tries" in _columns(connection, messages.name):
            _move_deliveries(connection)


def _columns(connection: Connection, table: str) -> set[str]:
    return {str(column["name"]) for column in inspect(connection).get_columns(table)}


_MOVE_FATES = """
INSERT INTO alert_deliveries
  (message_id, receipt, channel, fate, reason, settled_at, retry_at, tries, leased_until)
SELECT id, telegram_id, :telegram, fate, reason, settled_at, retry_at, tries, leased_until
FROM alert_messages WHERE tries > 0"""
_MOVE_SENDER = """
INSERT INTO alert_channels (name, hold_until, hold_reason, migrated_from, migrated_to)
SELECT :telegram, hold_until, hold_reason, migrated_from, migrated_to FROM alert_sender"""


def _move_deliveries(connection: Connection) -> None:
    """Before there were several channels, a message had what Telegram did with it in its own row."""
    telegram = {"telegram": TELEGRAM}
    connection.execute(text(_MOVE_FATES), telegram)
    connection.execute(text(_MOVE_SENDER), telegram)
    connection.execute(text("DROP TABLE alert_sender"))
    connection.execute(
        text(f"ALTER TABLE alert_attempts ADD COLUMN channel VARCHAR NOT NULL DEFAULT '{TELEGRAM}'")
    )
    for column in ("telegram_id", "retry_at", "tries", "leased_until"):
        connection.execute(text(f"ALTER TABLE alert_messages DROP COLUMN {column}"))


@contextmanager
def alert_transaction(engine: Engine) -> Iterator[Connection]:
    """The one writer of the alert tables: state, changes and outbox are written together or not at all."""
    ensure_tables(engine)
    with writing(engine) as connection:
        _lock(connection)
        yield connection


def _lock(connection: Connection) -> None:
    # SQLite's BEGIN IMMEDIATE already lets in one writer at a time.
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
