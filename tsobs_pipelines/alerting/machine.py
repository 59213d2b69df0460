"""The state machine of every topic: signals in, state changes out.

A topic's state depends only on its signals, not on how they are batched or when they are evaluated. All times
are those of the data, timezone-aware UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

DAMPING = timedelta(minutes=30)
"""The span in which a topic speaks twice at most; it doubles while the topic goes on flapping."""

DAMPING_LIMIT = timedelta(hours=6)
SPOKEN_IN_A_SPAN = 2


class Verdict(StrEnum):
    """The verdict of one piece of evidence: neither good nor bad between the limits of a hysteresis."""

    BAD = "bad"
    BETWEEN = "between"
    GOOD = "good"


class Status(StrEnum):
    """The status of a topic."""

    OK = "ok"
    FIRING = "firing"


class Kind(StrEnum):
    """What a change is: an incident began, ended, or (a reminder) goes on."""

    FIRING = "firing"
    RESOLVED = "resolved"
    STILL = "still"


class Voice(StrEnum):
    """Whether a change is sent: at once, not at all (flapping), or after it was held back."""

    NOW = "now"
    HELD = "held"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Signal:
    """One piece of evidence: it covers ``begin`` to ``time`` and is known at ``time``.

    ``level`` says how bad; evidence of a level that the incident had not reached yet is told again.
    """

    time: datetime
    begin: datetime
    verdict: Verdict
    value: float | None = None
    limit: float | None = None
    detail: str = ""
    level: int = 0


@dataclass(frozen=True, slots=True)
class Confirmation:
    """How much evidence in a row makes a change.

    ``bad_for`` is the time that bad evidence must span as well. Evidence further apart than ``within`` is
    not "in a row".
    """

    bad: int = 1
    good: int = 1
    bad_for: timedelta = timedelta(0)
    within: timedelta = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Change:
    """A topic changed at ``at``; its incident lasts from ``since`` to ``until`` (``None``: it goes on).

    ``value`` is the newest, ``worst`` the highest of the incident, ``flaps`` the number of changes that
    were held back since the topic last spoke.
    """

    topic: str
    subject: str
    kind: Kind
    voice: Voice
    at: datetime
    since: datetime
    until: datetime | None = None
    value: float | None = None
    worst: float | None = None
    limit: float | None = None
    detail: str = ""
    flaps: int = 0


@dataclass(slots=True)
class TopicState:
    """The state of a topic between two evaluations."""

    topic: str
    subject: str
    status: Status = Status.OK
    since: datetime | None = None
    until: datetime | None = None
    bad: int = 0
    bad_since: datetime | None = None
    good: int = 0
    good_since: datetime | None = None
    last: datetime | None = None
    value: float | None = None
    worst: float | None = None
    limit: float | None = None
    detail: str = ""
    level: int = 0
    spoken: Status = Status.OK
    spoken_at: tuple[datetime, ...] = field(default=())
    damping: timedelta = DAMPING
    held: int = 0

    @property
    def bad_now(self) -> bool:
        """Whether the newest evidence is bad. One that fires may be good again, and not for long enough."""
        return self.bad > 0

    def to_json(self) -> str:
        """The state as text, exact to the microsecond."""
        return json.dumps(asdict(self), default=_encode, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> TopicState:
        """The state of a text that :meth:`to_json` made."""
        raw = json.loads(text)
        for name in ("since", "until", "bad_since", "good_since", "last"):
            raw[name] = None if raw[name] is None else datetime.fromisoformat(raw[name])
        raw["spoken_at"] = tuple(datetime.fromisoformat(item) for item in raw["spoken_at"])
        raw["damping"] = timedelta(seconds=raw["damping"])
        raw["status"], raw["spoken"] = Status(raw["status"]), Status(raw["spoken"])
        return cls(**raw)


def _encode(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    msg = f"{value!r} can't be kept in a topic's state"
    raise TypeError(msg)


def advance(
    state: TopicState, signals: Iterable[Signal], confirmation: Confirmation
) -> tuple[TopicState, list[Change]]:
    """The state after ``signals`` (in the order of time), and the changes on the way.

    A signal that is not newer than the last one was seen before, and is passed over.
    """
    machine = replace(state)
    changes: list[Change] = []
    for signal in signals:
        if machine.last is not None and signal.time <= machine.last:
            continue
        _count(machine, signal, confirmation)
        changed = _decide(machine, signal, confirmation) or _worse(machine, signal)
        if changed is not None or machine.spoken is not machine.status:
            change = _speak(machine, signal.time, changed)
            if change is not None:
                changes.append(change)
    return machine, changes


def _count(state: TopicState, signal: Signal, confirmation: Confirmation) -> None:
    if state.last is not None and signal.time - state.last > confirmation.within:
        state.bad = state.good = 0
    state.last = signal.time
    state.value, state.limit = signal.value, signal.limit
    # Good evidence does not overwrite what is said about the incident: by which relay, which way it failed.
    if signal.verdict is Verdict.BAD or state.status is Status.OK:
        state.detail = signal.detail
    if signal.verdict is Verdict.BAD:
        if state.bad == 0:
            state.bad_since = signal.begin
            if state.status is Status.OK:
                state.worst = None
        state.bad, state.good = state.bad + 1, 0
        if signal.value is not None and (state.worst is None or signal.value > state.worst):
            state.worst = signal.value
    elif signal.verdict is Verdict.GOOD:
        if state.good == 0:
            state.good_since = signal.begin
        state.bad, state.good = 0, state.good + 1
    else:
        state.bad = state.good = 0


def _decide(state: TopicState, signal: Signal, confirmation: Confirmation) -> Kind | None:
    """Move to the other status when there is enough evidence in a row."""
    if state.status is Status.OK:
        if state.bad_since is None or state.bad < confirmation.bad:
            return None
        if signal.time - state.bad_since < confirmation.bad_for:
            return None
        state.status, state.since, state.until = Status.FIRING, state.bad_since, None
        state.level = signal.level
        return Kind.FIRING
    if state.good < confirmation.good:
        return None
    state.status, state.until = Status.OK, state.good_since
    return Kind.RESOLVED


def _worse(state: TopicState, signal: Signal) -> Kind | None:
    """Whether an incident reached another level, which is sent again."""
    if state.status is Status.OK or signal.verdict is not Verdict.BAD or signal.level <= state.level:
        return None
    state.level = signal.level
    return Kind.STILL


def _speak(state: TopicState, at: datetime, changed: Kind | None) -> Change | None:
    """Send the change, or hold it back while the topic is flapping; later send the final state."""
    if changed is Kind.STILL and state.spoken is state.status:
        return _change(state, changed, Voice.NOW, at)
    if state.spoken is state.status:
        # It changed and changed back while it was held: the last message is true again.
        state.held += 1
        return _change(state, changed, Voice.HELD, at) if changed else None
    recent = [time for time in state.spoken_at if at - time < state.damping]
    if len(recent) >= SPOKEN_IN_A_SPAN:
        if changed is None:
            return None
        state.held += 1
        return _change(state, changed, Voice.HELD, at)
    if state.spoken_at and at - state.spoken_at[-1] > 2 * state.damping:
        state.damping, state.held = DAMPING, 0
    elif state.held:
        state.damping = min(2 * state.damping, DAMPING_LIMIT)
    kind = changed or (Kind.FIRING if state.status is Status.FIRING else Kind.RESOLVED)
    change = _change(state, kind, Voice.NOW if changed else Voice.LATE, at)
    state.spoken = state.status
    state.spoken_at = (*state.spoken_at, at)[-SPOKEN_IN_A_SPAN:]
    state.held = 0
    return change


def _change(state: TopicState, kind: Kind, voice: Voice, at: datetime) -> Change:
    assert state.since is not None  # noqa: S101 - a topic changes first by firing
    return Change(
        topic=state.topic,
        subject=state.subject,
        kind=kind,
        voice=voice,
        at=at,
        since=state.since,
        until=state.until,
        value=state.value,
        worst=state.worst,
        limit=state.limit,
        detail=state.detail,
        flaps=state.held,
    )
