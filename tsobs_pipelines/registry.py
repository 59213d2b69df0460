"""Registries of extensions: alert rules, price sources, stores.

Whatever depends on a kind of thing (sensors, assets, the command line, the page, the documentation) reads its
registry, so that a new one is written in one file and named in one list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Protocol, TypeVar


class Keyed(Protocol):
    """What a registry can hold."""

    @property
    def key(self) -> str:
        """The name by which it is looked up, unique in its registry."""
        ...


T = TypeVar("T", bound=Keyed)


class UnknownKeyError(KeyError):
    """Nothing of that key is registered; the text names the kind, the key, and what there is."""

    def __str__(self) -> str:
        """The text itself: a ``KeyError`` would show its repr."""
        return str(self.args[0])


class Registry(Mapping[str, T]):
    """Things by their key, in the order in which they were added."""

    def __init__(self, kind: str, items: Iterable[T] = ()) -> None:
        """``kind`` is what an error calls one of them, such as ``alert rule``."""
        self.kind = kind
        self._items: dict[str, T] = {}
        for item in items:
            self.add(item)

    def add(self, item: T) -> None:
        """Add one.

        Raises:
            ValueError: there is one with this key.
        """
        if item.key in self._items:
            raise ValueError(f"{self.kind} {item.key!r} is registered twice")
        self._items[item.key] = item

    def remove(self, key: str) -> None:
        """Take one out again.

        Raises:
            UnknownKeyError: there is none with this key.
        """
        del self._items[self[key].key]

    def __getitem__(self, key: str) -> T:
        """The one with this key.

        Raises:
            UnknownKeyError: there is none.
        """
        try:
            return self._items[key]
        except KeyError:
            close = get_close_matches(key, self._items, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            text = f"unknown {self.kind} {key!r}: expected one of {', '.join(self._items)}{hint}"
            raise UnknownKeyError(text) from None

    def __iter__(self) -> Iterator[str]:
        """The keys."""
        return iter(self._items)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._items)
