"""Journals for tests: rounds as the sidecar writes them, and a journal that keeps them in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta

from tsobs_pipelines.tailnet.client import DayIndex

NODES = ("git", "chocolate-factory-dev", "chocolate-factory")


def pong(ip: str, latency_ms: float, *, relay: str = "") -> dict[str, object]:
    """One LocalAPI ping result."""
    return {
        "IP": ip,
        "NodeIP": ip,
        "Err": "",
        "LatencySeconds": latency_ms / 1000,
        "Endpoint": "" if relay else "10.88.2.2:41641",
        "DERPRegionCode": relay,
        "DERPRegionID": 9 if relay else 0,
    }


def round_line(
    at: datetime,
    latency_ms: float = 12.0,
    *,
    relay: str = "",
    nodes: Iterable[str] = NODES,
    sent: int = 0,
    apart: Mapping[str, tuple[float, str]] | None = None,
) -> bytes:
    """One journal line in which every node answers alike, but for those ``apart`` (latency in ms, relay).

    ``sent`` is its byte counter.
    """
    peers: dict[str, object] = {}
    pings: dict[str, object] = {}
    for number, name in enumerate(nodes, start=2):
        ip = f"100.64.0.{number}"
        own_ms, own_relay = (apart or {}).get(name, (latency_ms, relay))
        peers[name] = {
            "HostName": name,
            "DNSName": f"{name}.tail.test.",
            "TailscaleIPs": [ip],
            "Online": True,
            "TxBytes": sent or int(at.timestamp()) % 100_000_000,
            "RxBytes": 2 * (sent or int(at.timestamp()) % 100_000_000),
        }
        pings[name] = [
            pong(ip, own_ms * 3, relay="fra"),
            *(pong(ip, own_ms, relay=own_relay) for _ in "12345"),
        ]
    stamp = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"v": 1, "at": stamp, "daemon": "1.102.5", "state": "Running", "peers": peers, "pings": pings}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def minutes(start: datetime, count: int) -> list[datetime]:
    """``count`` times a minute apart."""
    return [start + timedelta(minutes=number) for number in range(count)]


_WHOLE = re.compile(rb'\{"v":\d+,"at":".*\}$')


class MemoryJournal:
    """A journal that is what the test makes it: lines of bytes for each day."""

    def __init__(self) -> None:
        self.days: dict[date, list[bytes]] = {}
        self.reads: list[tuple[date, datetime | None]] = []

    def append(self, *lines: bytes, day: date) -> None:
        """Add lines to a day's file."""
        self.days.setdefault(day, []).extend(lines)

    def take(self, times: Iterable[datetime], **kwargs: float) -> None:
        """Take one round at each time."""
        for at in times:
            self.append(round_line(at, **kwargs), day=at.date())  # type: ignore[arg-type]

    def samples_index(self) -> Mapping[date, DayIndex]:
        """As the sidecar counts: lines that begin and end like a round."""
        return {
            day: DayIndex(sum(map(bool, map(_WHOLE.match, lines))), sum(map(len, lines)))
            for day, lines in self.days.items()
        }

    def samples(self, day: date, after: datetime | None = None) -> Iterator[bytes]:
        """Lines later than ``after``, and those whose time can't be read."""
        self.reads.append((day, after))
        for line in self.days.get(day, []):
            at = _time_of(line)
            if after is None or at is None or at > after:
                yield line


def _time_of(line: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(line)["at"])
    except (ValueError, KeyError, TypeError):
        return None
