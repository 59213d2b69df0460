"""A LocalAPI for tests and benchmarks: HTTP on a Unix socket, answered by a given function.

It stands in for tailscaled where there can't be as many nodes as wanted, or none that misbehaves to order.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """One request: the method, the path below ``/localapi/v0/``, and the query."""

    method: str
    path: str
    query: dict[str, str]


class Answer(NamedTuple):
    """A status and a body."""

    body: bytes
    status: int = 200


ENDS = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
"""How a connection may end: by its client, or with the server."""

Handler: TypeAlias = Callable[[Asked], Awaitable[Answer]]


@contextlib.contextmanager
def served(socket: Path, handler: Handler) -> Iterator[None]:
    """``handler`` answers on ``socket`` while the block runs."""
    loop = asyncio.new_event_loop()
    started, over = threading.Event(), asyncio.Event()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(*ENDS):
            while head := await reader.readuntil(b"\r\n\r\n"):
                answer = await handler(_asked(head))
                writer.write(
                    b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % (answer.status, len(answer.body))
                )
                writer.write(answer.body)
                await writer.drain()

    async def serve() -> None:
        server = await asyncio.start_unix_server(connection, socket, backlog=512)
        started.set()
        await over.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="LocalAPI")
    thread.start()
    started.wait()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()
        socket.unlink(missing_ok=True)


def _asked(head: bytes) -> Asked:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    url = urlsplit(target)
    return Asked(method, url.path.removeprefix("/localapi/v0/"), dict(parse_qsl(url.query)))
