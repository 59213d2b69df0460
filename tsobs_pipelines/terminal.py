"""What is shown on a terminal only: colours, and the progress of what takes longer than some seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[[int], None]
"""Says how much more is done: bytes, or items."""


def console(*, soft_wrap: bool = True) -> Console:
    """Standard output; without colours where it is no terminal, or where ``NO_COLOR`` is set.

    Texts are printed as they are: only ``Text`` has styles, so that no data is taken for markup.
    """
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)


def printable(text: str) -> str:
    """Text of somebody else as a terminal may show it: on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


@contextmanager
def copying(what: str, total: int) -> Iterator[Advance]:
    """A bar of bytes with an estimate of the time that is left; nothing where stderr is no terminal."""
    shown = _progress(DownloadColumn(), TimeRemainingColumn())
    with shown:
        task = shown.add_task(what, total=total)
        yield lambda size: shown.update(task, advance=size)


def counting(unit: str) -> Progress:
    """A bar of items with an estimate of the time that is left; nothing where stderr is no terminal."""
    return _progress(MofNCompleteColumn(), TextColumn(unit), TextColumn("left:"), TimeRemainingColumn())


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """What is being waited for, and for how long; nothing where stderr is no terminal."""
    shown = _progress(TimeElapsedColumn(), percent=False)
    with shown:
        shown.add_task(what, total=None)
        yield


def _progress(*columns: ProgressColumn, percent: bool = True) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *([TaskProgressColumn()] if percent else []),
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
