"""Writes the output of the processes of ``make up`` to the logs: Dagster's, workers', and crash output.

A line of JSON keeps its time, level, logger and message; any other line becomes a record of the logger that
is named after the part. A traceback over many lines becomes one record. Records that a part has logged itself
are not logged again: lines in tsobs' own form, and the console copies of Dagster's run logger.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tsobs_pipelines.logs.encoding import FIELDS, LineEncoder
from tsobs_pipelines.logs.files import day_files, day_of, log_directory
from tsobs_pipelines.logs.formatter import default_redactor
from tsobs_pipelines.logs.levels import name_of_text
from tsobs_pipelines.logs.lines import from_mapping
from tsobs_pipelines.logs.plain import text_of
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.logs.scanning import SLACK
from tsobs_pipelines.settings import load_settings

HOLD_S = 0.3
"""How long a line waits for the rest of its traceback."""

LONGEST_RECORD = 1 << 20
_RUN_COPY = re.compile(r"\S+ - [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12} - ")
"""How a run's lines on the console begin: they are copies, Dagster's handler files the same records."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN_FIELDS = frozenset(FIELDS[:7])
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FORMS = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        # Dagster's and coloredlogs', Celery's, uvicorn's.
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - (?P<logger>\S+) - (?P<level>[A-Z]+) - (?P<message>.*)",
        r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+: (?P<level>[A-Z]+)/(?P<logger>[^\]]+)\] (?P<message>.*)",
        r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL): +(?P<message>.*)",
    )
)
_TRACEBACK = re.compile(
    r"^(?:\s*\+ )?(?:Exception Group )?Traceback \(most recent call last\):", re.MULTILINE
)
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")


class RecordWriter:
    """Writes records of other programs to the day files. Never raises because of a disk."""

    def __init__(
        self,
        directory: Path | None = None,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        folder = log_directory(load_settings().state_dir) if directory is None else directory
        self._files = day_files(folder)
        self._encoder = LineEncoder(default_redactor() if redactor is None else redactor)
        self._clock = clock
        self._lost = 0

    def write(
        self,
        at: float | None,
        level: str,
        logger: str,
        message: str,
        module: str,
        extras: dict[str, object],
    ) -> None:
        """File one record.

        A record that comes long after its own time (seconds since 1970), or before it, is filed under now and
        keeps its time as ``event_time``: the files stay in order.
        """
        now = self._clock()
        stamp = now if at is None else at
        near = abs(stamp - now) <= SLACK.total_seconds() / 2
        if not near or day_of(stamp) != day_of(now):
            extras = {**extras, "event_time": _instant_text(stamp)}
            stamp = now
        source = (text_of(extras.pop("module", "") or module), text_of(extras.pop("function", "") or ""), 0)
        line = self._encoder.line(stamp, level, logger, message, source, extras)
        try:
            self._files.append(day_of(stamp), line.encode("utf-8", "replace") + b"\n")
        except OSError as error:
            if self._lost == 0:
                sys.stderr.write(f"tsobs: can't write the log ({error.strerror})\n")
            self._lost += 1


@dataclass
class _Pending:
    """Lines of one part that may belong together."""

    lines: list[str] = field(default_factory=list)
    size: int = 0
    at: float = 0.0
    in_traceback: bool = False
    ended: bool = False


class LineIntake:
    """Takes printed lines, part by part. Safe across threads."""

    def __init__(
        self,
        directory: Path | None = None,
        redactor: Redactor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._writer = RecordWriter(directory, redactor, clock)
        self._clock = clock
        self._pending: dict[str, _Pending] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def take(self, part: str, line: bytes) -> None:
        """Take one line of ``part``, with or without its end. Never raises: the part's pipe must be read."""
        try:
            self._take(part, line)
        except Exception as error:  # noqa: BLE001 - whatever a line holds, the next one must be filed as well
            shown = line[:1000].decode("utf-8", "backslashreplace")
            self._writer.write(
                None, "ERROR", part, f"a line that can't be filed ({type(error).__name__}): {shown}", part, {}
            )

    def _take(self, part: str, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
        with self._lock:
            if text.startswith("{") and self._json(part, text):
                return
            self._text(part, _COLOURS.sub("", text))
            if self._timer is None and self._pending:
                self._timer = threading.Timer(HOLD_S, self._due)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """File what still waits for more lines."""
        with self._lock:
            for part in list(self._pending):
                self._end(part)

    close = flush

    def _due(self) -> None:
        with self._lock:
            self._timer = None
        self.flush()

    def _json(self, part: str, text: str) -> bool:
        try:
            found: object = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(found, dict):
            return False
        if found.keys() >= _OWN_FIELDS:
            self._end(part)
            return True
        entry = from_mapping(found)
        if entry is None:
            return False
        self._end(part)
        known = {"timestamp", "level", "logger", "message", "line"}
        extras = {key: value for key, value in entry.items() if key not in known}
        extras.setdefault("part", part)
        at = datetime.fromisoformat(str(entry["timestamp"])).timestamp()
        logger = str(entry["logger"]) or part
        self._writer.write(at, str(entry["level"]), logger, str(entry["message"]), part, extras)
        return True

    def _text(self, part: str, text: str) -> None:
        pending = self._pending.get(part)
        if pending is not None and not _continues(pending, text):
            self._end(part)
            pending = None
        if pending is None:
            if not text.strip():
                return
            pending = self._pending[part] = _Pending(at=self._clock())
        if _TRACEBACK.match(text):
            pending.in_traceback, pending.ended = True, False
        elif pending.in_traceback and text and not text[0].isspace() and not text.startswith(_CHAINED):
            pending.ended = True
        pending.lines.append(text)
        pending.size += len(text)
        if pending.size > LONGEST_RECORD:
            self._end(part)

    def _end(self, part: str) -> None:
        pending = self._pending.pop(part, None)
        if pending is None:
            return
        text = "\n".join(pending.lines).rstrip()
        found = _TRACEBACK.search(text)
        message, exception = (
            (text[: found.start()].rstrip(), text[found.start() :]) if found else (text, None)
        )
        level, logger = ("ERROR" if exception else "INFO"), part
        form = next((match for pattern in _FORMS if (match := pattern.fullmatch(message))), None)
        if form is not None:
            named = form.groupdict()
            level = name_of_text(named["level"]) or level
            logger = named.get("logger") or part
            if logger == "dagster" and _RUN_COPY.match(named["message"]):
                return
            logger = part if "/" in logger or "Process" in logger or "Worker" in logger else logger
            message = named["message"]
        extras: dict[str, object] = {"part": part}
        if exception:
            extras["exception"] = exception
            message = message or exception.rstrip().rpartition("\n")[2].strip()
        self._writer.write(pending.at, level, logger, message, part, extras)


def _instant_text(stamp: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC; as a number where the calendar ends."""
    try:
        return (_EPOCH + timedelta(seconds=stamp)).isoformat()
    except (OverflowError, ValueError):
        return f"{stamp:.0f} s"


def _continues(pending: _Pending, text: str) -> bool:
    """Whether a line belongs to those before it."""
    if _TRACEBACK.match(text):
        return not pending.ended or pending.lines[-1] == "" or not text[0].isalpha()
    if pending.in_traceback:
        return not pending.ended or not text or text[0].isspace() or text.startswith(_CHAINED)
    return bool(text) and text[0].isspace()
