"""Values shared by many requests: computed once at a time in a thread, and cached for some seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from anyio import CapacityLimiter, to_thread

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Held(Generic[V]):
    value: V
    at: float


class Shared(Generic[K, V]):
    """One value for each key, computed by ``compute`` in a thread and shared by all who ask meanwhile.

    A value is handed out as it is for ``fresh_s`` seconds. Up to ``stale_s`` seconds it is still handed out,
    while one task renews it, so that nobody waits for a route that is polled; after that the caller waits.
    A value that nobody waits for any more is not computed: its turn in the limiter goes to the next.
    A failure is never kept: it reaches those who waited for it, and the next caller tries again.
    At most ``size`` values are held, the least recently used ones leave.
    """

    def __init__(
        self,
        compute: Callable[[K], V],
        *,
        fresh_s: float,
        stale_s: float,
        limiter: CapacityLimiter,
        size: int = 32,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._compute = compute
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._limiter = limiter
        self._size = size
        self._clock = clock
        self._held: OrderedDict[K, _Held[V]] = OrderedDict()
        self._running: dict[K, asyncio.Task[V]] = {}
        self._waiting: Counter[asyncio.Task[V]] = Counter()

    async def get(self, key: K) -> V:
        """The value for ``key``; raises what ``compute`` raised."""
        held = self._held.get(key)
        if held is not None:
            self._held.move_to_end(key)
            age = self._clock() - held.at
            if age < self.fresh_for(held.value):
                return held.value
            if age < self._stale_s:
                self._renew(key)
                return held.value
        task = self._renew(key)
        self._waiting[task] += 1
        try:
            return await asyncio.shield(task)
        finally:
            self._waiting[task] -= 1
            if not self._waiting[task]:
                del self._waiting[task]
                task.cancel()  # if it has not ended, everybody who waited has gone away

    def fresh_for(self, value: V) -> float:  # noqa: ARG002 - subclasses look at it
        """For how many seconds ``value`` is handed out unasked."""
        return self._fresh_s

    def _renew(self, key: K) -> asyncio.Task[V]:
        task = self._running.get(key)
        if task is None or task.cancelling() or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.create_task(self._run(key))
            self._running[key] = task
            task.add_done_callback(partial(self._done, key))
        return task

    async def _run(self, key: K) -> V:
        value = await to_thread.run_sync(self._compute, key, limiter=self._limiter)
        self._held[key] = _Held(value, self._clock())
        self._held.move_to_end(key)
        while len(self._held) > self._size:
            self._held.popitem(last=False)
        return value

    def _done(self, key: K, task: asyncio.Task[V]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        # Asked for here, so that a renewal nobody waited for does not end as "exception never retrieved".
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("could not renew %r: %s", key, type(error).__name__)
