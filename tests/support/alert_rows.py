"""Rows of ``tailscale_connections`` for the tests of the alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tsobs_pipelines.tailnet_settings import DEMO, Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow

DAY = datetime(2026, 11, 24, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TAILNET = Tailnet(name=DEMO, critical_nodes=("git",))
"""Whose rows these are: the latency threshold of its nodes is 100 ms."""


SILENT = frozenset({"unknown", "offline", "unreachable"})


def row(
    minute: float, latency: float | None = 20.0, path: str = "direct", host: str = "git", relay: str = "none"
) -> ConnectionRow:
    """One node in one round, ``minute`` minutes after midnight."""
    return CONNECTIONS.conform(
        {
            "time": DAY + minute * MINUTE,
            "tailnet": "demo",
            "hostname": host,
            "connection_type": path,
            "relay_node": "fra" if path == "relay" and relay == "none" else relay,
            "latency_avg": latency,
            "pings_sent": 0 if path == "unknown" else 6,
            "pings_received": 0 if path in SILENT else 6,
        }
    )


def rows(latencies: Sequence[float | None], start: float = 0, host: str = "git") -> list[ConnectionRow]:
    """A round a minute with these latencies."""
    return [row(start + i, latency, host=host) for i, latency in enumerate(latencies)]


def paths(text: str, start: float = 0, host: str = "git") -> list[ConnectionRow]:
    """A round a minute: d(irect), r(elay), p(eer-relay), u(nknown), o(ffline), x (unreachable)."""
    names = {
        "d": "direct",
        "r": "relay",
        "p": "peer-relay",
        "u": "unknown",
        "o": "offline",
        "x": "unreachable",
    }
    return [row(start + i, None if c in "uox" else 20.0, names[c], host) for i, c in enumerate(text)]


def limit_of(limit: float = 100.0) -> Callable[[str], float]:
    """The same threshold for every node."""
    return lambda _host: limit
