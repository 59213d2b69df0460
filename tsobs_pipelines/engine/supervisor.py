"""Starts the parts of ``make up``, watches over them, and ends them together.

What belongs here: the life of child processes. What does not: which processes there are (``parts.py``).

A part that dies is started again after a pause that doubles from 1 s to 30 s and is forgotten after a
minute of good health. Each part has a process group of its own, so that Ctrl-C in a terminal reaches the
supervisor alone, which then ends the parts in good order: SIGTERM, and after ``GRACE_S`` SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tsobs_pipelines.engine.parts import READY_TIMEOUT_S, Part

GRACE_S = 7.5
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0
LINE_LIMIT = 1 << 20

_PR_SET_PDEATHSIG = 1

log = logging.getLogger(__name__)

Lines = Callable[[str, bytes], None]
"""Takes the name of a part and a line that it printed, without its end."""

Say = Callable[[str], None]


def _die_with_parent() -> None:
    """Linux only: the kernel ends the part when the supervisor was killed and can't."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class _Child:
    part: Part
    patience_s: float = field(default_factory=lambda: READY_TIMEOUT_S)
    """Doubled each time that the part was not ready by then: a busy machine must not begin anew for ever."""
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    process: asyncio.subprocess.Process | None = None

    def signal_group(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


class Supervisor:
    """Keeps parts running until :meth:`stop` is called or a signal arrives."""

    def __init__(self, parts: Sequence[Part], environment: Mapping[str, str], lines: Lines, say: Say) -> None:
        self._children = {part.name: _Child(part) for part in parts}
        self._environment = environment
        self._lines = lines
        self._say = say
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask for the end; :meth:`run` returns when every part has ended."""
        self._stopping.set()

    async def run(self, started: Callable[[], None]) -> None:
        """Start all, call ``started`` when all are ready, and stay until :meth:`stop`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        keepers = [asyncio.create_task(self._keep(child)) for child in self._children.values()]
        announcer = asyncio.create_task(self._announce(started))
        await self._stopping.wait()
        announcer.cancel()
        await self._end(keepers)

    async def _announce(self, started: Callable[[], None]) -> None:
        for child in self._children.values():
            await child.ready.wait()
        started()

    async def _keep(self, child: _Child) -> None:
        pause = FIRST_PAUSE_S
        while not self._stopping.is_set():
            for name in child.part.needs:
                await self._children[name].ready.wait()
            begun = time.monotonic()
            status = await self._run_once(child)
            if self._stopping.is_set():
                return
            if time.monotonic() - begun > HEALTHY_AFTER_S:
                pause = FIRST_PAUSE_S
            self._say(f"{child.part.name} ended with status {status}; starting it again in {pause:g} s")
            log.error("part ended", extra={"part": child.part.name, "status": status, "pause_s": pause})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _run_once(self, child: _Child) -> int:
        process = await asyncio.create_subprocess_exec(
            *child.part.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**self._environment, **child.part.environment},
            limit=LINE_LIMIT,
            process_group=0,
            preexec_fn=_die_with_parent,
        )
        child.process = process
        log.info("part started", extra={"part": child.part.name, "pid": process.pid})
        watcher = asyncio.create_task(self._watch_ready(child))
        await self._pump(child.part.name, process)
        watcher.cancel()
        child.ready.clear()
        return await process.wait()

    async def _watch_ready(self, child: _Child) -> None:
        begun = time.monotonic()
        check = child.part.ready
        while check is not None and not await asyncio.to_thread(check):
            if time.monotonic() - begun > child.patience_s:
                self._say(f"{child.part.name} is not ready after {child.patience_s:g} s; ending it")
                child.patience_s *= 2
                child.signal_group(signal.SIGKILL)
                return
            await asyncio.sleep(0.1)
        child.ready.set()
        log.info("part ready", extra={"part": child.part.name, "seconds": round(time.monotonic() - begun, 1)})

    async def _pump(self, name: str, process: asyncio.subprocess.Process) -> None:
        stream = process.stdout
        while stream is not None:
            try:
                line = await stream.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    self._lines(name, end.partial)
                return
            except asyncio.LimitOverrunError as overrun:
                line = await stream.readexactly(max(overrun.consumed, 1))
            self._lines(name, line.rstrip(b"\r\n"))

    async def _end(self, keepers: Sequence[asyncio.Task[None]]) -> None:
        for child in self._children.values():
            child.signal_group(signal.SIGTERM)
            child.ready.set()
        _, late = await asyncio.wait(keepers, timeout=GRACE_S)
        if late:
            for child in self._children.values():
                child.signal_group(signal.SIGKILL)
            await asyncio.wait(late, timeout=2.0)
        for keeper in keepers:
            keeper.cancel()
