"""The text of messages: from the changes of one evaluation to drafts of messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from tsobs_pipelines.alerting.machine import Change, Kind, Voice
from tsobs_pipelines.alerting.rule import Rule, Severity
from tsobs_pipelines.alerting.text import escape, fit, link

TELL_WITHIN = timedelta(hours=24)
"""News that is older (the watcher was down for days) is kept in the history and not sent."""

EMOJI: Mapping[Severity, str] = {
    Severity.WARNING: "⚠️",
    Severity.CRITICAL: "🚨",
    Severity.RESOLVED: "✅",
}


@dataclass(frozen=True, slots=True)
class Source:
    """The source of an evaluation's data, and the pages that a message links to.

    ``mark`` is put before the text: that the data are simulated, or which of several tailnets they are
    of. It is empty where nothing has to be said.
    """

    page_url: str
    dagster_url: str
    mark: str = ""
    run_id: str = ""
    partition: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the topics when messages are planned.

    ``unannounced`` are topics that fire and were in no message yet, ``stale`` those whose newest evidence is
    too old to say what is now; ``firing`` and ``watched`` count the rule's topics after the changes;
    changes before ``current_from`` are out of date.
    """

    now: datetime
    muted: Mapping[str, datetime]
    unannounced: frozenset[str]
    stale: frozenset[str]
    firing: int
    watched: int
    current_from: datetime


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft of a message; an empty ``kept_back`` means that it is to be sent, else it says why not."""

    severity: Severity
    html: str
    changes: tuple[Change, ...]
    kept_back: str = ""


def plan(rule: Rule, changes: Sequence[Change], facts: Facts, source: Source) -> list[Draft]:
    """One draft for all changes to be sent, and one for each reason for which changes are held back."""
    groups: dict[str, list[Change]] = {}
    by_topic: dict[str, list[Change]] = {}
    for change in changes:
        if change.voice is Voice.HELD:
            groups.setdefault("flapping: said again once it settles", []).append(change)
        else:
            by_topic.setdefault(change.topic, []).append(change)
    for topic, mine in by_topic.items():
        groups.setdefault(_kept_back(topic, mine, facts), []).extend(mine)
    # What is to be sent comes first, so that its message has the lower number.
    return [_draft(rule, groups[reason], facts, source, reason) for reason in sorted(groups)]


def _kept_back(topic: str, changes: Sequence[Change], facts: Facts) -> str:
    last = changes[-1]
    if topic in facts.muted:
        return f"muted until {facts.muted[topic]:%Y-%m-%d %H:%M} UTC"
    if last.kind is not Kind.RESOLVED:
        stale = "old data: said once newer data say that it goes on"
        return stale if topic in facts.stale else ""
    if last.at < facts.current_from:
        return "out of date: over before the watch began, or for more than a day"
    if topic in facts.unannounced and all(change.kind is Kind.RESOLVED for change in changes):
        return "its beginning was not told either"
    return ""


def _draft(rule: Rule, changes: Sequence[Change], facts: Facts, source: Source, reason: str) -> Draft:
    newest: dict[str, Change] = {}
    began: dict[str, int] = {}
    for change in changes:
        newest[change.topic] = change
        began[change.topic] = began.get(change.topic, 0) + (change.kind is Kind.FIRING)
    last = sorted(newest.values(), key=lambda change: (change.kind is Kind.RESOLVED, change.topic))
    firing = [change for change in last if change.kind is not Kind.RESOLVED]
    severity = rule.severity if firing else Severity.RESOLVED
    mark = escape(f" [{source.mark}]") if source.mark else ""
    lines = [_line(rule, change, began[change.topic], facts.now) for change in last]
    if len(lines) == 1:
        head, lines = f"{_mark(severity)}{mark} {lines[0]}", []
    elif len(firing) > 1 and 2 * facts.firing > facts.watched and (together := _together(rule, firing)):
        text = f"{facts.firing} of {facts.watched} nodes: {together}"
        head = f"{_mark(Severity.CRITICAL)}{mark} {escape(text)}"
        severity = Severity.CRITICAL
    else:
        head = f"{_mark(severity)}{mark} {len(last)} changes"
    if not head.endswith("\n") and lines:
        marks = [_mark(rule.severity if c.kind is not Kind.RESOLVED else Severity.RESOLVED) for c in last]
        mixed = len(firing) not in {0, len(last)}
        lines = [
            f"• {mark} {line}" if mixed else f"• {line}" for mark, line in zip(marks, lines, strict=True)
        ]
    subjects = {change.subject for change in last} if rule.doc.about == "node" else set()
    page_url = _page_of(source, subjects)
    return Draft(severity, fit(head, lines, _foot(source, page_url)), tuple(changes), reason)


def _page_of(source: Source, nodes: Set[str]) -> str:
    """The page, with the node chosen when the message is about one."""
    if len(nodes) != 1:
        return source.page_url
    joint = "&" if "#" in source.page_url else "#"
    return f"{source.page_url}{joint}{urlencode({'node': next(iter(nodes)), 'range': 24})}"


def _together(rule: Rule, firing: Sequence[Change]) -> str:
    return rule.together(firing) if rule.together else ""


def _mark(severity: Severity) -> str:
    return f"{EMOJI[severity]} <b>{severity.value}</b>"


def _line(rule: Rule, change: Change, began: int, now: datetime) -> str:
    """One change as HTML: what, how bad, since when."""
    if change.kind is Kind.RESOLVED:
        text = rule.resolved(change)
        until = change.until or change.at
        span = f"{stamp(change.since, now)} to {stamp(until, now)} ({duration(until - change.since)})"
        extra = [f"it lasted from {span}"]
    else:
        text = rule.firing(change)
        still = "still, " if change.kind is Kind.STILL else ""
        extra = [f"{still}since {stamp(change.since, now)} ({duration(now - change.since)})"]
    if began > 1:
        extra.append(f"{began} times since the last look")
    if change.flaps:
        extra.append(f"flapping: {change.flaps} changes were not told")
    return escape(f"{text}; {'; '.join(extra)}")


def _foot(source: Source, page_url: str) -> str:
    links = [link("page", page_url)]
    if source.run_id:
        label = f"data of {source.partition}" if source.partition else "run"
        links.append(link(label, f"{source.dagster_url}/runs/{source.run_id}"))
    else:
        links.append(link("Dagster", source.dagster_url))
    return " · ".join(links)


def stamp(time: datetime, now: datetime) -> str:
    """A time as people read it, with the date where it is not today's."""
    return f"{time:%H:%M} UTC" if time.date() == now.date() else f"{time:%Y-%m-%d %H:%M} UTC"


def duration(span: timedelta) -> str:
    """A duration as people read it."""
    minutes = max(0, round(span.total_seconds() / 60))
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
