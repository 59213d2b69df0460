"""Terminating a run ends it, also while a step with a retry policy is executed.

Dagster counts the interrupt as a failure of such a step, executes the step again, and the run goes on to its
end: what was terminated is shown as succeeded. Here the interrupt ends the run, as in steps without a policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import RetryRequested
from dagster._core.errors import DagsterExecutionInterruptedError, raise_execution_interrupts
from dagster._core.execution.plan import utils


def apply() -> None:
    """Use :func:`interrupts_are_not_retried` around the code of every step."""
    utils.raise_execution_interrupts = interrupts_are_not_retried  # type: ignore[attr-defined]


@contextmanager
def interrupts_are_not_retried() -> Iterator[None]:
    """Raise interrupts in this block, and not the retries that Dagster makes of them in it."""
    with raise_execution_interrupts():
        try:
            yield
        except RetryRequested as retry:
            if isinstance(retry.__cause__, (DagsterExecutionInterruptedError, KeyboardInterrupt)):
                raise retry.__cause__ from None
            raise
