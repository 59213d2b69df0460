"""A request whose client has disconnected is cancelled."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from anyio import CapacityLimiter
from starlette.types import Message, Receive, Scope, Send

from tsobs_pipelines.api.cache import Shared
from tsobs_pipelines.serving.abandoned import while_connected


def shared(asked: list[int], gate: threading.Event, limiter: CapacityLimiter) -> Shared[int, int]:
    def compute(key: int) -> int:
        asked.append(key)
        gate.wait(10)
        return key

    return Shared(compute, fresh_s=60, stale_s=60, limiter=limiter)


def test_abandoned_questions_hold_nobody_up() -> None:
    asked: list[int] = []
    gate = threading.Event()

    async def scenario() -> int:
        values = shared(asked, gate, CapacityLimiter(1))
        abandoned = [asyncio.ensure_future(values.get(key)) for key in range(400)]
        await asyncio.sleep(0.1)
        for one in abandoned:
            one.cancel()
        await asyncio.gather(*abandoned, return_exceptions=True)
        kept = asyncio.ensure_future(values.get(1000))
        await asyncio.sleep(0)
        gate.set()
        return await asyncio.wait_for(kept, 5)

    assert asyncio.run(scenario()) == 1000
    assert len(asked) <= 2


def test_one_of_two_who_wait_may_go_away() -> None:
    asked: list[int] = []
    gate = threading.Event()

    async def scenario() -> int:
        values = shared(asked, gate, CapacityLimiter(1))
        first, second = asyncio.ensure_future(values.get(1)), asyncio.ensure_future(values.get(1))
        await asyncio.sleep(0.05)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        gate.set()
        return await asyncio.wait_for(second, 5)

    assert asyncio.run(scenario()) == 1
    assert asked == [1]


@pytest.mark.parametrize("leaves", [True, False])
def test_the_work_ends_with_its_client(leaves: bool) -> None:
    ended: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        try:
            await asyncio.sleep(0.3)
            ended.append("answered")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def scenario() -> None:
        told = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            if (message := next(told, None)) is not None:
                return message
            await asyncio.sleep(0.05 if leaves else 5)
            return {"type": "http.disconnect"}

        async def send(_message: Message) -> None: ...

        began = time.monotonic()
        await while_connected(app, {"type": "http"}, receive, send)
        assert time.monotonic() - began < 2

    asyncio.run(scenario())
    assert ended == (["cancelled"] if leaves else ["answered"])
