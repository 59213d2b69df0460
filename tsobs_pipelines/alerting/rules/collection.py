"""No fresh round of any node: nothing is observed, or nothing of it arrives in the store."""

from __future__ import annotations

from datetime import datetime, timedelta

from tsobs_pipelines.alerting.evidence import LookEvidence
from tsobs_pipelines.alerting.machine import Confirmation, Signal, Status, TopicState, Verdict
from tsobs_pipelines.alerting.rule import SILENT_AFTER, Doc, Example, Rule, Severity
from tsobs_pipelines.alerting.text import clean
from tsobs_pipelines.tailnets import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import StoreError, TimeSeriesStore, Window

_LOOK_BACK = SILENT_AFTER + timedelta(minutes=2)


def look_at_freshness(
    store: TimeSeriesStore, tailnet: Tailnet, known: TopicState | None, now: datetime
) -> Signal:
    """Whether the newest round with a result is fresh."""
    newest, reason = newest_round(store, tailnet.name, now)
    return freshness_signal(newest or _last_known_round(known, now), now, reason)


def newest_round(store: TimeSeriesStore, tailnet: str, now: datetime) -> tuple[datetime | None, str]:
    """The newest round with a result, if it is fresh, and what is known about why there is none."""
    try:
        window = Window(now - _LOOK_BACK, now + timedelta(minutes=1))
        rows = store.read(CONNECTIONS, window, {"tailnet": tailnet})
    except StoreError as error:
        return None, f"the store can't be read ({clean(str(error), 200)})"
    known = [row.time for row in rows if row.connection_type != "unknown"]
    newest = max(known, default=None)
    if newest is not None and now - newest <= SILENT_AFTER:
        return newest, ""
    if len(rows) > len(known):
        return newest, "rounds arrive, but every probe fails: is tailscaled running beside the sidecar?"
    return newest, "nothing is collected: look at the sidecar and at the runs of collect_connections"


def _last_known_round(known: TopicState | None, now: datetime) -> datetime:
    """When the newest round was that an earlier look saw; the watch begins ``now`` when there was none."""
    if known is None or known.last is None or known.value is None:
        return now
    if known.status is Status.FIRING and known.since is not None:
        return known.since
    return known.last - timedelta(minutes=known.value)


def freshness_signal(last_round: datetime, now: datetime, reason: str) -> Signal:
    """Whether the newest round with a result is fresh; ``reason`` says what is known about why not."""
    age = now - last_round
    verdict = Verdict.BAD if age > SILENT_AFTER else Verdict.GOOD
    minutes = age.total_seconds() / 60
    return Signal(now, last_round, verdict, minutes, SILENT_AFTER.total_seconds() / 60, reason)


COLLECTION_SILENCE = Rule(
    key="collection",
    prefix="silence",
    title="No fresh rounds",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=1, good=1),
    evidence=LookEvidence(look_at_freshness),
    firing=lambda c: f"no fresh round of any node for {c.value or 0:.0f} minutes: {c.detail}",
    resolved=lambda _: "rounds arrive again",
    doc=Doc(
        about="",
        fires=(
            "no round with a result of any node for 15 minutes: sampler, sidecar, tailscaled, runs or store"
        ),
        is_over="one arrives",
        example=Example(
            "",
            value=16.0,
            detail="nothing is collected: look at the sidecar and at the runs of collect_connections",
            minutes=16,
        ),
    ),
)
