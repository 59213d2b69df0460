"""The journal of the campaign: a round a minute, with incidents whose alerts are known in advance."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import minutes, round_line

NODES = tuple(f"node-{number}" for number in range(6))
BUCKET = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
SLOW_MS = 150.0
WELL_MS = 12.0
RELAY = "fra"
RELAYED_FOR = timedelta(minutes=4)
AFTERMATH = timedelta(minutes=10)
"""A latency incident is over after two good spans of five minutes: the last one ends so long before."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A node is slow or relayed in every round from ``begin`` on, before ``end``."""

    node: str
    rule: Literal["latency", "relay"]
    begin: datetime
    end: datetime

    @property
    def topic(self) -> str:
        """The topic of the alerts that it must raise."""
        return f"{self.rule}_{self.node}"


def script(begin: datetime, end: datetime) -> list[Incident]:
    """One slow and one relayed node in each span of five minutes, each node once in half an hour.

    So no topic flaps, and never most nodes at once: each incident must be told by its beginning and its end.
    """
    found: list[Incident] = []
    number, span = 0, -(-(begin - datetime.min.replace(tzinfo=UTC)) // BUCKET)
    at = datetime.min.replace(tzinfo=UTC) + span * BUCKET
    while at + BUCKET <= end - AFTERMATH:
        slow, relayed = NODES[number % len(NODES)], NODES[(number + len(NODES) // 2) % len(NODES)]
        found.append(Incident(slow, "latency", at, at + BUCKET))
        found.append(Incident(relayed, "relay", at + MINUTE, at + MINUTE + RELAYED_FOR))
        number, at = number + 1, at + BUCKET
    return found


class ScriptedSidecar(GrowingSidecar):
    """Takes a round each minute until ``last_at``, when it is asked; the days before are all well."""

    def __init__(self, incidents: Sequence[Incident], days: int) -> None:
        super().__init__(NODES)
        self.incidents = incidents
        self.last_at: datetime | None = None
        self._lock = threading.Lock()
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        first = now.replace(hour=0, minute=0) - timedelta(days=days)
        self.take(minutes(first, (now - first) // MINUTE + 1))

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing on stderr when a reader was killed in the middle of an answer."""

    def line(self, at: datetime) -> bytes:
        """A round as the script wants it."""
        apart = {
            incident.node: (SLOW_MS, "") if incident.rule == "latency" else (WELL_MS, RELAY)
            for incident in self.incidents
            if incident.begin <= at < incident.end
        }
        return round_line(at, WELL_MS, nodes=self.names, apart=apart)

    def answer(self, path: str) -> bytes | None:
        """The body for a path with its query, after the rounds that are due."""
        with self._lock:
            until = min(datetime.now(UTC), self.last_at or datetime.max.replace(tzinfo=UTC))
            while self.last + MINUTE <= until:
                self.take([self.last + MINUTE])
        return super().answer(path)
