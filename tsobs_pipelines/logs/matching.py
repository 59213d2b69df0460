"""The filters of a search: as quick tests on bytes, and exactly, on a parsed entry.

A line of tsobs is parsed only when the bytes of every condition are in it, which follow from how
``encoding.py`` writes it. Lines of other programs are always parsed. The exact answer is given on the parsed
entry.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tsobs_pipelines.logs.levels import NAMES, from_level
from tsobs_pipelines.logs.lines import Entry, stamp_of

LONGEST_HOURS = 24 * 366 * 10
HIGHEST_LIMIT = 10_000
SHORTEST_RUN_ID = 8

Needles = tuple[bytes, ...]
"""Byte strings of which one must be in a line."""


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to look for; a condition that is None always holds.

    ``level`` means that and above, ``q`` is plain text in any value or field name (capitals count),
    ``logger`` a name or the parent of one, ``run_id`` may be cut short, as the Dagster UI shows it, to its
    first eight characters.

    Raises:
        ValueError: a value out of range; the text is one line that names it.
    """

    level: str = "DEBUG"
    hours: float = 24
    limit: int = 100
    q: str | None = None
    logger: str | None = None
    user: str | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        from_level(self.level)
        if not (math.isfinite(self.hours) and 0 < self.hours <= LONGEST_HOURS):
            raise ValueError(f"hours={self.hours}: expected a number above 0, at most {LONGEST_HOURS}")
        if not 1 <= self.limit <= HIGHEST_LIMIT:
            raise ValueError(f"limit={self.limit}: expected 1 to {HIGHEST_LIMIT}")
        if self.run_id and len(self.run_id) < SHORTEST_RUN_ID:
            raise ValueError(f"run_id={self.run_id!r}: expected at least {SHORTEST_RUN_ID} characters")

    def since(self, now: datetime) -> str:
        """The oldest timestamp that is asked for."""
        return stamp_of(now - timedelta(hours=self.hours))

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that are asked for."""
        return from_level(self.level)


def needles(query: LogQuery) -> list[Needles]:
    """The bytes that a matching line of tsobs holds: one of each group. What rules out most comes first."""
    groups: list[Needles] = []
    if query.q:
        groups.append(_written(query.q))
    if query.run_id:
        groups.append(tuple(b'"' + form for form in _written(query.run_id)))
    if query.user:
        groups.append(tuple(b'"' + form + b'"' for form in _written(query.user)))
    if query.logger:
        groups.append(tuple(b'"' + form for form in _written(query.logger)))
    if len(query.levels) < len(NAMES):
        # The whole text, since bytes.find is faster with long needles.
        level: Needles = tuple(b'Z","level":"%s","logger":"' % name.encode() for name in query.levels)
        # Of the levels from INFO and WARNING on there are more lines than of most loggers and users.
        groups.insert(len(groups) if query.level.upper() in {"INFO", "WARNING"} else bool(query.q), level)
    return groups


def _written(text: str) -> Needles:
    forms = (
        json.dumps(text)[1:-1].encode(),
        json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace"),
    )
    return tuple(dict.fromkeys(forms))


def matches(query: LogQuery, entry: Entry, since: str) -> bool:
    """Whether an entry is one that was asked for."""
    logger = str(entry.get("logger", ""))
    return (
        str(entry["timestamp"]) >= since
        and entry["level"] in query.levels
        and (query.user is None or entry.get("user") == query.user)
        and (query.run_id is None or str(entry.get("run_id", "")).startswith(query.run_id))
        and (query.logger is None or logger == query.logger or logger.startswith(query.logger + "."))
        and (not query.q or any(query.q in text for text in _texts(entry)))
    )


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield value if isinstance(value, str) else json.dumps(value)
