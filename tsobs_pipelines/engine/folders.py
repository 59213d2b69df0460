"""A Celery broker and result backend in folders of one machine, for when there is no Redis.

What belongs here: how messages and results lie on disk. What does not: who sends and who works on them.

kombu's own ``filesystem://`` transport would do, but for three things that matter here: a reader can see a
message that is not completely written yet (and loses it), a message that a killed worker had taken is never
delivered again, and a worker polls. Here a message appears by a rename; it is moved to the folder of the
worker that took it, removed when acknowledged, and given back by :func:`give_back` when that worker is dead;
and a named pipe wakes the worker, which otherwise looks once a second.

``messages/<queue>/<time>-<id>`` waits, ``taken/<worker>/<queue>/<time>-<id>`` is being worked on.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import time
from pathlib import Path
from queue import Empty
from typing import TypeAlias
from uuid import uuid4

from celery.backends.filesystem import FilesystemBackend
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

LOOK_AGAIN_S = 1.0
"""How often a worker looks although nobody woke it; a wake-up may be taken by another worker of the queue."""

BUSY_LOOK_S = 0.1
"""How often a worker that waits for its acknowledgement goes back to Celery, which holds it."""

WAKE = "wake"

Message: TypeAlias = dict[str, dict[str, str]]


class FolderChannel(virtual.Channel):  # type: ignore[misc]  # kombu has no types
    """Puts, takes, acknowledges and gives back messages."""

    def __init__(self, connection: FolderTransport, **options: object) -> None:
        super().__init__(connection, **options)
        chosen: dict[str, str] = connection.client.transport_options
        self.messages = Path(chosen["folder"]) / "messages"
        self.taken = Path(chosen["folder"]) / "taken" / chosen.get("worker", "nobody")
        self._held: dict[str, tuple[str, Path]] = {}

    def _new_queue(self, queue: str, **_: object) -> None:
        folder = self.messages / queue
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.mkfifo(folder / WAKE, 0o600)

    def _has_queue(self, queue: str, **_: object) -> bool:
        return (self.messages / queue).is_dir()

    def _put(self, queue: str, message: Message, **_: object) -> None:
        self._new_queue(queue)
        name = f"{time.time_ns():020d}-{uuid4().hex}"
        hidden = self.messages / queue / f".{name}"
        hidden.write_text(dumps(message), "utf-8")
        hidden.rename(self.messages / queue / name)
        wake(self.messages / queue)

    def _get(self, queue: str, timeout: float | None = None) -> Message:
        del timeout
        folder = self.taken / queue
        for name in waiting(self.messages / queue):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            target = folder / name
            try:
                (self.messages / queue / name).rename(target)
            except FileNotFoundError:
                continue  # Somebody else was quicker.
            message: Message = loads(target.read_text("utf-8"))
            self._held[message["properties"]["delivery_tag"]] = (queue, target)
            return message
        raise Empty

    def _size(self, queue: str) -> int:
        return len(waiting(self.messages / queue))

    def _purge(self, queue: str) -> int:
        names = waiting(self.messages / queue)
        for name in names:
            (self.messages / queue / name).unlink(missing_ok=True)
        return len(names)

    def _restore(self, message: virtual.Message) -> None:
        """Put a message back at its place: the worker ends in good order without having worked on it."""
        queue, file = self._held.pop(message.delivery_tag)
        file.rename(self.messages / queue / file.name)
        wake(self.messages / queue)

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """The message has been worked on: it is no longer needed."""
        super().basic_ack(delivery_tag, multiple)
        self._forget(delivery_tag)

    def basic_reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's
        """The message can't be worked on here; with ``requeue`` perhaps elsewhere."""
        super().basic_reject(delivery_tag, requeue)
        self._forget(delivery_tag)

    def _forget(self, delivery_tag: str) -> None:
        held = self._held.pop(delivery_tag, None)
        if held is not None:
            held[1].unlink(missing_ok=True)


class FolderTransport(virtual.Transport):  # type: ignore[misc]  # kombu has no types
    """Waits for messages without polling for them."""

    Channel = FolderChannel
    default_port = 0
    driver_type = "filesystem"
    driver_name = "folders"
    implements = virtual.Transport.implements.extend(
        asynchronous=False, exchange_type=frozenset(["direct"]), heartbeats=False
    )

    def __init__(self, client: object, **options: object) -> None:
        super().__init__(client, **options)
        self._pipes: dict[Path, int] = {}

    def driver_version(self) -> str:
        """Kombu shows it in ``celery report``."""
        return "1"

    def drain_events(self, connection: object, timeout: float | None = None) -> None:
        """Deliver one message; wait for it for ``timeout`` seconds.

        Raises:
            TimeoutError: there was none.
        """
        del connection
        deadline = time.monotonic() + (LOOK_AGAIN_S if timeout is None else timeout)
        while True:
            try:
                self.cycle.get(self._deliver, timeout=timeout)
            except Empty:
                left = deadline - time.monotonic()
                if left <= 0 or not self._wait(left):
                    raise TimeoutError from None
            else:
                return

    def _wait(self, seconds: float) -> bool:
        """Until woken or ``LOOK_AGAIN_S`` are over; False when Celery should have its turn first."""
        if not all(channel.qos.can_consume() for channel in self.channels):
            time.sleep(min(seconds, BUSY_LOOK_S))
            return False
        folders = [channel.messages / queue for channel in self.channels for queue in channel._active_queues]  # noqa: SLF001 - kombu's, without an accessor
        pipes = [self._pipe(folder) for folder in folders]
        for ready in select.select(pipes, [], [], min(seconds, LOOK_AGAIN_S))[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(ready, 4096)
        return True

    def _pipe(self, folder: Path) -> int:
        if folder not in self._pipes:
            # Open for writing as well: a pipe without a writer would always be readable.
            self._pipes[folder] = os.open(folder / WAKE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._pipes[folder]

    def close_connection(self, connection: object) -> None:
        """Close the pipes as well."""
        super().close_connection(connection)
        while self._pipes:
            os.close(self._pipes.popitem()[1])


class ResultFolder(FilesystemBackend):  # type: ignore[misc]  # Celery has no types
    """Celery's results as files, of which no reader sees a half."""

    def set(self, key: bytes | str, value: bytes | str) -> None:
        """Replace the file of ``key`` at once."""
        path = self._filename(key if isinstance(key, bytes) else key.encode())
        hidden = path + b".%d.new" % os.getpid()
        with open(hidden, "wb") as file:  # noqa: PTH123 - Celery's paths are bytes
            file.write(value if isinstance(value, bytes) else value.encode())
        os.replace(hidden, path)  # noqa: PTH105

    def get(self, key: bytes | str) -> bytes | None:
        """What the file of ``key`` holds."""
        found: bytes | None = super().get(key if isinstance(key, bytes) else key.encode())
        return found


def waiting(folder: Path) -> list[str]:
    """The names of a queue's messages, oldest first."""
    try:
        return sorted(name for name in os.listdir(folder) if name[0].isdigit())  # noqa: PTH208 - often called
    except FileNotFoundError:
        return []


def wake(folder: Path) -> None:
    """Wake a worker that waits at the queue in ``folder``, if one does."""
    try:
        pipe = os.open(folder / WAKE, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        with contextlib.suppress(BlockingIOError):
            os.write(pipe, b"\0")
    finally:
        os.close(pipe)


def give_back(root: Path, worker: str) -> list[str]:
    """Let the messages wait again that a dead worker had taken; give their queues."""
    folder = root / "taken" / worker
    queues = []
    for file in sorted(folder.glob("*/*")):
        queue = file.parent.name
        (root / "messages" / queue).mkdir(parents=True, exist_ok=True, mode=0o700)
        file.rename(root / "messages" / queue / file.name)
        wake(root / "messages" / queue)
        queues.append(queue)
    shutil.rmtree(folder, ignore_errors=True)
    return queues
