"""Kills: which processes can be killed, which one is, and how long recovery takes."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from tests.support.running import Running, children, name_of

LOOK_S = 0.5
NOTICED_S = 10.0
"""An unhealthy ``/healthz`` that begins within this time after a kill is caused by it."""

WEIGHTS = {
    **dict.fromkeys(("webserver", "daemon", "code", "api", "logs", "run"), 4),
    **dict.fromkeys(("fork server", "supervisor"), 1),
}
"""Fork server and supervisor take everything with them: they are killed a quarter as often as any part."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One process killed, on the monotonic clock, and who else had its name then."""

    at: float
    name: str
    pid: int
    before: frozenset[int]


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at a moment: the status of ``/healthz`` (0: no answer), and the processes by name."""

    at: float
    status: int
    ailing: str
    processes: Mapping[str, frozenset[int]]


def process_tree(root: int) -> dict[str, frozenset[int]]:
    """The processes that ``root`` has started, directly or not, and itself, by what they call themselves."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError):
            waiting += children(pid)
        if name := name_of(pid):
            found[name].add(pid)
    return {name: frozenset(pids) for name, pids in found.items()}


def choose(
    chance: random.Random, tree: Mapping[str, frozenset[int]], weights: Mapping[str, int]
) -> tuple[str, int] | None:
    """A process, by its name: ``None`` when nobody has that name now.

    Chosen among those that run, the first parts of a start would be killed again and again.
    """
    (name,) = chance.choices(list(weights), list(weights.values()))
    pids = sorted(tree.get(name, ()))
    return (name, chance.choice(pids)) if pids else None


@dataclass
class Watch:
    """Looks twice a second, from a thread, at the processes and at ``/healthz``.

    ``said`` is what ``/healthz`` said first of each part that ailed.
    """

    current: Callable[[], Running]
    looks: list[Look] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)
    over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> threading.Thread:
        """Begin; the thread ends after ``over`` is set."""
        thread = threading.Thread(target=self._work, name="watch")
        thread.start()
        return thread

    def _work(self) -> None:
        with httpx.Client(timeout=5) as client:
            while not self.over.wait(LOOK_S):
                tsobs = self.current()
                status, ailing = _health(client, tsobs.api_port)
                self.said = ailing | self.said
                self.looks.append(
                    Look(time.monotonic(), status, ", ".join(ailing), process_tree(tsobs.process.pid))
                )


def _health(client: httpx.Client, port: int) -> tuple[int, dict[str, str]]:
    """The status, and the detail of each unhealthy part."""
    try:
        answer = client.get(f"http://127.0.0.1:{port}/healthz")
        parts = answer.json()["parts"]
        return answer.status_code, {name: part["detail"] for name, part in parts.items() if not part["ok"]}
    except (httpx.HTTPError, ValueError, KeyError):
        return 0, {"no answer": "the API does not answer"}


def kill_one(chance: random.Random, tsobs: Running, weights: Mapping[str, int] = WEIGHTS) -> Kill | None:
    """Kill a process by SIGKILL; ``None`` when there was none."""
    tree = process_tree(tsobs.process.pid)
    chosen = choose(chance, tree, weights)
    if chosen is None:
        return None
    name, pid = chosen
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return Kill(time.monotonic(), name, pid, tree[name])
    return None


def back_after(kill: Kill, looks: Sequence[Look]) -> float | None:
    """Seconds from the kill until a process of its name ran that did not run before; ``None``: never."""
    return next(
        (
            look.at - kill.at
            for look in looks
            if look.at > kill.at and look.processes.get(kill.name, frozenset()) - kill.before
        ),
        None,
    )


def well_after(kill: Kill, looks: Sequence[Look], horizon: float) -> float | None:
    """Seconds from the kill until ``/healthz`` was 200 again; 0.0 when it never was anything else.

    ``horizon`` is when the next process was killed: what is unhealthy after that is not due to this kill.
    """
    noticed = next(
        (
            look.at
            for look in looks
            if kill.at < look.at < min(kill.at + NOTICED_S, horizon) and look.status != 200
        ),
        None,
    )
    if noticed is None:
        return 0.0
    return next((look.at - kill.at for look in looks if look.at > noticed and look.status == 200), None)


def kill_table(kills: Sequence[Kill], looks: Sequence[Look]) -> list[tuple[str, ...]]:
    """A line for each name: kills, back after (median, worst), ``/healthz`` ailing, well after."""
    horizons = [kill.at for kill in kills[1:]] + [float("inf")]
    by_name: defaultdict[str, list[tuple[float | None, float | None]]] = defaultdict(list)
    for kill, horizon in zip(kills, horizons, strict=True):
        by_name[kill.name].append((back_after(kill, looks), well_after(kill, looks, horizon)))
    lines = [_line(name, by_name[name]) for name in sorted(by_name)]
    return [*lines, _line("all", [pair for pairs in by_name.values() for pair in pairs])]


def _line(name: str, pairs: Sequence[tuple[float | None, float | None]]) -> tuple[str, ...]:
    ailing = [well for _, well in pairs if well is None or well > 0]
    return (
        name,
        str(len(pairs)),
        _spread([back for back, _ in pairs]),
        str(len(ailing)),
        _spread(ailing) if ailing else "-",
    )


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    never = f", never: {len(values) - len(known)}" if len(known) < len(values) else ""
    return f"{statistics.median(known):.1f}, {max(known):.1f}{never}" if known else f"-{never}"


def ailing_seconds(looks: Sequence[Look]) -> dict[str, float]:
    """For how long ``/healthz`` was not 200, by what ailed."""
    found: defaultdict[str, float] = defaultdict(float)
    for look, after in itertools.pairwise(looks):
        if look.status != 200:
            found[look.ailing or f"status {look.status}"] += after.at - look.at
    return dict(found)
