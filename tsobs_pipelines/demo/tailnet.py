"""A simulated tailnet: its daemon's status at any moment, as a pure function of seed and time.

There is no state and no dependence on the present, so that a day is the same whenever it is requested. The
incidents recur every four weeks, so that the last 30 days always contain each of them, and fall on weekends,
so that the tailnet is healthy for somebody who tries tsobs on a working day (:data:`INCIDENTS`, all times
UTC).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, Literal, TypeAlias

Json: TypeAlias = dict[str, object]

DOMAIN: Final = "demo-tailnet.ts.net"
DAEMON: Final = "1.102.5-demo"
DEMO_LOGIN: Final = "demo@example.com"
CYCLE_DAYS: Final = 28
IDLE_RESET_S: Final = 9 * 60
PINGS_A_ROUND: Final = 6
_DAY_S: Final = 86400
_HOUR_S: Final = 3600

Kind: TypeAlias = Literal["relayed", "slow", "offline", "restart"]


@dataclass(frozen=True, slots=True)
class DemoNode:
    """One node; ``base_ms`` is its latency at night and ``rate`` its mean traffic in bytes a second."""

    name: str
    number: int
    base_ms: float
    rate: float

    @property
    def ip(self) -> str:
        """Its Tailscale address."""
        return f"100.64.0.{self.number}"

    @property
    def dns_name(self) -> str:
        """Its MagicDNS name, with the dot at its end."""
        return f"{self.name}.{DOMAIN}."


@dataclass(frozen=True, slots=True)
class SimulatedIncident:
    """Something that happens once every four weeks.

    ``day`` counts from a Thursday (days since 1970-01-01 modulo 28, so that 2 is a Saturday); ``start`` and
    ``end`` are in hours of that day. ``node`` is ``None`` when it is about the whole tailnet.
    """

    kind: Kind
    node: str | None
    day: int
    start: float
    end: float

    def covers(self, at: float) -> bool:
        """Whether it happens at this time (epoch seconds)."""
        return self.start * _HOUR_S <= self._since(at) < self.end * _HOUR_S

    def last_end(self, at: float) -> float:
        """When it last ended, at or before this time."""
        ended = at - self._since(at) + self.end * _HOUR_S
        return ended if ended <= at else ended - CYCLE_DAYS * _DAY_S

    def last_start(self, at: float) -> float:
        """When it began, for a time that it covers."""
        return at - self._since(at) + self.start * _HOUR_S

    def _since(self, at: float) -> float:
        """Seconds since the midnight of its latest day."""
        return (at - self.day * _DAY_S) % (CYCLE_DAYS * _DAY_S)


OWN: Final = DemoNode("demo-sidecar", 1, 0.0, 0.0)
NODES: Final = (
    DemoNode("git", 11, 11.0, 9_000.0),
    DemoNode("chocolate-factory-dev", 12, 24.0, 4_000.0),
    DemoNode("chocolate-factory", 13, 33.0, 21_000.0),
)

RELAYED_AFTERNOON: Final = SimulatedIncident("relayed", "chocolate-factory", 2, 13.0, 17.0)
SLOW_EVENING: Final = SimulatedIncident("slow", "git", 10, 19.5, 21.5)
OFFLINE_NIGHT: Final = SimulatedIncident("offline", "chocolate-factory-dev", 16, 23.0, 30.0)
DAEMON_RESTART: Final = SimulatedIncident("restart", None, 24, 4.0, 4.0 + 2 / 60)
INCIDENTS: Final = (RELAYED_AFTERNOON, SLOW_EVENING, OFFLINE_NIGHT, DAEMON_RESTART)
"""Saturday afternoon, Sunday evening, the night to a Sunday, and Sunday 04:00, when two rounds fail and every
byte counter starts again from 0."""

REGIONS: Final = ((4, "fra", 18.0), (18, "par", 26.0), (8, "lhr", 33.0), (26, "nue", 21.0))


class DemoTailnet:
    """The simulated tailnet of one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def running(self, at: datetime) -> bool:
        """Whether the daemon answers at this time."""
        return not DAEMON_RESTART.covers(at.timestamp())

    def peer_status(self, node: DemoNode, at: datetime) -> Json:
        """The node's part of the projected ``tailscale status --json``."""
        second = int(at.timestamp())
        suffered = _suffered(node, second)
        offline, relayed = "offline" in suffered, "relayed" in suffered
        active_at = int(OFFLINE_NIGHT.last_start(second)) if offline else second - second % 120
        status: Json = {
            "ID": f"nDEMO{node.number}",
            "HostName": node.name,
            "DNSName": node.dns_name,
            "OS": "linux",
            "TailscaleIPs": [node.ip],
            "CurAddr": "" if offline or relayed else _endpoint(node),
            "Relay": "fra",
            "PeerRelay": "",
            "RxBytes": self._counter(node, second, 1.7),
            "TxBytes": self._counter(node, second, 1.0),
            "LastHandshake": rfc3339(active_at),
            "Online": not offline,
            "Active": not offline,
        }
        if offline:
            status["LastSeen"] = rfc3339(active_at)
        return status

    def own_status(self) -> Json:
        """The part of the node that the sidecar runs on."""
        return {
            "ID": "nDEMO1",
            "HostName": OWN.name,
            "DNSName": OWN.dns_name,
            "OS": "linux",
            "TailscaleIPs": [OWN.ip],
            "Relay": "fra",
            "Online": True,
        }

    def status(self, at: datetime) -> Json:
        """The projected ``tailscale status --json``."""
        if not self.running(at):
            return {"Version": DAEMON, "BackendState": "NoState", "Self": self.own_status(), "Peer": {}}
        peers = {f"nodekey:demo{node.number:060x}": self.peer_status(node, at) for node in NODES}
        return {"Version": DAEMON, "BackendState": "Running", "Self": self.own_status(), "Peer": peers}

    def pings(self, node: DemoNode, at: datetime, count: int = PINGS_A_ROUND) -> list[Json]:
        """A burst of LocalAPI ping results; the first one is cold."""
        second = int(at.timestamp())
        suffered = _suffered(node, second)
        if "offline" in suffered:
            return [{"IP": node.ip, "Err": "timeout"} for _ in range(count)]
        dice = self._dice(second, node.number).random
        relayed = "relayed" in suffered
        level_ms = _level_ms(node, second, suffered)
        results: list[Json] = []
        for place in range(count):
            latency_ms = level_ms * (0.93 + 0.14 * dice()) + (25.0 * dice() if dice() < 0.02 else 0.0)
            over_derp = relayed
            if place == 0:
                latency_ms = latency_ms * 1.8 + 12.0 * dice()
                over_derp = relayed or dice() < 0.3
            lost = dice() < 0.004
            results.append(
                {"IP": node.ip, "Err": "timeout"} if lost else _pong(node, latency_ms, over_derp=over_derp)
            )
        return results

    def netcheck(self, at: datetime) -> Json:
        """The JSON of ``tailscale netcheck``."""
        dice = self._dice(int(at.timestamp()), 0).random
        latencies = {str(number): int(ms * 1e6 * (0.9 + 0.2 * dice())) for number, _, ms in REGIONS}
        return {
            "Now": rfc3339(int(at.timestamp())),
            "UDP": True,
            "IPv6": False,
            "IPv4": True,
            "MappingVariesByDestIP": False,
            "UPnP": None,
            "PMP": None,
            "PCP": None,
            "PreferredDERP": 4,
            "RegionLatency": latencies,
            "CaptivePortal": None,
        }

    def _counter(self, node: DemoNode, second: int, factor: float) -> int:
        """Bytes since the counters last began at 0: the integral of a rate with a daily rhythm."""
        begun = DAEMON_RESTART.last_end(second)
        if node.name == OFFLINE_NIGHT.node:
            if OFFLINE_NIGHT.covers(second):
                began_offline = OFFLINE_NIGHT.last_start(second)
                if second - began_offline >= IDLE_RESET_S:
                    return 0
                second = int(began_offline)
            else:
                begun = max(begun, OFFLINE_NIGHT.last_end(second))
        moved = _integral(second) - _integral(begun)
        return int(node.rate * factor * (1 + self.seed % 7 / 10) * moved)

    def _dice(self, second: int, stream: int) -> Random:
        return Random((self.seed * 2**40 + second) * 256 + stream)  # noqa: S311 - a simulation


def rfc3339(second: float) -> str:
    """Epoch seconds as RFC 3339 in UTC, to the second."""
    return datetime.fromtimestamp(int(second), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def next_incidents(after: datetime) -> dict[SimulatedIncident, datetime]:
    """When each incident begins for the first time at or after this time."""
    second = after.timestamp()
    found: dict[SimulatedIncident, datetime] = {}
    for incident in INCIDENTS:
        begins = incident.last_start(second)
        begins += 0 if begins >= second else CYCLE_DAYS * _DAY_S
        found[incident] = datetime.fromtimestamp(0, UTC) + timedelta(seconds=begins)
    return found


def _suffered(node: DemoNode, second: float) -> set[Kind]:
    """What happens to the node at this time."""
    return {incident.kind for incident in INCIDENTS if incident.node == node.name and incident.covers(second)}


def _level_ms(node: DemoNode, second: int, suffered: set[Kind]) -> float:
    """The latency around which the node's pongs lie: higher by day, much higher on the slow evening."""
    level_ms = node.base_ms * (1.15 + 0.2 * _rhythm(second))
    if "relayed" in suffered:
        level_ms += 19.0
    if "slow" in suffered:
        hours = (second - SLOW_EVENING.last_start(second)) / _HOUR_S
        level_ms += 160.0 * math.sin(math.pi * hours / (SLOW_EVENING.end - SLOW_EVENING.start)) ** 0.5
    return level_ms


def _pong(node: DemoNode, latency_ms: float, *, over_derp: bool) -> Json:
    return {
        "IP": node.ip,
        "NodeIP": node.ip,
        "NodeName": node.name,
        "Err": "",
        "LatencySeconds": round(latency_ms / 1e3, 6),
        "Endpoint": "" if over_derp else _endpoint(node),
        "PeerRelay": "",
        "DERPRegionID": 4 if over_derp else 0,
        "DERPRegionCode": "fra" if over_derp else "",
    }


def _endpoint(node: DemoNode) -> str:
    return f"192.0.2.{node.number}:41641"


def _rhythm(second: float) -> float:
    """The time of day between -1 (03:00 UTC) and 1 (15:00 UTC)."""
    return math.cos(2 * math.pi * (second % _DAY_S - 15 * _HOUR_S) / _DAY_S)


def _integral(second: float) -> float:
    """The integral over time of ``1 + 0.6 * _rhythm``: it grows at every moment."""
    angle = 2 * math.pi * (second % _DAY_S - 15 * _HOUR_S) / _DAY_S
    return second + 0.6 * _DAY_S / (2 * math.pi) * math.sin(angle)
