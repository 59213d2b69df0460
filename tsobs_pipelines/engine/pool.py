"""The processes of a run worker, each of which may be killed at any time: Celery's pool, with other locks.

What belongs here: the locks between a worker and its processes. What does not: what they execute.

With a broker that is no server, Celery's pool hands tasks over through one pipe, which its processes read in
turn under a lock. An idle one waits at the pipe and holds the lock: killed there (by the kernel when memory
is short, by a person), it leaves a semaphore that nobody will ever release, and no process of that worker
executes anything again. A lock on a file is released by the kernel when its process ends.
"""

from __future__ import annotations

import fcntl
import tempfile
from types import TracebackType

from billiard.pool import Pool
from celery.concurrency.prefork import TaskPool


class ProcessLock:
    """Held by one process at a time, and by nobody once that process has ended."""

    def __init__(self) -> None:
        # POSIX locks belong to a process, not to the descriptor, which all processes of the pool inherit.
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the lock

    def acquire(self) -> bool:
        """Wait until no other process has it."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        """Let another process have it."""
        fcntl.lockf(self._file, fcntl.LOCK_UN)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class RobustPool(Pool):  # type: ignore[misc]  # billiard has no types
    """billiard's pool, whose processes take turns by :class:`ProcessLock`."""

    def _setup_queues(self) -> None:
        super()._setup_queues()
        # Tasks have one writer, the worker itself, and results one reader.
        self._inqueue._rlock = ProcessLock()  # noqa: SLF001 - billiard's, without another way in
        self._outqueue._wlock = ProcessLock()  # noqa: SLF001 - likewise


class RobustTaskPool(TaskPool):  # type: ignore[misc]  # Celery has no types
    """Celery's prefork pool on :class:`RobustPool`; the one that it uses with Redis has no locks."""

    BlockingPool = RobustPool
