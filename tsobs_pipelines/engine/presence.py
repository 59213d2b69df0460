"""Which run workers are alive: a lock on this machine, and a heartbeat that other machines can see.

What belongs here: a worker's name and the two signs of its life. What does not: what happens to the runs of
a dead one (``reaper.py``, ``launcher.py``).

Each start of a worker has a name of its own, ``ticks-1f0c9a2b@host``: who sees that name in a task's state
knows which process worked on it, even if that host has another worker now or two hosts share a name.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from filelock import FileLock, Timeout

from tsobs_pipelines.engine.queues import Queue

BEAT_S = 5.0
SILENT_FOR_S = 25.0
"""A worker whose heartbeat has stood still for so long is dead: five beats."""

log = logging.getLogger(__name__)


class Backend(Protocol):
    """The part of Celery's result backend that holds heartbeats."""

    def set(self, key: str, value: str) -> None:
        """Keep ``value`` under ``key``."""

    def get(self, key: str) -> bytes | None:
        """What is kept under ``key``."""

    def delete(self, key: str) -> None:
        """Keep nothing under ``key`` any more."""


def new_name(queue: Queue) -> str:
    """A name for a worker that starts now."""
    return f"{queue}-{uuid4().hex[:8]}@{socket.gethostname()}"


def _key(worker: str) -> str:
    return f"tsobs-worker-{worker}"


@contextmanager
def living(folder: Path, worker: str) -> Iterator[None]:
    """Hold the lock of ``worker`` on this machine; the kernel lets go of it when the process dies."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = FileLock(folder / worker)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()
        (folder / worker).unlink(missing_ok=True)


def take_the_dead(folder: Path) -> Iterator[str]:
    """The workers of this machine whose process is gone; each is given to one asker only."""
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            yield file.name
            file.unlink(missing_ok=True)
        finally:
            lock.release()


def beat(backend: Backend, worker: str) -> threading.Event:
    """Let the heart of ``worker`` beat in a thread until the event that is returned is set."""
    ended = threading.Event()

    def forever() -> None:
        while not ended.wait(BEAT_S):
            try:
                backend.set(_key(worker), f"{time.time():.3f}")
            except Exception:
                log.exception("heartbeat failed", extra={"worker": worker})

    backend.set(_key(worker), f"{time.time():.3f}")
    threading.Thread(target=forever, name="heartbeat", daemon=True).start()
    return ended


@dataclass
class Pulse:
    """Watches heartbeats from outside: what counts is that one changes, so no clocks are compared."""

    backend: Backend
    _seen: dict[str, tuple[bytes | None, float]] = field(default_factory=dict)

    def silent_for(self, worker: str, now: float) -> float:
        """Seconds, on the monotonic clock ``now``, since the heartbeat of ``worker`` last changed."""
        beat_now = self.backend.get(_key(worker))
        before = self._seen.get(worker)
        if before is None or before[0] != beat_now:
            self._seen[worker] = (beat_now, now)
            return 0.0
        return now - before[1]
