"""Requests whose client has disconnected: work on them is cancelled."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


async def while_connected(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the application on a request, and cancel it when the client goes away before it has answered.

    Whatever it reads of the body is what has arrived; it is not made to read it.
    """
    messages: asyncio.Queue[Message] = asyncio.Queue()
    working = asyncio.ensure_future(app(scope, messages.get, send))

    async def listen() -> None:
        while (message := await receive())["type"] != "http.disconnect":
            messages.put_nowait(message)
        messages.put_nowait(message)
        working.cancel()

    listening = asyncio.ensure_future(listen())
    try:
        await working
    except asyncio.CancelledError:
        if not listening.done():
            working.cancel()
            raise  # the server ends this request, and not its client
    finally:
        listening.cancel()
