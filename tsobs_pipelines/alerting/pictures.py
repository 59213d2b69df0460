"""Pictures that follow Telegram messages, at most once each.

The text is the alert. A picture is claimed in the database before anything is drawn or sent, and nothing
about it is tried again: it may be missing, it never comes twice, and no text waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, insert, select, update

from tsobs_pipelines.alerting.channel import TELEGRAM, Moved, Outcome, Sent
from tsobs_pipelines.alerting.machine import Kind
from tsobs_pipelines.alerting.outbox import moved_to
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.tables import (
    alert_transaction,
    changes,
    channels,
    deliveries,
    ensure_tables,
    messages,
    pictures,
)
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import reading

PICTURE_WITHIN = timedelta(minutes=30)
"""A picture that would follow its text later than this is not sent."""

DIED = "claimed"
"""The outcome while a picture is being made; it stays if the process dies."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that Telegram has and that may get a picture: what it is about, with the limit it tells."""

    number: int
    receipt: int
    scope: str
    rule: str
    subject: str
    limit: float


Draw = Callable[[Wanted], bytes]


def send_pictures(
    engine: Engine, bot: Telegram, rules: Collection[Rule], draw: Draw, now: datetime
) -> list[str]:
    """Draw and send the picture of each message that wants one; what became of each.

    Raises:
        DatabaseError: the database refuses or does not answer.
    """
    outcomes = []
    for wanted in wanted_pictures(engine, rules, now):
        if not claim_picture(engine, wanted.number, now):
            continue
        outcome = _drawn_and_sent(engine, bot, draw, wanted)
        with alert_transaction(engine) as connection:
            mine = pictures.c.message_id == wanted.number
            connection.execute(update(pictures).where(mine).values(outcome=outcome))
        outcomes.append(f"{wanted.number}: {outcome}")
    return outcomes


def wanted_pictures(engine: Engine, rules: Collection[Rule], now: datetime) -> list[Wanted]:
    """The messages of the last minutes that Telegram has, about something that began or goes on.

    Of several subjects the worst is drawn. None while Telegram has asked us to wait.
    """
    ensure_tables(engine)
    prefixes = {rule.key: f"{rule.topic('')}_" for rule in rules}
    mine = deliveries.c.message_id == messages.c.id
    sent = (deliveries.c.channel == TELEGRAM) & (deliveries.c.fate == "sent")
    told = (changes.c.topic, changes.c.kind, changes.c.value, changes.c.threshold)
    query = (
        select(messages.c.id, messages.c.scope, messages.c.rule, deliveries.c.receipt, *told)
        .join(deliveries, mine & sent & deliveries.c.receipt.is_not(None))
        .join(changes, changes.c.message_id == messages.c.id)
        .where(messages.c.rule.in_(list(prefixes)), messages.c.created_at > now - PICTURE_WITHIN)
        .where(messages.c.id.not_in(select(pictures.c.message_id)))
        .order_by(messages.c.id, changes.c.at)
    )
    with reading(engine) as connection:
        held = connection.scalars(select(channels.c.hold_until).where(channels.c.name == TELEGRAM)).first()
        rows = [] if held is not None and held > now else connection.execute(query).all()
    newest = {(row.id, row.topic): row for row in rows}
    bad = [row for row in newest.values() if row.kind != Kind.RESOLVED and row.threshold]
    worst = {row.id: row for row in sorted(bad, key=lambda row: (row.value or 0.0) / row.threshold)}
    return [
        Wanted(
            number,
            row.receipt,
            row.scope,
            row.rule,
            row.topic.removeprefix(prefixes[row.rule]),
            row.threshold,
        )
        for number, row in sorted(worst.items())
    ]


def claim_picture(engine: Engine, number: int, now: datetime) -> bool:
    """Mark the message as one that has had its picture; false when somebody else has."""
    with alert_transaction(engine) as connection:
        mine = pictures.c.message_id == number
        if connection.execute(select(pictures.c.message_id).where(mine)).first() is not None:
            return False
        connection.execute(insert(pictures).values(message_id=number, claimed_at=now, outcome=DIED))
    return True


def _drawn_and_sent(engine: Engine, bot: Telegram, draw: Draw, wanted: Wanted) -> str:
    try:
        png = draw(wanted)
    except Exception as error:  # noqa: BLE001 - whatever it is, the text was sent, and a run must not fail for it
        return f"not drawn ({type(error).__name__})"
    with reading(engine) as connection:
        told = connection.execute(select(channels).where(channels.c.name == TELEGRAM)).first()
    return _said(bot.send_photo(png, wanted.receipt, moved_to(told, bot.chat_id)))


def _said(outcome: Outcome) -> str:
    if isinstance(outcome, Sent):
        return "sent"
    if isinstance(outcome, Moved):
        return "not sent: the chat has moved"
    return f"not sent: {outcome.reason}"
