"""Health of tsobs itself: the daemon, the collection schedule, the outbox.

Something that has never happened is not unhealthy right after a start; something that has stopped is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tsobs_pipelines.alerting.depth import Depth, told_refusals
from tsobs_pipelines.alerting.messages import duration
from tsobs_pipelines.api.dagster_records import Heartbeat
from tsobs_pipelines.api.schemas import PartState
from tsobs_pipelines.timeseries.evidence import newest_taken, without_verdict
from tsobs_pipelines.timeseries.sampling import SILENT_AFTER
from tsobs_pipelines.timeseries.schema import ConnectionRow

BEATS_WITHIN = timedelta(minutes=5)
"""Each loop sends a heartbeat once or twice a minute; a slow sensor may delay one by a minute or two."""

AHEAD = timedelta(minutes=2)
"""What lies further ahead was written by a clock that was set back since."""

PENDING_FOR = timedelta(minutes=15)
"""A message that has waited for longer is not on its way any more."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When it is, and since when this process has been looking."""

    now: datetime
    begun_at: datetime

    def age(self, at: datetime) -> timedelta:
        """How long ago that was."""
        return self.now - at

    def is_ahead(self, at: datetime) -> bool:
        """Whether that is still to come, by more than clocks differ."""
        return at - self.now > AHEAD

    def none_yet(self, what: str, within: timedelta = SILENT_AFTER) -> PartState:
        """The state of something never seen yet: healthy for as long as a fresh one would be."""
        watched = self.age(self.begun_at)
        return PartState(ok=watched <= within, detail=f"no {what} yet, {duration(watched)} after the start")


def judge_daemon(beats: Sequence[Heartbeat], moment: Moment) -> PartState:
    """Whether every loop of the newest daemon still sends heartbeats."""
    if not beats:
        return moment.none_yet("heartbeat of Dagster's daemon")
    newest = max(beat.at for beat in beats)
    if moment.is_ahead(newest):
        return _set_back("heartbeat", newest, moment)
    silent = sorted(beat.daemon for beat in beats if moment.age(beat.at) > BEATS_WITHIN)
    oldest = duration(moment.age(min(beat.at for beat in beats)))
    if silent:
        return PartState(ok=False, detail=f"no heartbeat of {', '.join(silent)} for {oldest}")
    return PartState(ok=True, detail=f"{len(beats)} loops, the oldest heartbeat {oldest} ago")


def judge_ticks(last_success: datetime | None, moment: Moment) -> PartState:
    """Whether the schedule still requests runs."""
    if last_success is None:
        return moment.none_yet("successful tick")
    if moment.is_ahead(last_success):
        return _set_back("tick", last_success, moment)
    age = moment.age(last_success)
    return PartState(ok=age <= SILENT_AFTER, detail=f"last successful tick {duration(age)} ago")


def _set_back(what: str, at: datetime, moment: Moment) -> PartState:
    ahead = duration(at - moment.now)
    detail = f"the clock was set back: the newest {what} is {ahead} ahead, and Dagster may wait until then"
    return PartState(ok=False, detail=detail)


def judge_rounds(
    rows: Sequence[ConnectionRow], moment: Moment, stale_after: timedelta = SILENT_AFTER, *, ever: bool
) -> PartState:
    """Whether those runs bring rounds that were taken, and whether those say something of each node.

    ``rows`` are those of the last ``stale_after``; ``ever`` is whether rounds are expected: there are
    recent ones or, after the first tick, older ones.
    """
    newest, reason = newest_taken(rows)
    because = f": {reason}" if reason else ""
    if newest is None and not rows and not ever:
        return moment.none_yet("round", stale_after)
    if newest is None:
        detail = f"no round of the last {duration(stale_after)} {'was taken' if rows else 'in the store'}"
        return PartState(ok=False, detail=f"{detail}{because}")
    detail = f"newest round {duration(moment.age(newest))} ago"
    unseen = without_verdict(rows) if _spans(rows, stale_after) else {}
    return PartState(ok=not unseen, detail="; ".join([detail, *unseen.values()]))


def _spans(rows: Sequence[ConnectionRow], stale_after: timedelta) -> bool:
    """Whether the rounds cover enough of the span that nobody is judged by the two since a restart."""
    times = [row.time for row in rows]
    return max(times) - min(times) >= stale_after / 2


def both(first: PartState, second: PartState) -> PartState:
    """Two judgements as one part's."""
    return PartState(ok=first.ok and second.ok, detail=f"{first.detail}; {second.detail}")


def all_well(states: Mapping[str, PartState]) -> PartState:
    """The states of several tailnets as one part's; that of a single one as it is."""
    if len(states) == 1:
        return next(iter(states.values()))
    detail = "; ".join(f"{name}: {state.detail}" for name, state in states.items())
    return PartState(ok=all(state.ok for state in states.values()), detail=detail)


def judge_outbox(depth: Depth, moment: Moment) -> PartState:
    """Whether messages are being sent, and no channel refused the newest one."""
    if depth.refused:
        return PartState(ok=False, detail=told_refusals(depth.refused))
    if depth.oldest_pending is None:
        return PartState(ok=True, detail="no message waits")
    age = moment.age(depth.oldest_pending)
    waits = "1 message waits" if depth.pending == 1 else f"{depth.pending} messages wait"
    late = [
        f"{name}: {one.waits_for}"
        for name, one in depth.channels.items()
        if one.waits_for and one.oldest_pending is not None and moment.age(one.oldest_pending) > PENDING_FOR
    ]
    detail = "; ".join([f"{waits}, the oldest for {duration(age)}", *late])
    return PartState(ok=age <= PENDING_FOR, detail=detail)
