"""Turns any value into what JSON can express, in bounded time and size, whatever the value's own methods do.

A value that can't be read is named in its place; the values beside it are shown.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping, Set
from itertools import islice
from operator import length_hint
from typing import NamedTuple

from pythonjsonlogger.json import JsonEncoder

from tsobs_pipelines.logs.redact import MASK, Redactor, names_secret

DEEPEST = 12
LONGEST_COLLECTION = 10_000

LONGEST_TEXT = 1 << 20
"""How many characters of a text are kept."""

_CUT_MARGIN = 4_096
"""A secret of this length is masked also where a text is cut within it."""

_NO_TEXT = "__could_not_encode__"
"""What python-json-logger writes of an object that has no text."""

_NOT_READ = "[value that can't be read]"
_MISSING = frozenset({"NAType", "NaTType"})
"""pandas' types of a value that is not there."""

_ARRAY_MODULES = frozenset({"numpy", "pandas"})
_MOST_UNDERSCORES = 3
_LONGEST_NAME = 100
_LIBRARY = JsonEncoder()
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAME_OF_TYPE = type.__dict__["__name__"]


class Limits(NamedTuple):
    """How much of a record's extras is shown."""

    text: int = LONGEST_TEXT
    """Characters of one text."""
    values: int = 50_000
    """Values inside of collections, of all fields together."""
    fields: int = 50_000


def name_of(kind: type) -> str:
    """The name of a type, without asking its metaclass for it."""
    return str(_NAME_OF_TYPE.__get__(kind))


def type_name(value: object) -> str:
    """The name of the type of ``value``."""
    return name_of(type(value))


def not_shown(value: object) -> str:
    """What stands for a value of which nothing but the type can be told."""
    return f"[{type_name(value)} that can't be shown]"


def text_of(value: object) -> str:
    """The text of a value, as a plain ``str``."""
    try:
        return str.__str__(value if issubclass(type(value), str) else str(value))
    except Exception:  # noqa: BLE001 - whatever a foreign __str__ raises, the record must not be lost
        return not_shown(value)


def well_formed(text: str) -> str:
    """``text`` without lone surrogates, which strict JSON parsers refuse."""
    if _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cleaned(redactor: Redactor, text: str, longest: int) -> str:
    """``text`` with its secrets masked; cut after ``longest`` characters, with a word about the rest."""
    if len(text) <= longest:
        return redactor.clean(text)
    head = redactor.clean(text[: longest + _CUT_MARGIN])[:longest]
    return f"{head} … [{len(text) - longest} more characters]"


def free_name(name: str, taken: Collection[str]) -> str:
    """``name``, with underscores or a number behind it if it is taken."""
    tried, number = name, len(taken)
    for _ in range(_MOST_UNDERSCORES):
        if tried not in taken:
            return tried
        tried += "_"
    # Thousands of keys may have the same text.
    while tried in taken:
        tried, number = f"{name}_{number}", number + 1
    return tried


class Plain:
    """Converts the extras of one record."""

    def __init__(self, redactor: Redactor, limits: Limits) -> None:
        self._redactor = redactor
        self._limits = limits
        self._left = limits.values

    def fields(self, extras: Mapping[str, object]) -> dict[str, object]:
        """The extras as JSON can express them."""
        found = list(islice(extras.items(), self._limits.fields))
        written: dict[str, object] = {}
        for key, item in found:
            self._add(written, key, item, 0, ())
        if len(found) < len(extras):
            written[free_name("…", written)] = f"[{len(extras) - len(found)} more]"
        return written

    def _value(self, value: object, depth: int, above: tuple[int, ...]) -> object:
        try:
            return self._read(value, depth, above)
        except Exception:  # noqa: BLE001 - whatever foreign methods raise, the record must not be lost
            return not_shown(value)

    def _read(self, value: object, depth: int, above: tuple[int, ...]) -> object:  # noqa: PLR0911
        # By the type itself, as the JSON encoder does: ``__class__`` may be anything.
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return self._text(str.__str__(value))
        if issubclass(kind, int):
            return self._int(int.__int__(value))  # type: ignore[arg-type]
        if issubclass(kind, float):
            return self._float(float.__float__(value))  # type: ignore[arg-type]
        if id(value) in above:
            return "[circular]"
        if depth >= DEEPEST:
            return "[too deep]"
        above = (*above, id(value))
        if isinstance(value, Mapping):
            return self._mapping(value, depth, above)
        items = _items_of(value)
        if items is not None:
            return self._items(value, items, depth, above)
        return self._value(_described(value), depth + 1, above)

    def _items(
        self, value: object, items: Iterable[object], depth: int, above: tuple[int, ...]
    ) -> list[object]:
        shown: list[object] = []
        for item in items:
            if len(shown) >= LONGEST_COLLECTION or self._left <= 0:
                shown.append(f"… [{_rest(value, shown)} more]")
                break
            self._left -= 1
            shown.append(self._value(item, depth + 1, above))
        return shown

    def _mapping(
        self, value: Mapping[object, object], depth: int, above: tuple[int, ...]
    ) -> dict[str, object]:
        written: dict[str, object] = {}
        for key, item in _pairs(value):
            if len(written) >= LONGEST_COLLECTION or self._left <= 0:
                written[free_name("…", written)] = f"[{_rest(value, written)} more]"
                break
            self._left -= 1
            self._add(written, key, item, depth + 1, above)
        return written

    def _add(
        self, written: dict[str, object], key: object, item: object, depth: int, above: tuple[int, ...]
    ) -> None:
        text = text_of(key)
        name = free_name(self._text(text), written)
        secret = issubclass(type(item), str | bytes) and names_secret(text[-_LONGEST_NAME:])
        written[name] = MASK if secret else self._value(item, depth, above)

    def _text(self, text: str) -> str:
        return well_formed(cleaned(self._redactor, text, self._limits.text))

    def _int(self, value: int) -> object:
        try:
            text = repr(value)
        except ValueError:  # of more digits than Python writes out
            return f"[int of {value.bit_length()} bits]"
        clean = self._redactor.clean(text)
        return value if clean == text else clean

    def _float(self, value: float) -> object:
        if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        text = repr(value)
        clean = self._redactor.clean(text)
        return value if clean == text else clean


def _rest(value: object, shown: Collection[object]) -> int | str:
    try:
        return length_hint(value) - len(shown)
    except Exception:  # noqa: BLE001 - whatever a foreign __len__ raises
        return "some"


def _pairs(value: Mapping[object, object]) -> Iterable[tuple[object, object]]:
    if issubclass(type(value), dict):
        # At once, since another thread may be changing it.
        return list(islice(value.items(), LONGEST_COLLECTION + 1))
    return ((key, _item(value, key)) for key in value)


def _item(value: Mapping[object, object], key: object) -> object:
    try:
        return value[key]
    except Exception:  # noqa: BLE001 - one value that can't be read costs only itself
        return _NOT_READ


def _items_of(value: object) -> Iterable[object] | None:
    """The items of a list or tuple, or of a set, sorted if that is possible; None for anything else."""
    for base in (list, tuple, set, frozenset):
        if issubclass(type(value), base):
            items: Iterable[object] = base.__iter__(value)  # type: ignore[arg-type] # not a subclass's own
            break
    else:
        if not isinstance(value, Set):
            return None
        items = value
    if not isinstance(value, Set):
        return items
    some = list(islice(items, LONGEST_COLLECTION + 1))
    try:
        return sorted(some)  # type: ignore[type-var] # what can't be compared raises
    except Exception:  # noqa: BLE001 - whatever a foreign comparison raises
        return some


def _described(value: object) -> object:
    """Something simpler that stands for ``value``: what it holds, or its text."""
    if type_name(value) in _MISSING:
        return None
    if dataclasses.is_dataclass(type(value)):
        names = (field.name for field in dataclasses.fields(value))  # type: ignore[arg-type]
        return {name: _attribute(value, name) for name in names}
    try:
        listed = _listed(value)
    except Exception:  # noqa: BLE001 - whatever a foreign tolist() raises
        listed = value
    if listed is not value:
        return listed
    text: object = _LIBRARY.default(value)
    return not_shown(value) if type(text) is str and text == _NO_TEXT else text


def _attribute(value: object, name: str) -> object:
    try:
        return getattr(value, name)
    except Exception:  # noqa: BLE001 - one attribute that can't be read costs only itself
        return _NOT_READ


def _listed(value: object) -> object:
    """What arrays, columns and scalars of numpy and pandas hold, as Python's own values; others as they are.

    They are recognised by what their types can do: importing numpy here would cost every process. Other types
    with a ``tolist`` are listed if that gives a list or a scalar.
    """
    if not callable(getattr(type(value), "tolist", None)):
        return value
    size = getattr(value, "size", None)
    size = size if isinstance(size, int) else length_hint(value)
    if size > LONGEST_COLLECTION:
        return f"[{type_name(value)} of {size} values]"
    known = any(cls.__module__.partition(".")[0] in _ARRAY_MODULES for cls in type(value).__mro__)
    if known and getattr(getattr(value, "dtype", None), "kind", "") in {"m", "M"}:
        # As numbers they would be nanoseconds.
        return _texts_of_times(value.astype("U").tolist())  # type: ignore[attr-defined] # numpy's and pandas'
    if known and type_name(value) == "longdouble":
        return float(value)  # type: ignore[arg-type] # its tolist() is itself
    found: object = value.tolist()  # type: ignore[attr-defined] # looked for above
    if known:
        return value if type(found) is type(value) else found
    return found if found is None or issubclass(type(found), list | tuple | str | int | float) else value


def _texts_of_times(texts: object) -> object:
    if isinstance(texts, list):
        return [_texts_of_times(text) for text in texts]
    return None if texts == "NaT" else str(texts)
