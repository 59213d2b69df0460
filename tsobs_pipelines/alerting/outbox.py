"""The outbox: stores messages, sends them, and records the fate of each.

Fates: ``pending`` (to be sent or retried), ``sent``, ``suppressed`` (not to be sent, with the reason),
``delivery_unknown`` (it may have arrived; never resent automatically), ``failed`` (not delivered).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from sqlalchemy import Connection, Engine, case, func, insert, select, update

from tsobs_pipelines.alerting.tables import (
    alert_transaction,
    attempts,
    changes,
    ensure_tables,
    messages,
    sender,
)
from tsobs_pipelines.alerting.telegram import Moved, Outcome, Refused, Sent, Telegram, TryLater, Unknown
from tsobs_pipelines.database import reading

LEASE = timedelta(seconds=60)
"""Longer than any send takes: an attempt without an end after this has died with its process."""

GIVE_UP_AFTER = timedelta(hours=24)
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)
STUCK_TRIES = 8
"""After so many tries a message lets the others pass: it may be the message."""

Fate: TypeAlias = Literal["pending", "sent", "suppressed", "delivery_unknown", "failed"]
NO_BOT = "no TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID: the outbox keeps it"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this process may send until its lease ends; the attempt is written down."""

    number: int
    attempt: int
    html: str
    chat_id: str | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message and its fate; ``retry_at`` is when a pending one is due."""

    number: int
    scope: str
    rule: str
    severity: str
    html: str
    created_at: datetime
    fate: Fate
    reason: str
    source_run: str
    source_partition: str
    telegram_id: int | None
    settled_at: datetime | None
    retry_at: datetime | None
    tries: int
    leased_until: datetime | None


def deliver(
    engine: Engine,
    bot: Telegram | None,
    clock: Callable[[], datetime],
    limit: int = 50,
) -> list[int]:
    """Send what is due, oldest first, until nothing is; the numbers of the messages that were tried.

    Several processes may do this at once.
    """
    tried: list[int] = []
    while len(tried) < limit and (claimed := claim(engine, bot, clock())) is not None:
        assert bot is not None  # noqa: S101 - without a bot nothing can be claimed
        tried.append(claimed.number)
        settle(engine, claimed, bot.send(claimed.html, claimed.chat_id), clock(), bot.chat_id)
    return tried


def claim(engine: Engine, bot: Telegram | None, now: datetime) -> Claimed | None:
    """Claim the next message that is due, and record the attempt before anything is sent.

    Attempts whose process died become ``delivery_unknown``; without a bot everything pending is
    ``suppressed``. One message is in flight at a time: they arrive in the order of what happened.
    """
    ensure_tables(engine)
    pending = messages.c.fate == "pending"
    with reading(engine) as connection:
        if connection.execute(select(messages.c.id).where(pending).limit(1)).first() is None:
            return None
    with alert_transaction(engine) as connection:
        _bury_dead_attempts(connection, now)
        if bot is None:
            connection.execute(
                update(messages).where(pending).values(fate="suppressed", reason=NO_BOT, settled_at=now)
            )
            return None
        hold = connection.execute(select(sender)).first()
        if hold is not None and hold.hold_until is not None and hold.hold_until > now:
            return None
        stuck = case((messages.c.tries >= STUCK_TRIES, 1), else_=0)
        first = connection.execute(
            select(messages).where(pending).order_by(stuck, messages.c.id).limit(1)
        ).first()
        if first is None or first.leased_until is not None:
            return None
        if first.retry_at is not None and first.retry_at > now:
            return None
        connection.execute(
            update(messages)
            .where(messages.c.id == first.id)
            .values(leased_until=now + LEASE, tries=messages.c.tries + 1)
        )
        key = connection.execute(
            insert(attempts).values(message_id=first.id, started_at=now, outcome="started")
        ).inserted_primary_key
        assert key is not None  # noqa: S101 - the table has a primary key
        moved = hold.migrated_to if hold is not None and hold.migrated_from == bot.chat_id else None
        return Claimed(first.id, int(key[0]), first.html, moved)


def _bury_dead_attempts(connection: Connection, now: datetime) -> None:
    dead = (messages.c.fate == "pending") & (messages.c.leased_until <= now)
    numbers = list(connection.scalars(select(messages.c.id).where(dead)))
    if not numbers:
        return
    reason = "the sending process died in between; it may have arrived"
    connection.execute(
        update(messages)
        .where(messages.c.id.in_(numbers))
        .values(fate="delivery_unknown", reason=reason, settled_at=now, leased_until=None)
    )
    connection.execute(
        update(attempts)
        .where(attempts.c.message_id.in_(numbers), attempts.c.ended_at.is_(None))
        .values(ended_at=now, outcome="died")
    )


def settle(engine: Engine, claimed: Claimed, outcome: Outcome, now: datetime, chat_id: str) -> None:
    """Record the result of an attempt."""
    with alert_transaction(engine) as connection:
        row = connection.execute(select(messages).where(messages.c.id == claimed.number)).one()
        values: dict[str, object] = {"leased_until": None, "settled_at": now, "retry_at": None}
        match outcome:
            case Sent(number, note):
                values |= {"fate": "sent", "telegram_id": number, "reason": note}
            case Unknown(reason):
                values |= {"fate": "delivery_unknown", "reason": reason}
            case Refused(reason):
                values |= {"fate": "failed", "reason": reason}
            case Moved(moved):
                note = f"the chat is now {moved}: set TELEGRAM_CHAT_ID to it"
                values |= {"fate": "pending", "reason": note, "settled_at": None}
                _set_sender(connection, migrated_from=chat_id, migrated_to=moved, hold_reason=note)
                if claimed.chat_id == moved:  # it sends us in circles
                    values |= {"retry_at": now + LONGEST_PAUSE}
            case TryLater(reason, after):
                values |= _later(connection, row.tries, row.created_at, reason, after, now)
        connection.execute(update(messages).where(messages.c.id == claimed.number).values(**values))
        connection.execute(
            update(attempts)
            .where(attempts.c.id == claimed.attempt)
            .values(
                ended_at=now, outcome=f"{type(outcome).__name__}: {values.get('reason', '')}".rstrip(": ")
            )
        )


def _later(
    connection: Connection,
    tries: int,
    created_at: datetime,
    reason: str,
    after: timedelta | None,
    now: datetime,
) -> dict[str, object]:
    if after is not None:
        _set_sender(connection, hold_until=now + after, hold_reason=reason)
        return {"fate": "pending", "reason": reason, "settled_at": None, "retry_at": now + after}
    if now - created_at > GIVE_UP_AFTER:
        return {"fate": "failed", "reason": f"given up after {tries} tries: {reason}"}
    pause = min(FIRST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
    return {"fate": "pending", "reason": reason, "settled_at": None, "retry_at": now + pause}


def _set_sender(connection: Connection, **values: object) -> None:
    if connection.execute(update(sender).where(sender.c.id == 1).values(**values)).rowcount == 0:
        connection.execute(insert(sender).values(id=1, **({"hold_reason": ""} | values)))


def message(engine: Engine, number: int) -> Message | None:
    """One message."""
    ensure_tables(engine)
    with reading(engine) as connection:
        row = connection.execute(select(messages).where(messages.c.id == number)).first()
    return None if row is None else Message(*row)


def pending(engine: Engine) -> list[Message]:
    """The messages that are still to be sent, oldest first."""
    ensure_tables(engine)
    query = select(messages).where(messages.c.fate == "pending").order_by(messages.c.id)
    with reading(engine) as connection:
        return [Message(*row) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages are pending or may not have arrived, and since when the oldest has been pending.

    ``refused`` is why the newest message that was tried has failed; ``None`` when it has not.
    """

    pending: int
    delivery_unknown: int
    failed: int
    oldest_pending: datetime | None
    refused: str | None = None


def depth(engine: Engine) -> Depth:
    """Count what is in the outbox and is neither sent nor suppressed."""
    ensure_tables(engine)
    wanted = ("pending", "delivery_unknown", "failed")
    counted = (
        select(messages.c.fate, func.count(), func.min(messages.c.created_at))
        .where(messages.c.fate.in_(wanted))
        .group_by(messages.c.fate)
    )
    with reading(engine) as connection:
        found = {fate: (count, oldest) for fate, count, oldest in connection.execute(counted)}
        refused = _why_refused(connection)
    pending, unknown, failed = (found.get(fate, (0, None)) for fate in wanted)
    return Depth(pending[0], unknown[0], failed[0], pending[1], refused)


def why_refused(engine: Engine) -> str | None:
    """Why the newest message that was tried has failed; ``None`` if it did not, or none was tried."""
    ensure_tables(engine)
    with reading(engine) as connection:
        return _why_refused(connection)


def _why_refused(connection: Connection) -> str | None:
    tried = ("sent", "failed", "delivery_unknown")
    newest = connection.execute(
        select(messages.c.fate, messages.c.reason)
        .where(messages.c.fate.in_(tried))
        .order_by(messages.c.settled_at.desc(), messages.c.id.desc())
        .limit(1)
    ).first()
    return newest.reason if newest is not None and newest.fate == "failed" else None


@dataclass(frozen=True, slots=True)
class SentChange:
    """One change in a message."""

    topic: str
    kind: str
    at: datetime
    since: datetime
    until: datetime | None
    value: float | None
    threshold: float | None


def changes_in(engine: Engine, numbers: Sequence[int]) -> list[SentChange]:
    """The changes in the messages, in the order of time."""
    ensure_tables(engine)
    columns = (changes.c[field.name] for field in fields(SentChange))
    query = select(*columns).where(changes.c.message_id.in_(numbers)).order_by(changes.c.at, changes.c.topic)
    with reading(engine) as connection:
        return [SentChange(*row) for row in connection.execute(query)]


def newest(engine: Engine, limit: int = 20) -> list[Message]:
    """The newest messages, whatever their fate, newest first."""
    ensure_tables(engine)
    with reading(engine) as connection:
        query = select(messages).order_by(messages.c.id.desc()).limit(limit)
        return [Message(*row) for row in connection.execute(query)]


def enqueue_test(engine: Engine, html: str, now: datetime) -> int:
    """Write a test message; its number."""
    values = {"scope": "test", "rule": "test", "severity": "WARNING", "html": html, "created_at": now}
    values |= {"fate": "pending", "reason": "", "source_run": "", "source_partition": "", "tries": 0}
    with alert_transaction(engine) as connection:
        key = connection.execute(insert(messages).values(values)).inserted_primary_key
    assert key is not None  # noqa: S101 - the table has a primary key
    return int(key[0])
