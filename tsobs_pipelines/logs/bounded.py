"""Rate limit for a logger, so that outside requests can't fill the disk with log lines."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

BURST = 50
PER_S = 5.0


class BoundedFilter(logging.Filter):
    """Lets ``burst`` records through at once and ``per_s`` a second in the long run; the others are counted.

    The next record that passes has the number of those before it as ``not_logged``. ``counts`` says which
    records are bounded; by default those below ERROR.
    """

    def __init__(
        self,
        counts: Callable[[logging.LogRecord], bool] = lambda record: record.levelno < logging.ERROR,
        *,
        burst: int = BURST,
        per_s: float = PER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._counts = counts
        self._burst = burst
        self._per_s = per_s
        self._clock = clock
        self._left, self._at = float(burst), clock()
        self._dropped = 0
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        if not self._counts(record):
            return True
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._at) * self._per_s)
            self._at = now
            if self._left < 1:
                self._dropped += 1
                return False
            self._left -= 1
            if self._dropped:
                record.not_logged, self._dropped = self._dropped, 0
            return True
