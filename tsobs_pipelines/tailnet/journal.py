"""The sidecar's journal: a day's rounds as NDJSON, one line for each minute.

What belongs here: turning bytes into rounds, one at a time and in the order of the file, and counting what
was skipped. What does not: what a round means for a node (``rows.py``), fetching the bytes (``client.py``).

A line is ``{"v":1,"at":"…Z","daemon":"1.102.5","state":"Running","peers":{…},"pings":{…}}``. A round that
could not be taken is a line without peers and pings that says why (``error``). Lines that can't be read are
skipped and counted by reason: a crash leaves a torn last line, a newer sidecar may write a later version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

import msgspec

from tsobs_pipelines.tailnet.localapi import ApiPing, Netcheck, Peer, read_fields, read_ping
from tsobs_pipelines.tailnet.ping import clean

VERSION: Final = 1
"""The version of the line format that is read here."""

MAX_LINE: Final = 4 * 2**20
"""Bytes of the longest line that is read; a round of 200 nodes has about 0.4 MB."""

SkipReason: TypeAlias = Literal["torn", "malformed", "wrong-type", "version", "too-long", "other-day"]


class Round(msgspec.Struct, frozen=True):
    """One round: what the daemon said of its peers and how their pings went.

    ``peers`` and ``pings`` are by the name that the sampler used. ``own`` is the sidecar's own node.
    ``error`` says why the round could not be taken.
    """

    v: Literal[1]
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    daemon: str = ""
    state: str = ""
    error: str = ""
    own: Peer | None = msgspec.field(name="self", default=None)
    peers: Mapping[str, Peer] = {}
    pings: Mapping[str, Sequence[ApiPing]] = {}
    netcheck: Netcheck | None = None

    @property
    def taken(self) -> bool:
        """Whether the daemon was running and was asked."""
        return self.state == "Running" and not self.error


@dataclass(slots=True)
class JournalCounts:
    """What was read of a journal so far: bytes, lines that are not blank, rounds, and what was left out."""

    lines: int = 0
    bytes: int = 0
    rounds: int = 0
    duplicates: int = 0
    skipped: Counter[SkipReason] = field(default_factory=Counter)

    @property
    def skipped_total(self) -> int:
        """How many lines could not be used."""
        return self.skipped.total()


class _SkippedLineError(ValueError):
    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason)
        self.reason: SkipReason = reason


def read_rounds(chunks: Iterable[bytes], counts: JournalCounts, day: date | None = None) -> Iterator[Round]:
    """The rounds in the bytes of a journal, in the file's order, one for each time (the first one wins).

    Memory is bounded by the longest line (:data:`MAX_LINE`) and a set of the times seen. ``counts`` is kept
    up to date while reading. With ``day`` a round of another UTC day is skipped, for a partition holds one
    day.
    """
    seen: set[datetime] = set()
    for line, complete in _lines(chunks, counts):
        if not line.strip():
            continue
        counts.lines += 1
        try:
            this = parse_round(line)
            if day is not None and this.at.date() != day:
                raise _SkippedLineError("other-day")
        except _SkippedLineError as skipped:
            counts.skipped["torn" if skipped.reason == "malformed" and not complete else skipped.reason] += 1
            continue
        if this.at in seen:
            counts.duplicates += 1
            continue
        seen.add(this.at)
        counts.rounds += 1
        yield this


def _lines(chunks: Iterable[bytes], counts: JournalCounts) -> Iterator[tuple[bytes, bool]]:
    """Each line with whether its end was seen; a line over the bound is counted and left out."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        counts.bytes += len(chunk)
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            size += len(part)
            if size > MAX_LINE:
                _count_too_long(counts)
            else:
                yield b"".join((*held, part)) if held else part, True
            held, size = [], 0
        size += len(rest)
        if size > MAX_LINE:
            held = []
        elif rest:
            held.append(rest)
    if size > MAX_LINE:
        _count_too_long(counts)
    elif held:
        yield b"".join(held), False


def _count_too_long(counts: JournalCounts) -> None:
    counts.lines += 1
    counts.skipped["too-long"] += 1


_decoder = msgspec.json.Decoder(Round)


def parse_round(line: bytes) -> Round:
    """One line as a round, its time in UTC; raises a ``ValueError`` that names the reason to skip it."""
    try:
        this = _decoder.decode(line)
    except msgspec.ValidationError:
        this = _lenient(line)
    except (ValueError, RecursionError):
        raise _SkippedLineError("malformed") from None
    if this.at.tzinfo is UTC:
        return this
    try:
        return msgspec.structs.replace(this, at=this.at.astimezone(UTC))
    except OverflowError:  # the year 0 or 10000 in UTC
        raise _SkippedLineError("wrong-type") from None


def _lenient(line: bytes) -> Round:
    """A round of which some part has another type than it should: what is about other nodes still counts."""
    try:
        value = msgspec.json.decode(line)
    except (ValueError, RecursionError):
        raise _SkippedLineError("malformed") from None
    if not isinstance(value, dict) or type(value.get("v")) is not int:
        raise _SkippedLineError("wrong-type")
    if value["v"] != VERSION:
        raise _SkippedLineError("version")
    own, netcheck = value.get("self"), value.get("netcheck")
    try:
        return Round(
            v=1,
            at=msgspec.convert(value.get("at"), Annotated[datetime, msgspec.Meta(tz=True)]),
            daemon=_text(value.get("daemon")),
            state=_text(value.get("state")),
            error=_text(value.get("error")),
            own=Peer(host_name=own) if isinstance(own, str) else _fields(own, Peer),
            peers={
                name: read_fields(peer, Peer)
                for name, peer in _object(value.get("peers")).items()
                if isinstance(peer, dict)
            },
            pings={name: _pings(pings) for name, pings in _object(value.get("pings")).items()},
            netcheck=_fields(netcheck, Netcheck),
        )
    except msgspec.ValidationError:
        raise _SkippedLineError("wrong-type") from None


_Kind = TypeVar("_Kind", Peer, Netcheck)


def _fields(value: object, kind: type[_Kind]) -> _Kind | None:
    return read_fields(value, kind) if isinstance(value, dict) else None


def _pings(value: object) -> list[ApiPing]:
    return [read_ping(item) for item in value] if isinstance(value, list) else [read_ping(value)]


def _text(value: object) -> str:
    return "" if value is None else clean(msgspec.convert(value, str))


def _object(value: object) -> dict[str, object]:
    return {} if value is None else msgspec.convert(value, dict[str, object])
