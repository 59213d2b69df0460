"""The outbox: stores messages, sends them through every channel, and records the fate of each.

A message has a delivery for each channel, and each delivery a fate of its own: ``pending`` (to be sent or
retried), ``sent``, ``suppressed`` (not to be sent, with the reason), ``delivery_unknown`` (it may have
arrived; never resent automatically), ``failed`` (not delivered). The fate of a message sums them up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, Engine, Row, case, insert, select, update

from tsobs_pipelines.alerting.channel import (
    Channel,
    Letter,
    Moved,
    Outcome,
    Refused,
    Sent,
    TryLater,
    Unknown,
)
from tsobs_pipelines.alerting.rule import Severity
from tsobs_pipelines.alerting.tables import (
    alert_transaction,
    attempts,
    changes,
    channels,
    deliveries,
    ensure_tables,
    messages,
)
from tsobs_pipelines.database import reading

LEASE = timedelta(seconds=60)
"""Longer than any send takes: an attempt without an end after this has died with its process."""

GIVE_UP_AFTER = timedelta(hours=24)
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(minutes=15)
STUCK_TRIES = 8
"""After this many tries newer messages go first: the fault may lie in this message."""

Fate: TypeAlias = Literal["pending", "sent", "suppressed", "delivery_unknown", "failed"]
WORST_FIRST: tuple[Fate, ...] = ("pending", "failed", "delivery_unknown", "sent", "suppressed")
"""A message has the first of these that one of its deliveries has."""

NO_CHANNEL = "no TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID, and no TSOBS_NOTIFY_URLS: the outbox keeps it"
CHANNEL_GONE = "the settings no longer have this channel"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this process may make until its lease ends; the attempt is written down.

    ``number`` is the message's, ``channel`` the channel's name.
    """

    number: int
    attempt: int
    channel: str
    letter: Letter


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message in one channel; ``retry_at`` is when a pending one is due."""

    channel: str
    fate: Fate
    reason: str
    receipt: int | None
    settled_at: datetime | None
    retry_at: datetime | None
    tries: int
    leased_until: datetime | None


@dataclass(frozen=True, slots=True)
class Message:
    """A message and its fate, which sums up its deliveries."""

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
    settled_at: datetime | None
    deliveries: tuple[Delivery, ...] = ()

    @property
    def tried(self) -> bool:
        """Whether a channel has tried to send it."""
        return any(delivery.tries for delivery in self.deliveries)


def deliver(
    engine: Engine, to: Sequence[Channel], clock: Callable[[], datetime], limit: int = 50
) -> list[int]:
    """Send what is due through every channel, oldest first, until nothing is.

    Each channel has its own thread, so that one that is slow or fails does not delay the others, and sends at
    most ``limit`` messages. Several processes may do this at once.

    Returns:
        the numbers of the messages that were tried, in their order.
    """
    hand_over(engine, [channel.name for channel in to], clock())
    if len(to) < 2:
        return [number for channel in to for number in _deliver_by(engine, channel, clock, limit)]
    with ThreadPoolExecutor(len(to)) as pool:
        work = [pool.submit(_deliver_by, engine, channel, clock, limit) for channel in to]
    return sorted({number for done in work for number in done.result()})


def _deliver_by(engine: Engine, channel: Channel, clock: Callable[[], datetime], limit: int) -> list[int]:
    tried: list[int] = []
    while len(tried) < limit and (claimed := claim(engine, channel, clock())) is not None:
        tried.append(claimed.number)
        settle(engine, claimed, _outcome_of(channel, claimed.letter), clock(), channel.chat_id)
    return tried


def _outcome_of(channel: Channel, letter: Letter) -> Outcome:
    try:
        return channel.deliver(letter)
    except Exception as error:  # noqa: BLE001 - a bug in one channel must not cost the others their messages
        return Unknown(f"{type(error).__name__} while it was sent; it may have arrived")


def hand_over(engine: Engine, names: Collection[str], now: datetime) -> None:
    """Give each new message a delivery for every channel of these names; settle what nobody will send.

    Attempts whose process died become ``delivery_unknown``. What waits for a channel that the settings no
    longer have, or for any while there is none, becomes ``suppressed``.
    """
    ensure_tables(engine)
    pending = messages.c.fate == "pending"
    with reading(engine) as connection:
        if connection.execute(select(messages.c.id).where(pending).limit(1)).first() is None:
            return
    with alert_transaction(engine) as connection:
        touched = _bury_dead_attempts(connection, now)
        touched |= _suppress_for_gone(connection, names, now)
        _summarise(connection, touched)
        known = select(deliveries.c.message_id)
        new = list(connection.scalars(select(messages.c.id).where(pending, messages.c.id.not_in(known))))
        if new and not names:
            values = {"fate": "suppressed", "reason": NO_CHANNEL, "settled_at": now}
            connection.execute(update(messages).where(messages.c.id.in_(new)).values(values))
        elif new:
            rows = [
                {"message_id": number, "channel": name, "fate": "pending", "reason": "", "tries": 0}
                for number in new
                for name in names
            ]
            connection.execute(insert(deliveries), rows)


def claim(engine: Engine, channel: Channel, now: datetime) -> Claimed | None:
    """Claim the channel's next delivery that is due, and record the attempt before anything is sent.

    One message is in flight at a time in a channel: they arrive in the order of what happened.
    """
    mine = (deliveries.c.channel == channel.name) & (deliveries.c.fate == "pending")
    with reading(engine) as connection:
        if connection.execute(select(deliveries.c.id).where(mine).limit(1)).first() is None:
            return None
    with alert_transaction(engine) as connection:
        told = connection.execute(select(channels).where(channels.c.name == channel.name)).first()
        if told is not None and told.hold_until is not None and told.hold_until > now:
            return None
        stuck = case((deliveries.c.tries >= STUCK_TRIES, 1), else_=0)
        first = connection.execute(
            select(deliveries).where(mine).order_by(stuck, deliveries.c.message_id).limit(1)
        ).first()
        if first is None or _in_flight(connection, mine):
            return None
        if first.retry_at is not None and first.retry_at > now:
            return None
        connection.execute(
            update(deliveries)
            .where(deliveries.c.id == first.id)
            .values(leased_until=now + LEASE, tries=deliveries.c.tries + 1)
        )
        attempt = {"message_id": first.message_id, "channel": channel.name, "started_at": now}
        key = connection.execute(insert(attempts).values(**attempt, outcome="started")).inserted_primary_key
        assert key is not None  # noqa: S101 - the table has a primary key
        moved = moved_to(told, channel.chat_id)
        row = connection.execute(select(messages).where(messages.c.id == first.message_id)).one()
        letter = Letter(row.html, Severity(row.severity), moved)
        return Claimed(first.message_id, int(key[0]), channel.name, letter)


def moved_to(told: Row[Any] | None, chat_id: str) -> str | None:
    """Where the chat of the settings is now, by the row of ``channels``; ``None`` if it has not moved."""
    return told.migrated_to if told is not None and told.migrated_from == chat_id else None


def _in_flight(connection: Connection, mine: ColumnElement[bool]) -> bool:
    leased = select(deliveries.c.id).where(mine, deliveries.c.leased_until.is_not(None))
    return connection.execute(leased.limit(1)).first() is not None


def _bury_dead_attempts(connection: Connection, now: datetime) -> set[int]:
    dead = (deliveries.c.fate == "pending") & (deliveries.c.leased_until <= now)
    found = connection.execute(select(deliveries.c.message_id, deliveries.c.channel).where(dead)).all()
    reason = "the sending process died in between; it may have arrived"
    for number, name in found:
        connection.execute(
            update(attempts)
            .where(attempts.c.message_id == number, attempts.c.channel == name)
            .where(attempts.c.ended_at.is_(None))
            .values(ended_at=now, outcome="died")
        )
    if found:
        values = {"fate": "delivery_unknown", "reason": reason, "settled_at": now, "leased_until": None}
        connection.execute(update(deliveries).where(dead).values(values))
    return {number for number, _ in found}


def _suppress_for_gone(connection: Connection, names: Collection[str], now: datetime) -> set[int]:
    pending = (deliveries.c.fate == "pending") & deliveries.c.leased_until.is_(None)
    gone = pending & deliveries.c.channel.not_in(list(names))
    found = set(connection.scalars(select(deliveries.c.message_id).where(gone)))
    if found:
        values = {"fate": "suppressed", "reason": CHANNEL_GONE, "settled_at": now}
        connection.execute(update(deliveries).where(gone).values(values))
    return found


def _summarise(connection: Connection, numbers: Collection[int]) -> None:
    """Write the fate of messages from those of their deliveries."""
    for number in numbers:
        found = connection.execute(select(deliveries).where(deliveries.c.message_id == number)).all()
        fate = next(fate for fate in WORST_FIRST if fate in {one.fate for one in found})
        settled = None if fate == "pending" else max(one.settled_at for one in found)
        each = [f"{one.channel}: {one.fate}" + (f" ({one.reason})" if one.reason else "") for one in found]
        reason = found[0].reason if len(found) == 1 else "; ".join(each)
        values = {"fate": fate, "reason": reason, "settled_at": settled}
        connection.execute(update(messages).where(messages.c.id == number).values(values))


def settle(engine: Engine, claimed: Claimed, outcome: Outcome, now: datetime, chat_id: str) -> None:
    """Record the result of an attempt."""
    with alert_transaction(engine) as connection:
        mine = (deliveries.c.message_id == claimed.number) & (deliveries.c.channel == claimed.channel)
        tries = connection.execute(select(deliveries.c.tries).where(mine)).scalar_one()
        created_at = select(messages.c.created_at).where(messages.c.id == claimed.number)
        values: dict[str, object] = {"leased_until": None, "settled_at": now, "retry_at": None}
        match outcome:
            case Sent(number, note):
                values |= {"fate": "sent", "receipt": number, "reason": note}
            case Unknown(reason):
                values |= {"fate": "delivery_unknown", "reason": reason}
            case Refused(reason):
                values |= {"fate": "failed", "reason": reason}
            case Moved(moved):
                note = f"the chat is now {moved}: set TELEGRAM_CHAT_ID to it"
                values |= {"fate": "pending", "reason": note, "settled_at": None}
                moves = {"migrated_from": chat_id, "migrated_to": moved}
                _note_about(connection, claimed.channel, **moves, hold_reason=note)
                if claimed.letter.chat_id == moved:  # it sends us in circles
                    values |= {"retry_at": now + LONGEST_PAUSE}
            case TryLater(reason, after):
                age = now - connection.execute(created_at).scalar_one()
                values |= _later(tries, age, reason, after, now)
                if after is not None:
                    _note_about(connection, claimed.channel, hold_until=now + after, hold_reason=reason)
        connection.execute(update(deliveries).where(mine).values(**values))
        _summarise(connection, [claimed.number])
        connection.execute(
            update(attempts)
            .where(attempts.c.id == claimed.attempt)
            .values(
                ended_at=now, outcome=f"{type(outcome).__name__}: {values.get('reason', '')}".rstrip(": ")
            )
        )


def _later(
    tries: int, age: timedelta, reason: str, after: timedelta | None, now: datetime
) -> dict[str, object]:
    if after is not None:
        return {"fate": "pending", "reason": reason, "settled_at": None, "retry_at": now + after}
    if age > GIVE_UP_AFTER:
        return {"fate": "failed", "reason": f"given up after {tries} tries: {reason}"}
    pause = min(FIRST_PAUSE * 2 ** min(tries - 1, 10), LONGEST_PAUSE)
    return {"fate": "pending", "reason": reason, "settled_at": None, "retry_at": now + pause}


def _note_about(connection: Connection, name: str, **values: object) -> None:
    if connection.execute(update(channels).where(channels.c.name == name).values(**values)).rowcount == 0:
        connection.execute(insert(channels).values(name=name, **values))


def message(engine: Engine, number: int) -> Message | None:
    """One message."""
    return next(iter(messages_of(engine, [number])), None)


def messages_of(engine: Engine, numbers: Collection[int]) -> list[Message]:
    """The messages of these numbers that there are, oldest first."""
    return _read(engine, messages.c.id.in_(numbers))


def pending(engine: Engine) -> list[Message]:
    """The messages that a channel is still to send, oldest first."""
    return _read(engine, messages.c.fate == "pending")


def newest(engine: Engine, limit: int = 20) -> list[Message]:
    """The newest messages, whatever their fate, newest first."""
    ensure_tables(engine)
    with reading(engine) as connection:
        found = connection.scalars(select(messages.c.id).order_by(messages.c.id.desc()).limit(limit)).all()
    return messages_of(engine, found)[::-1]


def _read(engine: Engine, which: ColumnElement[bool]) -> list[Message]:
    ensure_tables(engine)
    columns = (deliveries.c[field.name] for field in fields(Delivery))
    with reading(engine) as connection:
        rows = connection.execute(select(messages).where(which).order_by(messages.c.id)).all()
        numbers = [row.id for row in rows]
        query = (
            select(deliveries.c.message_id, *columns)
            .where(deliveries.c.message_id.in_(numbers))
            .order_by(deliveries.c.id)
        )
        made = _grouped(connection.execute(query)) if rows else {}
    return [replace(Message(*row), deliveries=tuple(made.get(row.id, ()))) for row in rows]


def _grouped(rows: Iterable[Sequence[object]]) -> dict[object, list[Delivery]]:
    found: dict[object, list[Delivery]] = defaultdict(list)
    for number, *values in rows:
        found[number].append(Delivery(*values))  # type: ignore[arg-type]
    return found


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


def enqueue_test(engine: Engine, html: str, now: datetime) -> int:
    """Write a test message; its number."""
    values = {"scope": "test", "rule": "test", "severity": "RESOLVED", "html": html, "created_at": now}
    values |= {"fate": "pending", "reason": "", "source_run": "", "source_partition": ""}
    with alert_transaction(engine) as connection:
        key = connection.execute(insert(messages).values(values)).inserted_primary_key
    assert key is not None  # noqa: S101 - the table has a primary key
    return int(key[0])
