"""Muted topics, and alerts about nodes that are no longer watched."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine, delete, insert, select, update

from tsobs_pipelines.alerting.machine import Status, TopicState
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.store import AlertStore, of_rule
from tsobs_pipelines.alerting.tables import alert_transaction, ensure_tables, incidents, mutes, topics
from tsobs_pipelines.database import reading


def mute(engine: Engine, topic: str, until: datetime) -> None:
    """Suppress the messages of a topic (or of all that match a pattern such as ``latency_*``)."""
    with alert_transaction(engine) as connection:
        connection.execute(delete(mutes).where(mutes.c.topic == topic))
        connection.execute(insert(mutes).values(topic=topic, until=until))


def unmute(engine: Engine, topic: str) -> bool:
    """End a mute; false when there was none."""
    with alert_transaction(engine) as connection:
        return connection.execute(delete(mutes).where(mutes.c.topic == topic)).rowcount > 0


def retire(alert_store: AlertStore, rule: Rule, watched: Collection[str]) -> list[str]:
    """Remove the topics of subjects that are no longer watched; returns those that fired.

    Their incidents end with the last evidence there was. Nothing is told: who took a node out knows.
    """
    ensure_tables(alert_store.engine)
    gone = of_rule(alert_store.scope, rule) & topics.c.subject.not_in(list(watched))
    with reading(alert_store.engine) as connection:
        if connection.execute(select(topics.c.topic).where(gone).limit(1)).first() is None:
            return []
    with alert_transaction(alert_store.engine) as connection:
        found = [
            TopicState.from_json(text) for text in connection.scalars(select(topics.c.state).where(gone))
        ]
        fired = [state for state in found if state.status is Status.FIRING]
        for state in fired:
            connection.execute(
                update(incidents)
                .where(incidents.c.scope == alert_store.scope, incidents.c.topic == state.topic)
                .where(incidents.c.until.is_(None), incidents.c.origin == "live")
                .values(until=state.last)
            )
        connection.execute(delete(topics).where(gone))
    return [state.topic for state in fired]
