"""A clock that can be stepped for some processes: libfaketime, preloaded, with its offset in a file.

What belongs here: stepping, and the environment of who is to see it. What it can't do: the kernel's clock
stays (times of files, other processes), and so does the monotonic clock, as with a real step. Programs that
are linked statically don't see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.lab.processes import LabError


@dataclass
class Clock:
    """The clock of who is started with ``environment``; ``offset`` is how far it is off."""

    file: Path
    offset: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        """Right at first."""
        self.step(timedelta(0))

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see this clock.

        Raises:
            LabError: libfaketime is not installed.
        """
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            message = "the clock needs Debian's package libfaketime"
            raise LabError(message)
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    @property
    def now(self) -> datetime:
        """What it shows."""
        return datetime.now(UTC) + self.offset

    def step(self, by: timedelta) -> None:
        """Set it forward or back."""
        self.offset += by
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.offset.total_seconds():+.0f}\n", "ascii")
        new.replace(self.file)
