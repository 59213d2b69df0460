"""The sidecar's journal: a day's rounds as NDJSON, one line for each minute.

What belongs here: turning bytes into rounds, one at a time and in the order of the file, and counting what
was skipped. What does not: what a round means for a node (``rows.py``), fetching the bytes (``client.py``).

A line is ``{"v":1,"at":"…Z","daemon":"1.102.5","state":"Running","peers":{…},"pings":{…}}``. A round that
could not be taken is a line without peers and pings that says why (``error``). Lines that can't be read are
skipped and counted by reason: a crash leaves a torn last line, a newer sidecar may write a later version.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from tsobs_pipelines.tailnet.ping import clean

VERSION: Final = 1
"""The version of the line format that is read here."""

MAX_LINE: Final = 4 * 2**20
"""Bytes of the longest line that is read; a round of 200 nodes has about 0.4 MB."""

SkipReason: TypeAlias = Literal["torn", "malformed", "wrong-type", "version", "too-long", "other-day"]

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Round:
    """One round: what the daemon said of its peers and how their pings went, checked at the top level.

    ``peers`` holds a status projection for each node and ``pings`` a list of LocalAPI ping results, both by
    the name the sampler used. ``own`` is the sidecar's own node. ``error`` says why the round could not be
    taken.
    """

    at: datetime
    daemon: str = ""
    state: str = ""
    error: str = ""
    own: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    peers: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    pings: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    netcheck: Mapping[str, object] | None = None

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


def parse_round(line: bytes) -> Round:
    """One line as a round; raises a ``ValueError`` that names the reason for which it is skipped."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise _SkippedLineError("malformed") from None
    if not isinstance(value, dict):
        raise _SkippedLineError("wrong-type")
    version = value.get("v")
    if type(version) is not int:
        raise _SkippedLineError("wrong-type")
    if version != VERSION:
        raise _SkippedLineError("version")
    return Round(
        at=_time(value.get("at")),
        daemon=clean(_text(value, "daemon")),
        state=clean(_text(value, "state")),
        error=clean(_text(value, "error")),
        own=_own(value.get("self")),
        peers=_object(value, "peers"),
        pings=_object(value, "pings"),
        netcheck=_object(value, "netcheck") or None,
    )


def _time(value: object) -> datetime:
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            if at.tzinfo is not None:
                return at.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _SkippedLineError("wrong-type")


def _text(value: Mapping[str, object], name: str) -> str:
    text = value.get(name)
    if text is None or isinstance(text, str):
        return text or ""
    raise _SkippedLineError("wrong-type")


def _object(value: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = value.get(name)
    if found is None:
        return _NOTHING
    if isinstance(found, dict):
        return found
    raise _SkippedLineError("wrong-type")


def _own(value: object) -> Mapping[str, object]:
    """The sidecar's own node: a status projection, or its host name alone."""
    if isinstance(value, dict):
        return value
    return {"HostName": value} if isinstance(value, str) and value else _NOTHING
