"""Which tasks still wait in Redis: a message that is neither there nor worked on is lost.

What belongs here: looking into the queues. What does not: what follows from it (``launcher.py``).

Celery takes a message from Redis in two steps: a worker that is killed between them, or after them and before
it has begun, has taken it with it (for six hours, or for good). The folders of one machine move a message in
one step, and the next worker gives it back (``folders.py``): there nothing is ever gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from celery import Celery

LOOK_EVERY_S = 5.0
"""Run monitoring asks for one run after the other: they share a look."""

FORGET_S = 3600.0


@dataclass
class Waiting:
    """Watches a broker's queues from outside."""

    app: Celery
    _looked: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)
    _gone_since: dict[str, float] = field(default_factory=dict)

    def gone_for(self, task: str, queue: str, now: float) -> float:
        """Seconds, on the monotonic clock ``now``, since the task was first missed there; 0: it waits."""
        if not self._is_redis():
            return 0.0
        looked, tasks = self._looked.get(queue, (now - LOOK_EVERY_S, frozenset()))
        if now - looked >= LOOK_EVERY_S:
            tasks = frozenset(self._tasks(queue))
            self._looked[queue] = (now, tasks)
            self._gone_since = {
                each: since
                for each, since in self._gone_since.items()
                if each not in tasks and now - since < FORGET_S
            }
        if task in tasks:
            return 0.0
        return now - self._gone_since.setdefault(task, now)

    def _is_redis(self) -> bool:
        return str(self.app.conf.broker_url).startswith("redis")

    def _tasks(self, queue: str) -> Iterator[str]:
        with self.app.connection_for_read() as connection:
            channel = connection.default_channel
            for priority in channel.priority_steps:
                for message in channel.client.lrange(channel._q_for_pri(queue, priority), 0, -1):  # noqa: SLF001 - kombu's, without an accessor
                    yield str(json.loads(message)["headers"]["id"])
