"""How much waits in the outbox, and which channels refuse messages, for health, metrics and the doctor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, FromClause, func, select

from tsobs_pipelines.alerting.tables import deliveries, ensure_tables, messages
from tsobs_pipelines.database import reading

_UNSENT = ("pending", "delivery_unknown", "failed")


@dataclass(frozen=True, slots=True)
class ChannelDepth:
    """What one channel has not sent, and since when the oldest has been pending, with its last failure.

    ``refused`` is why the newest message that was tried has failed; ``None`` when it has not.
    """

    pending: int = 0
    delivery_unknown: int = 0
    failed: int = 0
    oldest_pending: datetime | None = None
    waits_for: str = ""
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Depth:
    """How many messages are pending or may not have arrived, and since when the oldest has been pending.

    ``channels`` has the same for each channel of the settings, by name.
    """

    pending: int
    delivery_unknown: int
    failed: int
    oldest_pending: datetime | None
    channels: Mapping[str, ChannelDepth] = field(default_factory=dict)

    @property
    def refused(self) -> Mapping[str, str]:
        """Why the newest message was refused, by channel; empty when none was."""
        return {name: one.refused for name, one in self.channels.items() if one.refused is not None}


def depth(engine: Engine, names: Collection[str]) -> Depth:
    """Count what is in the outbox and is neither sent nor suppressed; ``names`` are the channels' names.

    The counts by channel leave out channels that the settings no longer have.
    """
    ensure_tables(engine)
    with reading(engine) as connection:
        of_messages = _unsent(connection, messages.c.fate, messages)
        return Depth(*of_messages, {name: _of_channel(connection, name) for name in names})


def _of_channel(connection: Connection, name: str) -> ChannelDepth:
    mine = deliveries.c.channel == name
    joined = deliveries.join(messages, messages.c.id == deliveries.c.message_id)
    waiting = select(deliveries.c.reason).where(mine, deliveries.c.fate == "pending")
    reason = connection.scalars(waiting.order_by(deliveries.c.message_id).limit(1)).first() or ""
    counts = _unsent(connection, deliveries.c.fate, joined, mine)
    return ChannelDepth(*counts, reason, _why_refused(connection, name))


def _unsent(
    connection: Connection, fate: ColumnElement[str], rows: FromClause, *where: ColumnElement[bool]
) -> tuple[int, int, int, datetime | None]:
    """How many of the rows have each fate of ``_UNSENT``, and when the oldest pending message was made."""
    query = (
        select(fate, func.count(), func.min(messages.c.created_at))
        .select_from(rows)
        .where(fate.in_(_UNSENT), *where)
        .group_by(fate)
    )
    found = {one: (count, oldest) for one, count, oldest in connection.execute(query)}
    pending, unknown, failed = (found.get(one, (0, None)) for one in _UNSENT)
    return pending[0], unknown[0], failed[0], pending[1]


def refusals(engine: Engine, names: Collection[str]) -> dict[str, str]:
    """Why each channel refused the newest message that it tried; the others are left out."""
    ensure_tables(engine)
    with reading(engine) as connection:
        found = {name: _why_refused(connection, name) for name in names}
    return {name: reason for name, reason in found.items() if reason is not None}


def _why_refused(connection: Connection, name: str) -> str | None:
    tried = deliveries.c.fate.in_(("sent", "failed", "delivery_unknown"))
    newest = connection.execute(
        select(deliveries.c.fate, deliveries.c.reason)
        .where(deliveries.c.channel == name, tried)
        .order_by(deliveries.c.settled_at.desc(), deliveries.c.id.desc())
        .limit(1)
    ).first()
    return newest.reason if newest is not None and newest.fate == "failed" else None


def told_refusals(refused: Mapping[str, str]) -> str:
    """The refusals as one clause for a person."""
    return "; ".join(f"{name}: the newest message was refused: {reason}" for name, reason in refused.items())
