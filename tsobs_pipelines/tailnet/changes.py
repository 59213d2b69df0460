"""Changes of a node's connection, from its rows in the order of time.

Rows of the type ``unknown`` say nothing about the path and are passed over: a node that was direct before a
gap and is relayed after it has changed at the end of the gap.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.timeseries.schema import ConnectionRow

Aspect: TypeAlias = Literal["path", "relay_node", "online", "counter_reset", "daemon"]

_WORSE: Final = frozenset({"relay", "unreachable", "offline"})
DAEMON: Final = "tailscaled"
"""The name under which changes of the sidecar's own daemon are recorded."""


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """One change of one node; ``before`` and ``after`` are what the aspect was and is."""

    at: datetime
    hostname: str
    aspect: Aspect
    before: str
    after: str
    latency_ms: float | None = None

    @property
    def level(self) -> int:
        """WARNING for a change to the worse, INFO for any other."""
        return logging.WARNING if self.after in _WORSE else logging.INFO

    @property
    def message(self) -> str:
        """One line for a person."""
        if self.aspect == "counter_reset":
            return f"{self.hostname}: byte counters went back from {self.before} to {self.after}"
        return f"{self.hostname}: {self.aspect.replace('_', ' ')} {self.before} → {self.after}"

    def fields(self) -> dict[str, str | float | None]:
        """The extras of the log record; ``at`` is the time of the round, which a backfill logs later."""
        return {
            "hostname": self.hostname,
            "change": self.aspect,
            "from": self.before,
            "to": self.after,
            "latency_ms": self.latency_ms,
            "at": self.at.isoformat(),
        }


def connection_changes(
    rows: Iterable[ConnectionRow], before: Iterable[ConnectionRow] = ()
) -> list[ConnectionChange]:
    """The changes in ``rows`` of ``CONNECTIONS``, in the order of time.

    ``before`` holds earlier rows, at least the last known one of each node: changes to the first of
    ``rows`` are seen, those within ``before`` are not told again.
    """
    known: dict[tuple[str, str], ConnectionRow] = {}
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    changes: list[ConnectionChange] = []
    for is_new, row in [*((False, row) for row in before), *((True, row) for row in rows)]:
        node = (row.tailnet, row.hostname)
        if row.connection_type != "unknown":
            if is_new and node in known:
                changes += _path_changes(known[node], row)
            known[node] = row
        if row.tx_bytes is not None and row.rx_bytes is not None:
            counted = (row.tx_bytes, row.rx_bytes)
            if is_new and node in totals:
                changes += _resets(totals[node], counted, row)
            totals[node] = counted
    return changes


def _path_changes(old: ConnectionRow, new: ConnectionRow) -> list[ConnectionChange]:
    before, after = old.connection_type, new.connection_type
    if before != after:
        aspect: Aspect = "online" if "offline" in {before, after} else "path"
        return [_change(new, aspect, before, after)]
    if old.relay_node != new.relay_node:
        return [_change(new, "relay_node", old.relay_node, new.relay_node)]
    return []


def _resets(before: tuple[int, int], after: tuple[int, int], row: ConnectionRow) -> list[ConnectionChange]:
    if all(now >= then for then, now in zip(before, after, strict=True)):
        return []
    return [_change(row, "counter_reset", str(sum(before)), str(sum(after)))]


def _change(row: ConnectionRow, aspect: Aspect, before: str, after: str) -> ConnectionChange:
    return ConnectionChange(row.time, row.hostname, aspect, before, after, row.latency_avg)


def daemon_changes(rounds: Iterable[Round], before: Iterable[Round] = ()) -> list[ConnectionChange]:
    """The changes of the sidecar's own daemon: stopped, running again, another version.

    A restart shows as a round that could not be taken, or as a state other than ``Running``, and then
    ``Running``. One that fits between two rounds shows as counter resets alone.
    """
    changes: list[ConnectionChange] = []
    old_state = old_version = ""
    for is_new, this in [*((False, this) for this in before), *((True, this) for this in rounds)]:
        state = clean(this.state) or "no answer"
        if is_new and old_state and state != old_state:
            changes.append(ConnectionChange(this.at, DAEMON, "daemon", old_state, state))
        if is_new and old_version and clean(this.daemon) not in {"", old_version}:
            changes.append(ConnectionChange(this.at, DAEMON, "daemon", old_version, clean(this.daemon)))
        old_state, old_version = state, clean(this.daemon) or old_version
    return changes
