"""A wall clock that can be stepped for some processes: ``clock.c``, built and preloaded.

Debian's libfaketime would do, but for two things: bash's own ``getenv`` keeps it from its settings, and with
the monotonic clock left alone it lets Python's ``time.sleep`` fail (0.9.10: EINVAL on a busy machine).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.lab.processes import run

SOURCE = Path(__file__).with_name("clock.c")


@dataclass
class Clock:
    """The clock of who is started with ``environment``; ``offset`` is how far it is off, in whole seconds."""

    place: Path
    offset: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        """Right at first."""
        self.place.mkdir()
        self._file.write_bytes(struct.pack("q", 0))
        define = f'-DOFFSET_FILE="{self._file}"'
        run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Werror", define, "-o", self._library, SOURCE])

    @property
    def _file(self) -> Path:
        return self.place / "offset"

    @property
    def _library(self) -> Path:
        return self.place / "clock.so"

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process, and all that it starts, see this clock."""
        return {"LD_PRELOAD": str(self._library)}

    @property
    def now(self) -> datetime:
        """What it shows."""
        return datetime.now(UTC) + self.offset

    def step(self, by: timedelta) -> None:
        """Set it forward or back."""
        self.offset += by
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", self.offset // timedelta(seconds=1)))
