"""The journal of the simulated tailnet, rendered on request.

Nothing is stored. Lines have a fixed width (JSON allows blanks at their end), one for rounds with a
netcheck and one for those without, so that the bytes of a day are known without rendering it, and any round
can be rendered alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final

import msgspec

from tsobs_pipelines.demo.tailnet import DAEMON, NODES, OWN, DemoTailnet, Json

DEPTH_DAYS: Final = 31
ROUNDS_A_DAY: Final = 1440
NETCHECK_EVERY: Final = 10
PLAIN_WIDTH: Final = 4736
NETCHECK_WIDTH: Final = 5120
CHUNK_ROUNDS: Final = 48

_MINUTE: Final = timedelta(minutes=1)
_TAKEN_AFTER: Final = timedelta(seconds=1)
_encode = msgspec.json.Encoder().encode


class DemoJournal:
    """The last :data:`DEPTH_DAYS` days and today, as of the ``now`` that each method is given."""

    def __init__(self, tailnet: DemoTailnet) -> None:
        self._tailnet = tailnet

    def days(self, now: datetime) -> list[date]:
        """The days that have a file, oldest first."""
        today = now.astimezone(UTC).date()
        days = [today - timedelta(days=back) for back in range(DEPTH_DAYS, -1, -1)]
        return [day for day in days if self.rounds(day, now)]

    def rounds(self, day: date, now: datetime) -> int:
        """How many rounds of the day were taken so far; 0 for a day that is not in the journal."""
        age = now.astimezone(UTC).date() - day
        if not timedelta() <= age <= timedelta(days=DEPTH_DAYS):
            return 0
        begun = (now - _TAKEN_AFTER - _midnight(day)) // _MINUTE + 1
        return max(0, min(begun, ROUNDS_A_DAY))

    def index(self, now: datetime) -> Json:
        """The JSON of ``/samples``."""
        counts = {day: self.rounds(day, now) for day in self.days(now)}
        return {"days": {str(day): {"rounds": n, "bytes": size(0, n)} for day, n in counts.items()}}

    def chunks(self, day: date, first: int, end: int) -> Iterator[bytes]:
        """The lines of the rounds ``first`` to ``end`` (excluded) of the day, a few at a time."""
        midnight = _midnight(day)
        for start in range(first, end, CHUNK_ROUNDS):
            places = range(start, min(start + CHUNK_ROUNDS, end))
            yield b"".join(self.line(midnight + place * _MINUTE) for place in places)

    def line(self, at: datetime) -> bytes:
        """The line of the round at this whole minute."""
        with_netcheck = has_netcheck(at.hour * 60 + at.minute)
        line = _encode(self.round(at, with_netcheck=with_netcheck))
        return line.ljust((NETCHECK_WIDTH if with_netcheck else PLAIN_WIDTH) - 1) + b"\n"

    def round(self, at: datetime, *, with_netcheck: bool) -> Json:
        """The round at this whole minute."""
        head: Json = {"v": 1, "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "daemon": DAEMON}
        own = {"HostName": OWN.name, "DNSName": OWN.dns_name}
        if not self._tailnet.running(at):
            return {**head, "state": "NoState", "self": own, "error": "the daemon is starting"}
        body: Json = {
            **head,
            "state": "Running",
            "self": own,
            "peers": {node.name: self._tailnet.peer_status(node, at) for node in NODES},
            "pings": {node.name: self._tailnet.pings(node, at) for node in NODES},
        }
        if with_netcheck:
            body["netcheck"] = self._tailnet.netcheck(at)
        return body


def has_netcheck(place: int) -> bool:
    """Whether the round of this minute of the day holds a netcheck."""
    return place % NETCHECK_EVERY == 0


def size(first: int, end: int) -> int:
    """Bytes of the lines of the rounds ``first`` to ``end`` (excluded) of any day."""
    with_netcheck = -(-end // NETCHECK_EVERY) + -first // NETCHECK_EVERY if end > first else 0
    return max(0, end - first) * PLAIN_WIDTH + with_netcheck * (NETCHECK_WIDTH - PLAIN_WIDTH)


def first_after(day: date, after: datetime) -> int:
    """The place in the day of the first round later than ``after``, 0 to 1440."""
    return max(0, min((after - _midnight(day)) // _MINUTE + 1, ROUNDS_A_DAY))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
