"""The rules as the documentation shows them: a table, and example messages of each rule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tsobs_pipelines.alerting.machine import Change, Kind, Voice
from tsobs_pipelines.alerting.messages import Facts, Source, plan
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules import RULES
from tsobs_pipelines.alerting.text import plain

NOW = datetime(2026, 11, 24, 10, 16, tzinfo=UTC)
"""When the examples are told; those that are over ended a minute before."""

HOST = "https://tsobs.tail1234.ts.net"
SOURCE = Source(f"{HOST}/vpn.html", f"{HOST}:3000", "", "4f2a", "2026-11-24")
_WATCHED = 3


def rules_table() -> str:
    """What fires and what is over, as a Markdown table."""
    lines = ["| topic | fires | is over | severity |", "| --- | --- | --- | --- |"]
    for rule in RULES.values():
        topic = rule.topic(f"<{rule.doc.about}>" if rule.doc.about else "")
        lines.append(f"| `{topic}` | {rule.doc.fires} | {rule.doc.is_over} | {rule.severity} |")
    return "\n".join(lines)


def rules_messages() -> str:
    """The message at the beginning and at the end of each rule's example, without their links."""
    pairs = ("\n".join(_first_line(rule, change) for change in _told(rule)) for rule in RULES.values())
    return "\n\n".join(pairs)


def example(rule: Rule) -> Change:
    """The change with which a rule's example begins to fire."""
    shown = rule.doc.example
    return Change(
        topic=rule.topic(shown.subject),
        subject=shown.subject,
        kind=Kind.FIRING,
        voice=Voice.NOW,
        at=NOW,
        since=NOW - timedelta(minutes=shown.minutes),
        value=shown.value,
        worst=shown.value,
        limit=shown.limit,
        detail=shown.detail,
    )


def message(rule: Rule, *changes: Change, firing: int = 1) -> str:
    """The text of a message about changes of a rule, of whose topics so many fire."""
    facts = Facts(NOW, {}, frozenset(), frozenset(), firing, _WATCHED, NOW - timedelta(days=1))
    (draft,) = plan(rule, changes, facts, SOURCE)
    return plain(draft.html)


def _told(rule: Rule) -> tuple[Change, Change]:
    began = example(rule)
    over = Change(
        topic=began.topic,
        subject=began.subject,
        kind=Kind.RESOLVED,
        voice=Voice.NOW,
        at=NOW,
        since=began.since,
        until=NOW - timedelta(minutes=1),
        value=rule.doc.example.value_after,
        worst=began.worst,
        limit=began.limit,
        detail=began.detail,
    )
    return began, over


def _first_line(rule: Rule, change: Change) -> str:
    return message(rule, change, firing=int(change.kind is Kind.FIRING)).splitlines()[0]
