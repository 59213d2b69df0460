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
    text,
)
from sqlalchemy.types import TypeDecorator

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
    Column("telegram_id", BigInteger),
    Column("settled_at", UtcTime),
    Column("retry_at", UtcTime),
    Column("tries", Integer, nullable=False),
    Column("leased_until", UtcTime),
)
"""The outbox: every message that was or would have been sent, and what became of it."""

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

attempts = Table(
    "alert_attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("message_id", Integer, nullable=False, index=True),
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

sender = Table(
    "alert_sender",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hold_until", UtcTime),
    Column("hold_reason", String, nullable=False),
    Column("migrated_from", String),
    Column("migrated_to", String),
)
"""What the Bot API has told us that holds for all messages: when to come back, and where the chat went."""

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
    """Make the tables that are missing, once a process."""
    with writing(engine) as connection:
        _lock(connection)
        metadata.create_all(connection)


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
