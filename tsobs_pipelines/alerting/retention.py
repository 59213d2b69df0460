"""Deletes old rows of the alert state."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, delete, select

from tsobs_pipelines.alerting.tables import (
    alert_transaction,
    attempts,
    changes,
    deliveries,
    incidents,
    messages,
    observations,
    pictures,
)


def forget(engine: Engine, before: datetime) -> int:
    """Delete incidents that ended before then, settled messages, and observations of forecasts.

    Gives the number of rows that went.

    Raises:
        DatabaseError: the database refuses or does not answer.
    """
    settled = select(messages.c.id).where(messages.c.settled_at < before, messages.c.fate != "pending")
    over = incidents.c.until < before
    without_end = incidents.c.until.is_(None) & (incidents.c.origin == "historical")
    removals = (
        delete(changes).where(changes.c.message_id.in_(settled)),
        delete(attempts).where(attempts.c.message_id.in_(settled)),
        delete(pictures).where(pictures.c.message_id.in_(settled)),
        delete(deliveries).where(deliveries.c.message_id.in_(settled)),
        delete(messages).where(messages.c.id.in_(settled)),
        delete(incidents).where(over | (without_end & (incidents.c.since < before))),
        delete(observations).where(observations.c.time < before),
    )
    with alert_transaction(engine) as connection:
        return sum(connection.execute(removal).rowcount for removal in removals)
