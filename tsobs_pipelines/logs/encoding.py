"""Encodes fields as one line of JSON, whatever their types.

The line is ASCII, its keys are in a fixed order and without spaces, and its timestamp has a fixed length:
the search finds levels and times in it without parsing.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Container, Mapping, Set
from itertools import islice
from json.encoder import encode_basestring_ascii as quoted

from pythonjsonlogger.json import JsonEncoder

from tsobs_pipelines.logs.redact import MASK, Redactor, names_secret

FIELDS = ("timestamp", "level", "logger", "message", "module", "function", "line", "user", "exception")
"""The fields that tsobs writes itself, in their order; extras come after them."""

DEEPEST = 12
LONGEST_COLLECTION = 10_000


_NO_TEXT = "__could_not_encode__"
"""What python-json-logger writes of an object that has no text."""


class _Encoder(JsonEncoder):
    """python-json-logger's encoder, which also knows sets, numpy's values and missing values."""

    def default(self, o: object) -> object:
        """What JSON can express of ``o``."""
        simple = _simple(o)
        if simple is not o:
            return simple
        text: object = super().default(o)
        return _not_shown(o) if text == _NO_TEXT else text


_FAST = _Encoder(allow_nan=False, separators=(",", ":"))
_SLOW = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_SURROGATE = re.compile("[\ud800-\udfff]")
_OWN_NAMES = frozenset(FIELDS)
_MISSING = frozenset({"NAType", "NaTType"})
"""pandas' types of a value that is not there."""


class Clock:
    """Formats instants as RFC 3339 in UTC, always with six digits of fraction; remembers the last second."""

    def __init__(self) -> None:
        self._last = (-1, "")

    def stamp(self, created: float) -> str:
        """``created`` (seconds since 1970) as ``2026-11-24T02:05:00.000000Z``."""
        second = math.floor(created)
        known, text = self._last
        if known != second:
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._last = (second, text)
        return f"{text}.{int((created - second) * 1_000_000):06d}Z"


def well_formed(text: str) -> str:
    """``text`` without lone surrogates, which strict JSON parsers refuse."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


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
        an extra with the name of another field gets an underscore behind it.
        """
        module, function, number = source
        head = (
            f'{{"timestamp":"{self._stamp(created)}","level":"{level}","logger":{self._text(logger)},'
            f'"message":{self._text(message)},"module":{quoted(well_formed(module))},'
            f'"function":{quoted(well_formed(function))},"line":{number:d}'
        )
        if not extras:
            return head + "}"
        return f"{head},{self._extras(_ordered(extras))[1:]}"

    def _text(self, text: str) -> str:
        written = quoted(self._redactor.clean(text))
        # A surrogate is written as \udXXX; so is half of each character beyond the first 65,536.
        return quoted(well_formed(self._redactor.clean(text))) if "\\ud" in written else written

    def _extras(self, extras: dict[str, object]) -> str:
        try:
            written = _FAST.encode(extras)
        except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises, the record must not be lost
            written = ""
        if not written or "\\ud" in written or self._redactor.clean(written) != written:
            written = _SLOW.encode(self._plain(extras, 0, ()))
        return written

    def _plain(self, value: object, depth: int, above: tuple[int, ...]) -> object:  # noqa: PLR0911
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return well_formed(self._redactor.clean(str(value)))
        if isinstance(value, int | float):
            return self._number(value)
        if id(value) in above:
            return "[circular]"
        if depth >= DEEPEST:
            return "[too deep]"
        above = (*above, id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth, above)
            if isinstance(value, list | tuple):
                return [self._plain(item, depth + 1, above) for item in value[:LONGEST_COLLECTION]]
        except Exception:  # noqa: BLE001 - whatever a foreign container raises, the record must not be lost
            return _not_shown(value)
        return self._plain(_described(value), depth + 1, above)

    def _mapping(self, value: Mapping[object, object], depth: int, above: tuple[int, ...]) -> object:
        written: dict[str, object] = {}
        for key, item in islice(value.items(), LONGEST_COLLECTION):
            secret = isinstance(key, str) and isinstance(item, str | bytes) and names_secret(key)
            name = free_name(self._key(key), written)
            written[name] = MASK if secret else self._plain(item, depth + 1, above)
        return written

    def _key(self, key: object) -> str:
        return well_formed(self._redactor.clean(key_text(key)))

    def _number(self, value: int | float) -> object:
        if not isinstance(value, int) and not math.isfinite(value):
            return {"nan": "NaN", "inf": "Infinity"}.get(str(value), "-Infinity")
        try:
            text = repr(value)
        except ValueError:  # an int of more digits than Python writes out
            return f"[int of {int(value).bit_length()} bits]"
        return value if self._redactor.clean(text) == text else self._redactor.clean(text)


def key_text(key: object) -> str:
    """The name under which a value stands whose key may be anything."""
    try:
        return key if isinstance(key, str) else str(key)
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises, the record must not be lost
        return _not_shown(key)


def free_name(name: str, taken: Container[str]) -> str:
    """``name`` with as many underscores behind it as it needs to differ from those that are taken."""
    while name in taken:
        name += "_"
    return name


def _simple(value: object) -> object:
    """Sets, mappings, numpy's and pandas' values by what they hold; anything else as it is.

    They are recognised by what they can do: importing numpy here would cost every process.
    """
    if isinstance(value, Set):
        items = list(islice(value, LONGEST_COLLECTION))
        try:
            return sorted(items)
        except TypeError:
            return items
    if isinstance(value, Mapping):
        return dict(value.items())
    if type(value).__name__ in _MISSING:
        return None
    return _listed(value)


def _listed(value: object) -> object:
    """What numpy's and pandas' arrays, columns and scalars hold, as Python's own values."""
    tolist = getattr(value, "tolist", None)
    if not callable(tolist):
        return value
    kind, size = getattr(getattr(value, "dtype", None), "kind", ""), getattr(value, "size", 1)
    if isinstance(size, int) and size > LONGEST_COLLECTION:
        return f"[{type(value).__name__} of {size} values]"
    if kind in {"m", "M"}:  # as numbers they would be nanoseconds
        return _texts_of_times(value.astype("U").tolist())  # type: ignore[attr-defined] # numpy's and pandas'
    if type(value).__name__ == "longdouble":
        return float(value)  # type: ignore[arg-type] # its tolist() is itself
    return tolist()


def _texts_of_times(texts: object) -> object:
    if isinstance(texts, list):
        return [_texts_of_times(text) for text in texts]
    return None if texts == "NaT" else str(texts)


def _described(value: object) -> object:
    """Something that JSON can express, standing for ``value``."""
    try:
        result = _FAST.default(value)
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises, the record must not be lost
        return _not_shown(value)
    known = result is None or isinstance(result, str | int | float | Mapping | list | tuple)
    return result if known else str(type(value))


def _not_shown(value: object) -> str:
    return f"[{type(value).__name__} that can't be shown]"


def _ordered(extras: Mapping[str, object]) -> dict[str, object]:
    ordered = {name: extras[name] for name in ("user", "exception") if extras.get(name) is not None}
    for key, value in extras.items():
        if key not in {"user", "exception"}:
            ordered[free_name(f"{key}_" if key in _OWN_NAMES else key, ordered)] = value
    return ordered
