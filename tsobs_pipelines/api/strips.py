"""A strip for each node: the last hour round by round, and the last thirty days day by day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import cast

from tsobs_pipelines.api.fresh import FreshRounds
from tsobs_pipelines.api.schemas import Strip, StripDay, StripRound, StripsAnswer, StripState
from tsobs_pipelines.api.series import DIRECT, RELAYS, ROUND_S, Bucket, buckets, loss_of, number, whole
from tsobs_pipelines.tailnet.path import NO_RELAY
from tsobs_pipelines.timeseries.evidence import WITHOUT_VERDICT, clause_of
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

DAYS = 30
HOUR = timedelta(hours=1)
FEWEST_ROUNDS = 12
"""Where rounds are more than five minutes apart, the strip of rounds is longer than an hour."""

LOOKBACK = timedelta(hours=3)
"""The span in which the distance of two rounds is looked for."""

AWAITED = timedelta(minutes=10)
"""So long a round may take to be collected when the journal can't be asked."""

_DAY = timedelta(days=1)
_STATES: tuple[StripState, ...] = (
    "absent",
    "unreachable",
    "offline",
    "relay",
    "peer-relay",
    "direct",
    "unknown",
)
"""The worst first: of the rounds of one slot the worst one is shown."""


@dataclass(frozen=True, slots=True)
class Recent:
    """What the strips of rounds are made of, for all nodes of a tailnet."""

    stored: Mapping[str, Sequence[ConnectionRow]]
    fresh: FreshRounds
    now: datetime

    @property
    def step(self) -> timedelta:
        """The distance of two rounds, not below a minute."""
        times = {row.time for rows in self.stored.values() for row in rows}
        times |= {row.time for row in self.fresh.rows}
        gaps = [later - earlier for earlier, later in pairwise(sorted(times))]
        return max(min(gaps, default=timedelta()), timedelta(seconds=ROUND_S))


def read_recent(store: TimeSeriesStore, tailnet: str, fresh: FreshRounds, now: datetime) -> Recent:
    """The newest rows of every node; raises what the store raises."""
    recent = Recent(_stored(store, tailnet, now, LOOKBACK), fresh, now)
    needed = recent.step * (FEWEST_ROUNDS + 1)
    return recent if needed <= LOOKBACK else Recent(_stored(store, tailnet, now, needed), fresh, now)


def _stored(
    store: TimeSeriesStore, tailnet: str, now: datetime, span: timedelta
) -> dict[str, list[ConnectionRow]]:
    stored: dict[str, list[ConnectionRow]] = {}
    window = Window(now - span, now + timedelta(minutes=1))
    for row in store.read(CONNECTIONS, window, {"tailnet": tailnet}):
        stored.setdefault(row.hostname, []).append(row)
    return stored


PastDays = Mapping[str, Sequence[StripDay]]
"""The days before today of each node, oldest first."""


def past_days(
    store: TimeSeriesStore, tailnet: str, names: Iterable[str], now: datetime, step: timedelta
) -> PastDays:
    """The 29 UTC days before today of each node; raises what the store raises."""
    today = Window.of_day(now.date()).start
    span = Window(today - (DAYS - 1) * _DAY, today)
    return {name: days_of(store, _where(tailnet, name), span, today, step) for name in names}


def strips(
    store: TimeSeriesStore, tailnet: str, names: Sequence[str], past: PastDays, recent: Recent
) -> StripsAnswer:
    """The strips of these nodes, in this order; raises what the store raises."""
    now, step = recent.now, recent.step
    today = Window(Window.of_day(now.date()).start, now)
    found = []
    for name in names:
        days = days_of(store, _where(tailnet, name), today, now - AWAITED, step)
        before = past.get(name, ())
        found.append(Strip(hostname=name, rounds=rounds_of(name, recent), days=[*before, *days]))
    return StripsAnswer(tailnet=tailnet, step_s=int(step.total_seconds()), nodes=found)


def _where(tailnet: str, hostname: str) -> dict[str, str]:
    return {"tailnet": tailnet, "hostname": hostname}


def rounds_of(hostname: str, recent: Recent) -> list[StripRound]:
    """One slot for each round that was due in the last hour, oldest first."""
    stored = recent.stored.get(hostname, ())
    last = stored[-1].time if stored else None
    slots: dict[int, StripRound] = {}
    step_s = int(recent.step.total_seconds())
    for rows, collected in ((stored, True), (recent.fresh.of(hostname, last), False)):
        for row in rows:
            place = int(row.time.timestamp()) // step_s
            one = _round(row, collected=collected)
            if place not in slots or _STATES.index(one.state) < _STATES.index(slots[place].state):
                slots[place] = one
    count = max(int(HOUR / recent.step), FEWEST_ROUNDS)
    # The round that is being taken at this moment is not missing.
    due = int((recent.now - recent.step).timestamp()) // step_s - 1
    end = max([due, *slots])
    awaited = recent.now - AWAITED if recent.fresh.problem else recent.now
    return [
        slots.get(place) or _empty(datetime.fromtimestamp(place * step_s, UTC), awaited)
        for place in range(end - count + 1, end + 1)
    ]


def _round(row: ConnectionRow, *, collected: bool) -> StripRound:
    state = state_of(row)
    offline = state == "offline"
    sent, received = whole(row.pings_sent), whole(row.pings_received)
    return StripRound(
        at=row.time,
        state=state,
        relay_node=row.relay_node,
        latency_ms=number(row.latency_avg),
        loss=None if offline else loss_of(sent, received),
        collected=collected,
        reason=clause_of(row),
    )


def _empty(at: datetime, awaited_from: datetime) -> StripRound:
    state: StripState = "awaited" if at >= awaited_from else "none"
    return StripRound(
        at=at,
        state=state,
        relay_node=NO_RELAY,
        latency_ms=None,
        loss=None,
        collected=state == "none",
        reason="",
    )


def state_of(row: ConnectionRow) -> StripState:
    """The state that a row shows."""
    if row.connection_type == "unknown" and row.evidence in WITHOUT_VERDICT:
        return "absent"
    return cast("StripState", row.connection_type)


def days_of(
    store: TimeSeriesStore, where: dict[str, str], span: Window, due_until: datetime, step: timedelta
) -> list[StripDay]:
    """The UTC days of ``span``, which begins at a midnight; raises what the store raises.

    A round is due every ``step`` until ``due_until``: later ones may be on their way into the store.
    """
    found = {bucket.start: bucket for bucket in buckets(store, where, span.start, span.end, _DAY)}
    return [
        _day(at, found.get(at), int((min(at + _DAY, due_until) - at) / step))
        for at in _midnights(span.start, span.end)
    ]


def _midnights(start: datetime, until: datetime) -> Iterable[datetime]:
    while start < until:
        yield start
        start += _DAY


def _day(at: datetime, bucket: Bucket | None, due: int) -> StripDay:
    if bucket is None:
        return StripDay(
            day=at.date(),
            rounds=0,
            missing=max(0, due),
            states={},
            availability=None,
            latency_ms=None,
            loss=None,
        )
    states = {name: count for name, count in bucket.types.items() if count}
    if unknown := states.pop("unknown", 0):
        # Not taken, or answered on no path that was shown; the rest is silence.
        on_a_path = sum(states.get(name, 0) for name in (DIRECT, *RELAYS))
        unexplained = (bucket.rounds - bucket.taken) + (bucket.answered - on_a_path)
        states |= {"unknown": unexplained, "absent": unknown - unexplained}
        states = {name: count for name, count in states.items() if count > 0}
    return StripDay(
        day=at.date(),
        rounds=bucket.rounds,
        missing=max(0, due - bucket.rounds),
        states=cast("dict[StripState, int]", states),
        availability=round(bucket.answered / bucket.taken, 6) if bucket.taken else None,
        latency_ms=bucket.latency_ms,
        loss=loss_of(bucket.sent, bucket.received),
    )
