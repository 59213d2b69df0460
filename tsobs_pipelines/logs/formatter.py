"""The formatters: JSON for machines, plain text for people.

``JSONFormatter`` writes the fields ``timestamp``, ``level``, ``logger``, ``message``, ``module``,
``function``, ``line``, then ``user`` and ``exception`` when there are such, then the extras: those of the log
context, of the call, and what Dagster knows about the run.
"""

from __future__ import annotations

import logging
import re
import time
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from tsobs_pipelines.logs import context
from tsobs_pipelines.logs.encoding import Clock, LineEncoder, seconds_of
from tsobs_pipelines.logs.levels import RANKS, name_of_number, name_of_text
from tsobs_pipelines.logs.plain import (
    LONGEST_TEXT,
    cleaned,
    free_name,
    name_of,
    not_shown,
    text_of,
    type_name,
)
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.settings import SettingsError, settings_of_process

_DAGSTER_META = "dagster_meta"
_OWN_MARK = "_tsobs_"
"""How attributes begin by which handlers of tsobs know the records that they have filed."""

_NOT_EXTRAS = frozenset(
    {
        *RESERVED_ATTRS,
        *("taskName", "color_message", "user_login"),
        *(_DAGSTER_META, "dagster_event", "dagster_event_batch_metadata"),
    }
)
_EXC_INFO_LENGTH = 3
_MOST_EXCEPTIONS = 10_000
_LAST_LINE = 1 << 31
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _AssetKey(Protocol):
    path: list[str]


def default_redactor() -> Redactor:
    """A redactor for the settings of this process; without known values where they can't be read."""
    try:
        return Redactor.of(settings_of_process())
    except SettingsError:
        return Redactor()


class JSONFormatter(JsonFormatter):
    """One line of JSON for each record."""

    def __init__(self, *, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._encoder = LineEncoder(default_redactor() if redactor is None else redactor)

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as one line of JSON, without its end. A part that can't be read is named."""
        try:
            return self._line(record)
        except Exception as error:  # noqa: BLE001 - whatever a record carries, it must not be lost
            rest = f"[the rest can't be shown: {type_name(error)}]"
            message = f"{_tried(lambda: _message_text(record)) or ''} {rest}".lstrip()
            level = str(_tried(lambda: level_of(record)) or "INFO")
            logger = str(_tried(lambda: _name(record.name)) or "")
            return self._encoder.line(time.time(), level, logger, message, ("", "", 0), {})

    def _line(self, record: logging.LogRecord) -> str:
        values = record.__dict__
        message, extras = _message(record)
        around = context.current()
        if around:
            extras.update(around)
        if _DAGSTER_META in values:
            meta = values[_DAGSTER_META]
            message = str(_tried(lambda: _from_dagster(meta, extras)) or message)
        _add_extras(values, extras)
        if "user_login" in values:
            extras.setdefault("user", values["user_login"])
        exception = _exception(self, record)
        if exception is not None:
            extras["exception_"], extras["exception"] = extras.get("exception"), exception
            if extras["exception_"] is None:
                del extras["exception_"]
        if record.stack_info is not None:
            extras["stack"] = record.stack_info
        created = seconds_of(record.created)
        if created is None:
            created, extras["created"] = time.time(), record.created
        source = (_name(record.module), _name(record.funcName), _line_number(record.lineno))
        return self._encoder.line(created, level_of(record), _name(record.name), message, source, extras)


def level_of(record: logging.LogRecord) -> str:
    """The level of a record whose name and number may be any; INFO when they say nothing."""
    name, number = record.levelname, record.levelno
    if type(name) is str and name in RANKS:
        return name
    if type(number) is int or type(number) is float:
        return name_of_number(number)
    return name_of_text(text_of(name)) or "INFO"


def instant_of(record: logging.LogRecord) -> float:
    """When a record was made, in seconds since 1970; now, if it has a time without a date."""
    created = seconds_of(record.created)
    return time.time() if created is None else created


def _name(value: object) -> str:
    if type(value) is str:
        return value
    return "" if value is None else text_of(value)


def _line_number(value: object) -> int:
    try:
        number = value if type(value) is int else int(value)  # type: ignore[call-overload] # or it raises
    except Exception:  # noqa: BLE001 - whatever a foreign __int__ raises
        return 0
    return int(number) if 0 <= number <= _LAST_LINE else 0


def _add_extras(values: Mapping[Any, object], extras: dict[str, object]) -> None:
    """Add what a log call carries; Python's logging lets the keys of its ``extra`` be anything."""
    unnamed = []
    for key, value in values.items():
        if type(key) is not str:
            unnamed.append((key, value))
        elif key not in _NOT_EXTRAS and not key.startswith(_OWN_MARK):
            extras[key] = value
    for key, value in unnamed:
        extras[free_name(text_of(key), extras)] = value


def _message(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """The text of a record, and the extras of one whose message is a mapping, as python-json-logger."""
    if issubclass(type(record.msg), dict):
        try:
            return _mapping_message(record.msg)
        except Exception:  # noqa: BLE001 - whatever a foreign mapping raises, the record must not be lost
            return _shown(record.msg), {}
    return _message_text(record), {}


def _mapping_message(fields: object) -> tuple[str, dict[str, object]]:
    named: dict[str, object] = {}
    for key, value in list(fields.items()):  # type: ignore[attr-defined] # a dict
        named[free_name(text_of(key), named)] = value
    return text_of(named.pop("message", "")), named


def _message_text(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
        return text if type(text) is str else text_of(text)
    except Exception:  # noqa: BLE001 - a wrong format string must not lose the record
        given = record.args
        nothing = given is None or (type(given) is tuple and not given)
        return text_of(record.msg) + ("" if nothing else f" {_shown(given)}")


def _shown(value: object) -> str:
    try:
        return text_of(repr(value))
    except Exception:  # noqa: BLE001 - whatever a foreign __repr__ raises
        if type(value) is tuple:
            return f"({', '.join(_shown(item) for item in value)})"
        return not_shown(value)


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """The traceback of a record, or what can be told of it; None without one."""
    info: object = record.exc_info
    if issubclass(type(info), BaseException):
        info = (type(info), info, None)
    if info is None or info is False or (type(info) is tuple and (not info or info[0] is None)):
        return None if record.exc_text is None else text_of(record.exc_text)
    try:
        if _is_endless(info[1]):  # type: ignore[index] # anything else raises
            return _plain_exception(info)
        return text_of(formatter.formatException(info))  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - an exception's own attributes may raise, or be of wrong types
        return _plain_exception(info)


def _is_endless(error: BaseException) -> bool:
    """Whether ``traceback`` would not end: it visits a member of groups as often as they hold it."""
    visits, seen, waiting = 0, set(), [error]
    while waiting:
        one = waiting.pop()
        visits += 1
        seen.add(id(one))
        if isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
        if visits + len(waiting) > _MOST_EXCEPTIONS:
            return True
        chained = (one.__cause__, one.__context__)
        waiting.extend(other for other in chained if other is not None and id(other) not in seen)
    return False


def _plain_exception(info: object) -> str:
    """What can be told of an exception that ``traceback`` can't format: its frames, type and text."""
    kind, error, frames = info if isinstance(info, tuple) and len(info) == _EXC_INFO_LENGTH else (0, 0, 0)
    if not isinstance(kind, type):
        return _shown(info)
    said = f"{name_of(kind)}: {text_of(error)}"
    if not isinstance(frames, TracebackType):
        return said
    return f"Traceback (most recent call last):\n{''.join(traceback.format_tb(frames))}{said}"


def _from_dagster(meta: object, extras: dict[str, object]) -> str:
    """Add what Dagster knows about the run; returns the message without the prefix it puts there."""
    if not isinstance(meta, Mapping):
        return ""
    event, tags = meta.get("dagster_event"), meta.get("job_tags")
    readers: dict[str, Callable[[], object]] = {
        "run_id": lambda: meta.get("run_id"),
        "job": lambda: meta.get("job_name"),
        "step": lambda: meta.get("step_key"),
        "asset": lambda: _asset(event) or meta.get("step_key"),
        "partition": lambda: getattr(event, "partition", None) or _partition(tags),
        "event": lambda: getattr(event, "event_type_value", None),
    }
    for key, read in readers.items():
        value = _tried(read)
        if value is not None:
            extras.setdefault(key, value)
    error = _tried(lambda: _error_text(event))
    if error is not None:
        extras["exception"] = error
    return str(_tried(lambda: text_of(meta.get("orig_message") or "")) or "")


def _tried(read: Callable[[], object]) -> object:
    """What ``read`` returns; None when it raises."""
    try:
        return read()
    except Exception:  # noqa: BLE001 - one field that can't be read costs only itself
        return None


def _error_text(event: object) -> str | None:
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    if error is None:
        return None
    return text_of(error.to_string() if hasattr(error, "to_string") else error)


def _partition(tags: object) -> object:
    """The partition of a run, or its range in Dagster's own notation."""
    if not isinstance(tags, Mapping):
        return None
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    return tags.get("dagster/partition") or (f"{first}...{last}" if first and last else None)


def _asset(event: object) -> str | None:
    key: _AssetKey | None = getattr(event, "asset_key", None)
    return "/".join(key.path) if key is not None else None


class TextFormatter(logging.Formatter):
    """``2026-11-24T02:05:00.000000Z WARNING  logger: message``, with user and exception if there are any."""

    def __init__(self, *, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._redactor = default_redactor() if redactor is None else redactor
        self._stamp = Clock().stamp

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as text; every line after the first is indented, so that none can pass for a record."""
        message, fields = _message(record)
        user = record.__dict__.get("user", record.__dict__.get("user_login", context.current().get("user")))
        text = message if not fields else f"{message} {_shown(fields)}".strip()
        if user is not None:
            text += f" [user={text_of(user)}]"
        exception = _exception(self, record)
        if exception is not None:
            text += "\n" + exception
        head = f"{self._stamp(instant_of(record))} {text_of(record.levelname):<8} {text_of(record.name)}: "
        return visible(head + cleaned(self._redactor, text, LONGEST_TEXT)).replace("\n", "\n    ")


def visible(text: str) -> str:
    """``text`` with what a terminal would obey written out; new lines and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
