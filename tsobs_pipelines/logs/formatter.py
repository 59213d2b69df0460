"""The formatters: JSON for machines, plain text for people.

``JSONFormatter`` writes the fields ``timestamp``, ``level``, ``logger``, ``message``, ``module``,
``function``, ``line``, then ``user`` and ``exception`` when there are such, then the extras: those of the log
context, of the call, and what Dagster knows about the run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from tsobs_pipelines.logs import context
from tsobs_pipelines.logs.encoding import Clock, LineEncoder, free_name, key_text
from tsobs_pipelines.logs.levels import RANKS, name_of_number
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.settings import SettingsError, load_settings

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
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class _AssetKey(Protocol):
    path: list[str]


def default_redactor() -> Redactor:
    """A redactor for the settings of this process; without known values where they can't be read."""
    try:
        return Redactor.of(load_settings())
    except SettingsError:
        return Redactor()


class JSONFormatter(JsonFormatter):
    """One line of JSON for each record."""

    def __init__(self, *, redactor: Redactor | None = None) -> None:
        super().__init__()
        self._encoder = LineEncoder(default_redactor() if redactor is None else redactor)

    def format(self, record: logging.LogRecord) -> str:
        """``record`` as one line of JSON, without its end."""
        values = record.__dict__
        message, extras = _message(record)
        around = context.current()
        if around:
            extras.update(around)
        meta = values.get(_DAGSTER_META)
        if isinstance(meta, Mapping):
            message = _from_dagster(meta, extras) or message
        _add_extras(values, extras)
        if "user_login" in values:
            extras.setdefault("user", values["user_login"])
        exception = _exception(self, record)
        if exception is not None:
            extras["exception_"], extras["exception"] = extras.get("exception"), exception
            if extras["exception_"] is None:
                del extras["exception_"]
        if record.stack_info:
            extras["stack"] = record.stack_info
        level = record.levelname if record.levelname in RANKS else name_of_number(record.levelno)
        source = (record.module, record.funcName or "", record.lineno)
        return self._encoder.line(record.created, level, record.name, message, source, extras)


def _add_extras(values: Mapping[Any, object], extras: dict[str, object]) -> None:
    """Add what a log call carries; Python's logging lets the keys of its ``extra`` be anything."""
    unnamed = []
    for key, value in values.items():
        if not isinstance(key, str):
            unnamed.append((key, value))
        elif key not in _NOT_EXTRAS and not key.startswith(_OWN_MARK):
            extras[key] = value
    for key, value in unnamed:
        extras[free_name(key_text(key), extras)] = value


def _message(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """The text of a record, and the extras of one whose message is a mapping, as python-json-logger."""
    if isinstance(record.msg, dict):
        try:
            fields: dict[str, object] = {key_text(key): value for key, value in record.msg.items()}
            return str(fields.pop("message", "")), fields
        except Exception:  # noqa: BLE001 - whatever a foreign mapping raises, the record must not be lost
            return _shown(record.msg), {}
    try:
        return record.getMessage(), {}
    except Exception:  # noqa: BLE001 - a wrong format string must not lose the record
        return f"{_shown(record.msg, str)} {_shown(record.args)}", {}


def _shown(value: object, text: Callable[[object], str] = repr) -> str:
    try:
        return text(value)
    except Exception:  # noqa: BLE001 - whatever a foreign __repr__ raises
        return f"[{type(value).__name__} that can't be shown]"


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    if record.exc_info and record.exc_info[0] is not None:
        return str(formatter.formatException(record.exc_info))
    return record.exc_text


def _from_dagster(meta: Mapping[str, object], extras: dict[str, object]) -> str:
    """Add what Dagster knows about the run; returns the message without the prefix it puts there."""
    tags = meta.get("job_tags")
    event = meta.get("dagster_event")
    found = {
        "run_id": meta.get("run_id"),
        "job": meta.get("job_name"),
        "step": meta.get("step_key"),
        "asset": _asset(event) or meta.get("step_key"),
        "partition": getattr(event, "partition", None) or _partition(tags),
        "event": getattr(event, "event_type_value", None),
    }
    for key, value in found.items():
        if value is not None:
            extras.setdefault(key, value)
    error = getattr(getattr(event, "event_specific_data", None), "error", None)
    if error is not None:
        extras["exception"] = str(error.to_string()) if hasattr(error, "to_string") else str(error)
    return str(meta.get("orig_message") or "")


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
            text += f" [user={user}]"
        exception = _exception(self, record)
        if exception is not None:
            text += "\n" + exception
        head = f"{self._stamp(record.created)} {record.levelname:<8} {record.name}: "
        return visible(head + self._redactor.clean(text)).replace("\n", "\n    ")


def visible(text: str) -> str:
    """``text`` with what a terminal would obey written out; new lines and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
