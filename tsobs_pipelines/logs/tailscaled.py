"""Reads tailscaled's own log into the logs, as records of the logger ``tailscaled``.

The daemon writes Go's ``2026/11/24 17:38:12 [v1] magicsock: …``, in the time zone of its machine, which is
taken to be ours; syslog and journald put a time, a host and ``tailscaled[812]:`` before it, or in its place.
It gives a verbosity and no level: ``[v1]`` and above are DEBUG, and words decide the rest.
The position in the file is kept next to the logs; it survives restarts, rotation by renaming, and truncation.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from pathlib import Path

from tsobs_pipelines.logs.intake import RecordWriter

LOGGER = "tailscaled"
POSITION_NAME = ".tailscaled-position.json"
POLL_S = 1.0
MOST_BYTES = 4 << 20
FIRST_BYTES = 1 << 20
HEAD_BYTES = 256
SAME_HOUR_S = 1500.0
"""How late a line may be for its hour to be told from the other one of the same name; below half an hour."""

LONGEST_RECORD = 256 << 10
_SHOWN = 1_000

_LINE = re.compile(r"(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (?P<rest>.*)", re.DOTALL)
_CLOCK = r"\d\d:\d\d:\d\d(?:[.,]\d+)?"
_ISO = rf"\d{{4}}-\d\d-\d\dT{_CLOCK}(?:Z|[+-]\d\d:?\d\d)"
_SYSLOG = re.compile(
    r"(?:<\d+>(?:1 )?)?"
    rf"(?:(?P<month>[A-Z][a-z]{{2}}) +(?P<day>\d{{1,2}}) (?P<clock>{_CLOCK})|(?P<iso>{_ISO})"
    # journalctl -o short-full: a weekday, and the name of the time zone.
    rf"|[A-Z][a-z]{{2}} (?P<local>\d{{4}}-\d\d-\d\d {_CLOCK}) (?P<zone>\S+))"
    # The host may be missing. It does not end in a colon, as the program does.
    r" (?:\S*[^\s:] )?[\w./-]+(?:\[\d+\])?: (?P<rest>.*)",
    re.DOTALL,
)
_RFC_5424 = re.compile(
    # Version, time, host, program, process, kind of message, structured data.
    rf"<\d+>1 (?P<iso>{_ISO}|-) \S+ \S+ \S+ \S+ (?:-|(?:\[(?:[^\]\\]|\\.)*\])+)(?: \ufeff?(?P<rest>.*))?",
    re.DOTALL,
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_VERBOSITY = re.compile(r"\[v(?P<number>\d+|JSON)\]\d* ?")
_COMPONENT = re.compile(
    r"(?P<component>[A-Za-z][\w.-]*(?:\([^)\s]*\))?(?:\[[^\]\s]*\])?): (?P<message>.+)", re.DOTALL
)
_FATAL = re.compile(r"^(?:panic|fatal error|fatal):|\bpanic: ", re.IGNORECASE)
_ERROR = re.compile(r"^(?:error|ERROR)\b|\[unexpected\]|: error: |\bunrecoverable\b")
_WARNING = re.compile(
    r"\b(?:errors?|failed|failure|can't|cannot|could not|timed? ?out|warning|unhealthy|expired)\b"
    r"|-> *(?:NeedsLogin|NeedsMachineAuth|Stopped)\b",
    re.IGNORECASE,
)
_HEALTHY = re.compile(r"\berr(?:or)?=(?:<nil>|nil\b|none\b)|^health\(.*\): ok$|\b(?:0|no) errors?\b")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DaemonLine:
    """One message of the daemon; ``at`` in seconds since 1970, None when the line has no time."""

    at: float | None
    level: str
    component: str
    message: str
    verbosity: str = ""

    def extras(self) -> dict[str, object]:
        """What goes beside the message."""
        named = {"component": self.component, "verbosity": self.verbosity}
        return {key: text for key, text in named.items() if text}


def parse(line: str, now: datetime | None = None) -> DaemonLine:
    """Read one line; text in another form becomes a message as it is.

    ``now``, an aware time, tells the year of a syslog line and which of the two hours of one name in an
    autumn night is meant; a time that stays ambiguous is left out.
    """
    at, rest = None, line
    syslog = _syslog(line)
    if syslog:
        at, rest = _syslog_seconds(syslog.groupdict(), now), syslog["rest"] or ""
    found = _LINE.fullmatch(rest)
    if found:
        own = _seconds(found["time"], now)
        at, rest = at if own is None else own, found["rest"]
    verbosity = _VERBOSITY.match(rest)
    if verbosity:
        rest = rest[verbosity.end() :]
    named = _COMPONENT.fullmatch(rest)
    component, message = (named["component"], named["message"]) if named else ("", rest)
    level = "DEBUG" if verbosity and verbosity["number"] != "0" else _level(rest)
    return DaemonLine(at, level, component, message.rstrip(), f"v{verbosity['number']}" if verbosity else "")


def _syslog(line: str) -> re.Match[str] | None:
    return _RFC_5424.fullmatch(line) or _SYSLOG.fullmatch(line)


def _seconds(text: str, now: datetime | None) -> float | None:
    try:
        return _local(datetime.fromisoformat(text.replace("/", "-")), now)
    except (ValueError, OverflowError, OSError):
        return None


def _syslog_seconds(found: dict[str, str], now: datetime | None) -> float | None:
    try:
        if found["iso"]:
            return datetime.fromisoformat(found["iso"].replace(",", ".")).timestamp()
        if found["local"]:
            return _in_zone(datetime.fromisoformat(found["local"].replace(",", ".")), found["zone"])
        if now is None:
            return None
        here = now.astimezone().replace(tzinfo=None)
        clock = time.fromisoformat(found["clock"].replace(",", "."))
        month, day = _MONTHS.index(found["month"]) + 1, int(found["day"])
        years = [
            year for year in (here.year - 1, here.year, here.year + 1) if day <= monthrange(year, month)[1]
        ]
        dates = (datetime.combine(date(year, month, day), clock) for year in years)
        return _local(min(dates, key=lambda one: abs(one - here)), now)
    except (ValueError, OverflowError, OSError):
        return None


def _in_zone(naive: datetime, zone: str) -> float | None:
    """Seconds since 1970 of a time in UTC, or in the zone of this machine; of another zone None."""
    if zone == "UTC":
        return naive.replace(tzinfo=UTC).timestamp()
    here = (naive.replace(fold=fold).astimezone() for fold in (0, 1))
    return next((one.timestamp() for one in here if one.tzname() == zone), None)


def _local(naive: datetime, now: datetime | None) -> float | None:
    """Seconds since 1970 of a time on the clock of this machine.

    In the hour that an autumn night has twice, the one within ``SAME_HOUR_S`` of ``now`` is meant.
    """
    first, second = (naive.replace(fold=fold).astimezone().timestamp() for fold in (0, 1))
    if first == second:
        return first
    if now is None:
        return None
    near = [at for at in (first, second) if abs(at - now.timestamp()) <= SAME_HOUR_S]
    return near[0] if len(near) == 1 else None


def _level(text: str) -> str:
    if _FATAL.search(text):
        return "CRITICAL"
    if _HEALTHY.search(text):
        return "INFO"
    if _ERROR.search(text):
        return "ERROR"
    return "WARNING" if _WARNING.search(text) else "INFO"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a file was read: its inode, its first bytes (an inode may be used again) and the offset."""

    inode: int
    head: str
    head_bytes: int
    offset: int


class Follower:
    """Reads what a growing file got since the last time."""

    def __init__(self, path: Path, position_file: Path, take: Callable[[str], None]) -> None:
        self._path = path
        self._position_file = position_file
        self._take = take
        self._position = _load(position_file)

    def poll(self) -> int:
        """Hand on the whole lines that are new; returns their number. A file that is not there has none.

        A line is handed on again only when the process was killed before it could note its position.
        """
        taken = 0
        try:
            with self._path.open("rb") as file:
                taken = self._read(file.fileno())
        except FileNotFoundError:
            return 0
        if taken and self._position is not None:
            _save(self._position_file, self._position)
        return taken

    def _read(self, fd: int) -> int:
        status = os.fstat(fd)
        position = self._position
        taken = 0
        if position is None or not _same(fd, status, position):
            if position is not None:
                taken = self._rest_of_rotated(position)
            begin = 0
            if position is None and status.st_size > FIRST_BYTES:
                # The first time, of a long file: its end, from the start of a line.
                piece = os.pread(fd, FIRST_BYTES, status.st_size - FIRST_BYTES)
                begin = status.st_size - FIRST_BYTES + piece.find(b"\n") + 1
            position = Position(status.st_ino, "", 0, begin)
        if position.head_bytes < HEAD_BYTES:
            head = os.pread(fd, HEAD_BYTES, 0)
            position = replace(position, head=_digest(head), head_bytes=len(head))
        lines, offset = _whole_lines(fd, position.offset)
        self._hand_on(lines)
        self._position = replace(position, offset=offset)
        return taken + len(lines)

    def _rest_of_rotated(self, position: Position) -> int:
        """What was written to a file after the last look and before it was renamed."""
        for path in self._path.parent.glob(f"{self._path.name}?*"):
            try:
                with path.open("rb") as file:
                    if not _same(file.fileno(), os.fstat(file.fileno()), position):
                        continue
                    count, offset = 0, position.offset
                    while True:
                        lines, reached = _whole_lines(file.fileno(), offset)
                        self._hand_on(lines)
                        count += len(lines)
                        if reached == offset:
                            return count
                        offset = reached
            except OSError:
                continue
        return 0

    def _hand_on(self, lines: list[bytes]) -> None:
        held: list[str] = []
        size = 0
        for line in lines:
            # A file truncated under a writer without O_APPEND begins with a hole, which reads as NUL.
            whole = line.lstrip(b"\0").rstrip(b"\r\n")
            if not whole and line.startswith(b"\0"):
                continue
            text = whole[:LONGEST_RECORD].decode("utf-8", "backslashreplace").replace("\0", "\\x00")
            if len(whole) > LONGEST_RECORD:
                text += f" … [{len(whole) - LONGEST_RECORD} more bytes]"
            # A stack that the Go runtime prints has no times: it belongs to the line before it.
            if held and (_LINE.match(text) or _syslog(text) or size > LONGEST_RECORD):
                self._give("\n".join(held))
                held, size = [], 0
            held.append(text)
            size += len(text)
        if held:
            self._give("\n".join(held))

    def _give(self, text: str) -> None:
        try:
            self._take(text)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the next line must be handed on
            log.error(
                "a line of tailscaled's log can't be filed (%s): %s", type(error).__name__, text[:_SHOWN]
            )


def _same(fd: int, status: os.stat_result, position: Position) -> bool:
    return (
        status.st_ino == position.inode
        and status.st_size >= position.offset
        and _digest(os.pread(fd, position.head_bytes, 0)) == position.head
    )


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()


def _whole_lines(fd: int, offset: int) -> tuple[list[bytes], int]:
    data = os.pread(fd, MOST_BYTES, offset)
    end = data.rfind(b"\n") + 1
    if end == 0:
        # A hole is skipped at once; a line longer than one read is skipped in pieces.
        end = len(data) if len(data) == MOST_BYTES else len(data) - len(data.lstrip(b"\0"))
    return data[:end].splitlines(keepends=True) if end else [], offset + end


def _load(path: Path) -> Position | None:
    try:
        found = json.loads(path.read_text("utf-8"))
        inode, head, head_bytes, offset = (found[name] for name in Position.__slots__)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    numbers = all(type(number) is int and 0 <= number < 1 << 64 for number in (inode, head_bytes, offset))
    usable = numbers and head_bytes <= HEAD_BYTES and offset < 1 << 63 and isinstance(head, str)
    return Position(inode, head, head_bytes, offset) if usable else None


def _save(path: Path, position: Position) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    kept = {name: getattr(position, name) for name in Position.__slots__}
    temporary.write_text(json.dumps(kept), "utf-8")
    temporary.replace(path)


def follow_tailscaled(path: Path, directory: Path, stop: threading.Event) -> None:
    """Take the lines of ``path`` into the day files in ``directory`` until ``stop``; meant for a thread."""
    writer = RecordWriter(directory)

    def take(text: str) -> None:
        line = parse(text, datetime.now(UTC))
        writer.write(line.at, line.level, LOGGER, line.message, LOGGER, line.extras())

    follower = Follower(path, directory / POSITION_NAME, take)
    complained = ""
    while not stop.is_set():
        try:
            follower.poll()
            complained = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must go on
            told = f"{type(error).__name__}: {error}"
            if complained != told:
                complained = told
                log.warning("can't read tailscaled's log: %s", told)
        stop.wait(POLL_S)
