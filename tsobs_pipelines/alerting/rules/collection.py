"""No fresh round of any node: nothing is observed, or the rounds do not reach the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tsobs_pipelines.alerting.evidence import QueryEvidence
from tsobs_pipelines.alerting.machine import Confirmation, Signal, Status, TopicState, Verdict
from tsobs_pipelines.alerting.rule import Doc, Example, Rule, Severity
from tsobs_pipelines.alerting.text import clean
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.evidence import newest_taken
from tsobs_pipelines.timeseries.sampling import SILENT_AFTER, Sampling, sampling_at
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import StoreError, TimeSeriesStore, Window

_A_MINUTE = Sampling()
_OVERLAP = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class NewestRound:
    """When the newest round was taken, how often one is due, and why there is none that is fresh."""

    at: datetime | None
    sampling: Sampling = _A_MINUTE
    reason: str = ""


def collection_signal(
    store: TimeSeriesStore, tailnet: Tailnet, known: TopicState | None, now: datetime
) -> Signal:
    """Whether the newest round that was taken is fresh."""
    newest = newest_round(store, tailnet.name, now)
    last = newest.at or _last_known_round(known, now)
    return freshness_signal(last, now, newest.reason, newest.sampling.stale_after)


def newest_round(store: TimeSeriesStore, tailnet: str, now: datetime) -> NewestRound:
    """The newest round that was taken, and what is known about why none is fresh.

    A round that was taken counts, whatever it says: a node that is not in the tailnet is told as that node's.
    """
    try:
        sampling = sampling_at(store, tailnet, now)
        window = Window(now - sampling.stale_after - _OVERLAP, now + timedelta(minutes=1))
        rows = store.read(CONNECTIONS, window, {"tailnet": tailnet})
    except StoreError as error:
        return NewestRound(None, reason=f"the store can't be read ({clean(str(error), 200)})")
    newest, reason = newest_taken(rows)
    if newest is not None and now - newest <= sampling.stale_after:
        return NewestRound(newest, sampling)
    why = "nothing is collected: look at the sidecar and at the runs of collect_connections"
    if reason:
        why = f"rounds arrive, but none could be taken: {clean(reason, 200)}"
    return NewestRound(newest, sampling, why)


def _last_known_round(known: TopicState | None, now: datetime) -> datetime:
    """The newest round that an earlier evaluation saw; ``now`` if there was none."""
    if known is None or known.last is None or known.value is None:
        return now
    if known.status is Status.FIRING and known.since is not None:
        return known.since
    return known.last - timedelta(minutes=known.value)


def freshness_signal(
    last_round: datetime, now: datetime, reason: str, stale_after: timedelta = SILENT_AFTER
) -> Signal:
    """Whether the newest round that was taken is fresh; ``reason`` says why not, as far as known."""
    age = now - last_round
    verdict = Verdict.BAD if age > stale_after else Verdict.GOOD
    minutes = age.total_seconds() / 60
    return Signal(now, last_round, verdict, minutes, stale_after.total_seconds() / 60, reason)


COLLECTION_SILENCE = Rule(
    key="collection",
    prefix="silence",
    title="No fresh rounds",
    severity=Severity.CRITICAL,
    confirmation=Confirmation(bad=1, good=1),
    evidence=QueryEvidence(collection_signal),
    firing=lambda c: f"no fresh round of any node for {c.value or 0:.0f} minutes: {c.detail}",
    resolved=lambda _: "rounds arrive again",
    doc=Doc(
        about="",
        fires=("no round was taken for 15 minutes: sampler, sidecar, tailscaled, runs or store"),
        is_over="one arrives",
        example=Example(
            "",
            value=16.0,
            detail="nothing is collected: look at the sidecar and at the runs of collect_connections",
            minutes=16,
        ),
    ),
)
