"""Which failures of a step are retried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

PERMANENT = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
"""What the same code says of the same input every time. A store or a network that fails raises others."""


@contextmanager
def permanent_failures_at_once() -> Iterator[None]:
    """Fail the step without retries if a retry would fail in the same way; else the retry policy applies."""
    try:
        yield
    except PERMANENT as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
