"""Parses one line of a log file, of tsobs or of structlog (Dagster's daemon, webserver, code server)."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from tsobs_pipelines.logs.levels import RANKS, name_of_text

Entry = dict[str, object]

OWN_START = b'{"timestamp":"'
"""How a line of tsobs begins; its timestamp follows, 27 characters, then the level."""

STAMP_LENGTH = 27

DEEPEST = 32
"""How deep values may be nested: an answer of the API can't be written much deeper."""


def _finite(text: str) -> float | str:
    """A number of JSON; as text where it is too large for a float, since JSON has no infinity."""
    value = float(text)
    return value if math.isfinite(value) else text


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=str).decode
"""Python's NaN and Infinity, which are no JSON, are read as text."""

_TIME_KEYS = ("timestamp", "@timestamp", "time", "ts", "at")
_LEVEL_KEYS = ("level", "severity", "lvl", "levelname", "log.level", "loglevel")
_MESSAGE_KEYS = ("event", "message", "msg")

_LATEST_SECOND = 1e11
"""A larger number of a timestamp (seconds to the year 5138) counts milliseconds."""


def stamp_of(instant: datetime) -> str:
    """An instant in the form of the log files, which sorts as text."""
    # strftime does not write four digits for the years before 1000.
    return f"{instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def own_stamp(line: bytes | bytearray, start: int = 0) -> str | None:
    """The timestamp of the line of tsobs at ``start``, without parsing it; None for another line."""
    end = start + len(OWN_START) + STAMP_LENGTH
    if not line.startswith(OWN_START, start) or line[end - 1 : end + 1] != b'Z"':
        return None
    return line[end - STAMP_LENGTH : end].decode("ascii", "replace")


def parse_stamp(value: object) -> str | None:
    """A foreign timestamp (RFC 3339, or seconds or ms since 1970) in the form of the log files."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if value > _LATEST_SECOND else value
            return stamp_of(datetime.fromtimestamp(seconds, UTC))
        instant = datetime.fromisoformat(str(value))
        return stamp_of(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    except (ValueError, OverflowError, OSError):
        return None


def parse_line(line: bytes) -> Entry | None:
    """The entry of a line; None when it is neither of tsobs nor of structlog's form."""
    try:
        found: object = _decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    entry: Entry = {key: _shallow(value, 1) for key, value in found.items()}
    return entry if _is_own(entry, line) else from_mapping(entry)


def _is_own(entry: Entry, line: bytes) -> bool:
    level, stamp = entry.get("level"), own_stamp(line)
    named = isinstance(level, str) and level in RANKS and isinstance(entry.get("message"), str)
    return named and stamp is not None and entry.get("timestamp") == stamp == parse_stamp(stamp)


def _shallow(value: object, depth: int) -> object:
    if not isinstance(value, list | dict):
        return value
    if depth >= DEEPEST:
        return "[too deep]"
    if isinstance(value, list):
        return [_shallow(item, depth + 1) for item in value]
    return {key: _shallow(item, depth + 1) for key, item in value.items()}


def from_mapping(found: dict[str, object]) -> Entry | None:
    """The entry that another program's JSON object means; None without a time, a level or a message."""
    time_key = next((key for key in _TIME_KEYS if key in found), None)
    message_key = next((key for key in _MESSAGE_KEYS if isinstance(found.get(key), str)), None)
    level_key = next((key for key in _LEVEL_KEYS if key in found), None)
    level = name_of_text(found[level_key]) if level_key else None
    stamp = parse_stamp(found[time_key]) if time_key else None
    if stamp is None or message_key is None or level is None:
        return None
    rest = {
        key: value
        for key, value in found.items()
        if key not in {time_key, message_key, level_key, "level", "logger", "module", "function", "line"}
    }
    return {
        "timestamp": stamp,
        "level": level,
        "logger": str(found.get("logger", "")),
        "message": found[message_key],
        "module": found.get("module", ""),
        "function": found.get("function", ""),
        "line": found.get("line", 0),
        **rest,
    }


def last_whole(line: bytes) -> Entry | None:
    """The entry behind a torn one on the same line, which a killed writer may have left."""
    start = line.rfind(OWN_START)
    return parse_line(line[start:]) if start > 0 else None
