"""A node's key that is about to expire; the node is unreachable afterwards until it logs in again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tsobs_pipelines.alerting.evidence import LatestEvidence
from tsobs_pipelines.alerting.machine import Change, Confirmation, Signal, Verdict
from tsobs_pipelines.alerting.rule import Doc, Example, Icon, Rule, Severity
from tsobs_pipelines.alerting.rules.node_silence import SILENCE_ALERTS
from tsobs_pipelines.timeseries.schema import KEYS, KeyRow

KEY_STAGES = (timedelta(days=14), timedelta(days=3), timedelta(days=1))
"""How long before its expiry a key is told, each time once."""

_DAY = timedelta(days=1)
_REMEDY = "log in again there (tailscale up --force-reauth), or disable its expiry in the admin console"


def key_signals(rows: Sequence[KeyRow], at: datetime) -> dict[str, list[Signal]]:
    """How long each key is still valid, in days, and which of the stages that is."""
    return {row.hostname: [_signal(row, at)] for row in rows}


def _signal(row: KeyRow, at: datetime) -> Signal:
    expiry = None if row.expires_at is None else datetime.fromtimestamp(row.expires_at, UTC)
    if expiry is not None and row.expired and expiry > at:
        expiry = None  # The control server had it expire before its time.
    left = None if expiry is None else expiry - at
    gone = len(KEY_STAGES) if row.expired else 0
    level = gone if left is None else sum(left <= stage for stage in KEY_STAGES)
    begin = at if expiry is None else min(at, expiry - KEY_STAGES[0])
    own = " (the sidecar's own node)" if row.own else ""
    detail = f"the key of {row.hostname}{own} {_said(row, expiry, at)}"
    verdict = Verdict.BAD if level else Verdict.GOOD
    return Signal(at, begin, verdict, None if left is None else round(left / _DAY, 2), None, detail, level)


def _said(row: KeyRow, expiry: datetime | None, at: datetime) -> str:
    if expiry is None:
        return "expired" if row.expired else "does not expire"
    stamp = f"{expiry:%Y-%m-%d %H:%M} UTC"
    return f"expired at {stamp}" if expiry <= at else f"expires at {stamp}"


def _firing(change: Change) -> str:
    days = change.value
    left = "" if days is None or days <= 0 else f", in {_span(days)}"
    return f"{change.detail}{left}: {_REMEDY}"


def _span(days: float) -> str:
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


KEY_EXPIRY = Rule(
    key="key",
    title="Key expires",
    icon=Icon.SQUARE,
    severity=Severity.WARNING,
    confirmation=Confirmation(bad=1, good=1),
    evidence=LatestEvidence(KEYS, lambda rows, _tailnet, at: key_signals(rows, at)),
    asset=SILENCE_ALERTS,
    firing=_firing,
    resolved=lambda c: f"the key of {c.subject} is valid again",
    repeats=False,
    doc=Doc(
        about="node",
        fires="the key of a critical node, or of the sidecar's own, expires in 14 days; again at 3 and at 1",
        is_over="it was renewed, or does not expire",
        example=Example(
            "git", value=14.0, detail="the key of git expires at 2026-12-08 10:05 UTC", value_after=180.0
        ),
    ),
)
