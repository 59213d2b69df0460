"""Context fields that are added to every log record written within a block.

The context follows threads started with ``asyncio.to_thread`` and tasks, as context variables do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_EMPTY: Mapping[str, str] = MappingProxyType({})
_context: ContextVar[Mapping[str, str]] = ContextVar("tsobs_log_context", default=_EMPTY)


def current() -> Mapping[str, str]:
    """The fields in force here."""
    return _context.get()


@contextmanager
def log_context(
    *,
    run_id: str | None = None,
    asset: str | None = None,
    partition: str | None = None,
    user: str | None = None,
    **others: str,
) -> Iterator[None]:
    """Put these fields on every record until the block ends; what is None stays as it was outside."""
    given = {"run_id": run_id, "asset": asset, "partition": partition, "user": user, **others}
    token = _context.set({**_context.get(), **{key: text for key, text in given.items() if text is not None}})
    try:
        yield
    finally:
        _context.reset(token)
