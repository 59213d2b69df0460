"""Encodes fields as one line of JSON, whatever their types.

The line is ASCII, its keys are in a fixed order and without spaces, and its timestamp has a fixed length:
the search finds levels and times in it without parsing.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as quoted

from tsobs_pipelines.logs.plain import LONGEST_TEXT, Limits, Plain, cleaned, free_name, well_formed
from tsobs_pipelines.logs.redact import Redactor

FIELDS = ("timestamp", "level", "logger", "message", "module", "function", "line", "user", "exception")
"""The fields that tsobs writes itself, in their order; extras come after them."""

LONGEST_WRITTEN = 4 << 20
"""How many bytes a logger, a message, and all extras together may take, so that the search can read them."""

_LIMITS = (Limits(), Limits(1 << 14, 5_000), Limits(1 << 10, 500), Limits(1 << 6, 50, 500))
"""What is shown of the extras: the first that keeps the line short enough."""

_SHORT_TEXT = LONGEST_TEXT // 4
"""A character takes up to 12 bytes: a text of this length is never too long."""

_LONGEST_NAME = 1_000
_OWN_NAMES = frozenset(FIELDS)
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))

_EARLIEST_S = -62_135_596_800
_END_S = 253_402_300_800
"""The years that have four digits: 0001 to 9999, in seconds since 1970."""


class Clock:
    """Formats instants as RFC 3339 in UTC, always with six digits of fraction; remembers the last second."""

    def __init__(self) -> None:
        self._last = (0, "1970-01-01T00:00:00")

    def stamp(self, created: float) -> str:
        """``created`` (seconds since 1970, within the calendar) as ``2026-11-24T02:05:00.000000Z``."""
        second = math.floor(created)
        known, text = self._last
        if known != second:
            # strftime does not write four digits for the years before 1000.
            text = "{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}".format(*time.gmtime(second))
            self._last = (second, text)
        return f"{text}.{min(int((created - second) * 1_000_000), 999_999):06d}Z"


def seconds_of(created: object) -> float | None:
    """A number of seconds since 1970 that has a date; None for anything else."""
    kind = type(created)
    seconds: float = math.nan
    if issubclass(kind, float):
        seconds = float.__float__(created)  # type: ignore[arg-type] # not a subclass's own method
    elif issubclass(kind, int):
        seconds = int.__int__(created)  # type: ignore[arg-type]
    return seconds if _EARLIEST_S <= seconds < _END_S else None


class LineEncoder:
    """Writes lines; knows what to mask."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._stamp = Clock().stamp

    def line(
        self,
        created: float,
        level: str,
        logger: str,
        message: str,
        source: tuple[str, str, int],
        extras: Mapping[str, object],
    ) -> str:
        """One line without its end.

        ``source`` is module, function and line number. ``user`` and ``exception`` are taken from the extras;
        an extra with the name of another field gets an underscore behind it. Texts are cut after
        ``LONGEST_TEXT`` characters, and further when the line would be longer than the search reads.
        """
        module, function, number = source
        head = (
            f'{{"timestamp":"{self._stamp(created)}","level":"{level}","logger":{self._text(logger)},'
            f'"message":{self._text(message)},"module":{quoted(well_formed(module[:_LONGEST_NAME]))},'
            f'"function":{quoted(well_formed(function[:_LONGEST_NAME]))},"line":{number:d}'
        )
        ordered = _ordered(extras) if extras else None
        return f"{head},{self._extras(ordered)[1:]}" if ordered else head + "}"

    def _text(self, text: str) -> str:
        if len(text) > _SHORT_TEXT:
            return self._long_text(text)
        written = quoted(self._redactor.clean(text))
        # A surrogate is written as \udXXX; so is half of each character beyond the first 65,536.
        return quoted(well_formed(self._redactor.clean(text))) if "\\ud" in written else written

    def _long_text(self, text: str) -> str:
        written = quoted(well_formed(cleaned(self._redactor, text, LONGEST_TEXT)))
        if len(written) <= LONGEST_WRITTEN:
            return written
        return quoted(well_formed(cleaned(self._redactor, text, _SHORT_TEXT)))

    def _extras(self, extras: dict[str, object]) -> str:
        if _is_flat(extras):
            try:
                written = _ENCODER.encode(extras)
            except ValueError:  # NaN, or a number of more digits than Python writes out
                written = ""
            short = 0 < len(written) <= LONGEST_WRITTEN
            if short and "\\ud" not in written and self._redactor.clean(written) == written:
                return written
        for limits in _LIMITS:
            written = _ENCODER.encode(Plain(self._redactor, limits).fields(extras))
            if len(written) <= LONGEST_WRITTEN:
                break
        return written


def _is_flat(extras: Mapping[str, object]) -> bool:
    """Whether the encoder can be given these as they are: short, and all of JSON's own scalar types."""
    size = 0
    for value in extras.values():
        kind = type(value)
        if kind is str:
            size += len(value)  # type: ignore[arg-type] # mypy does not narrow by type()
        elif kind is not int and kind is not float and kind is not bool and value is not None:
            return False
    return size <= _SHORT_TEXT


def _ordered(extras: Mapping[str, object]) -> dict[str, object]:
    ordered = {name: extras[name] for name in ("user", "exception") if extras.get(name) is not None}
    for key, value in extras.items():
        if key not in {"user", "exception"}:
            ordered[free_name(f"{key}_" if key in _OWN_NAMES else key, ordered)] = value
    return ordered
