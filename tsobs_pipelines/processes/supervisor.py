"""Starts the fork server and the parts, restarts those that die, and shuts everything down together.

This process lives for months and imports as little as it can: what is in its plan was worked out before
(``up.py``, ``service.py``), and what the parts print is filed by one of them (``logs.py``).

When the fork server dies, the parts and all runs die with it, and all are started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import NamedTuple

from tsobs_pipelines.processes.children import Attempts, Child, Server
from tsobs_pipelines.processes.forking import (
    READY,
    RUNS,
    become,
    name_process,
    take_words,
    use_running_server,
)
from tsobs_pipelines.processes.parts import LOGS, Part

PLAN = "_TSOBS_PLAN"
"""The environment variable that holds the plan, as JSON."""

LOGS_GRACE_S = 2.0
MOST_FAILURES = 4
"""So many times in a row may something die before it serves, while not everything has served yet."""
LOOK_EVERY_S = 0.05
SERVER = "fork server"
SUPERVISOR = "supervisor"
LOGGER = "tsobs_pipelines.processes.supervisor"


class Plan(NamedTuple):
    """What to run: the parts, the fork server's socket, and what to tell the person at the terminal.

    ``banner`` is printed once everything serves, with the seconds since ``begun`` (monotonic) for its ``{}``;
    ``grace_s`` is how long the parts may take to end.
    """

    parts: tuple[Part, ...]
    socket: str
    begun: float
    banner: str | None = None
    farewell: str | None = None
    grace_s: float = 7.5

    def environment(self) -> dict[str, str]:
        """The plan as an environment variable."""
        return {PLAN: json.dumps(self)}

    @classmethod
    def take(cls, environment: MutableMapping[str, str]) -> Plan:
        """The plan that :meth:`environment` made, removed from there: the parts have no use for it."""
        parts, *rest = json.loads(environment.pop(PLAN))
        return cls(tuple(Part(*one)._replace(needs=tuple(one[3])) for one in parts), *rest)


class Supervisor:
    """Keeps the parts of a plan running until SIGINT or SIGTERM."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._children = [Child(part) for part in plan.parts]
        self._context = get_context("forkserver")
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        self._served = False
        self._failed = False
        self._outputs: dict[str, tuple[Connection, Connection]] = {}
        if any(part.name == LOGS for part in plan.parts):
            names = [child.part.name for child in self._children if child.part.name != LOGS]
            self._outputs = {name: self._context.Pipe(duplex=False) for name in (SUPERVISOR, RUNS, *names)}
            os.set_blocking(self._outputs[SUPERVISOR][1].fileno(), False)
        self._server = Server(plan.socket, self._output(RUNS))

    def run(self) -> bool:
        """Start everything and stay until a signal says to end it; whether it ever served or was told to."""
        self._listen_to_signals()
        try:
            while not self._stopping:
                self._advance(time.monotonic())
                self._wait(self._pause(time.monotonic()))
            self._end()
        finally:
            self._server.kill()
        return not self._failed

    def _listen_to_signals(self) -> None:
        wake, woken = os.pipe()
        for descriptor in (wake, woken):
            os.set_blocking(descriptor, False)
        self._selector.register(wake, selectors.EVENT_READ, lambda: os.read(wake, 4096))
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _output(self, name: str) -> int:
        return self._outputs[name][1].fileno() if name in self._outputs else 1

    def _printed(self, name: str) -> str:
        """What was printed there, while nobody is there to file it."""
        output = self._outputs[name][0] if name in self._outputs else None
        if output is None or not output.poll():
            return ""
        return os.read(output.fileno(), 1 << 16).decode(errors="replace").rstrip()

    def _advance(self, now: float) -> None:
        """Do all that is due."""
        status = self._server.ended()
        if status is not None:
            self._server_ended(status, now)
        if self._server.pid is None and now >= self._server.attempts.due:
            self._start_server(now)
        elif self._server.pid is not None and (patience := self._server.attempts.overdue(now)):
            self._say(f"the {SERVER} is not warm after {patience:g} s; ending it")
            self._server.kill()
        if self._server.attempts.ready:
            for child in self._children:
                self._advance_child(child, now)
        if not self._served and all(child.attempts.ready for child in self._children):
            self._served = True
            if self._plan.banner is not None:
                self._say(self._plan.banner.replace("{}", f"{now - self._plan.begun:.0f}"))

    def _start_server(self, now: float) -> None:
        self._server.attempts.begin(now)
        self._server.start()
        self._selector.register(self._server.ready_pipe, selectors.EVENT_READ, self._server_says)

    def _server_says(self) -> None:
        pipe = self._server.ready_pipe
        if os.read(pipe, 1) == READY:
            self._server.attempts.ready = True
            seconds = time.monotonic() - self._server.attempts.begun
            self._log("INFO", "fork server ready", pid=self._server.pid, seconds=round(seconds, 1))
        self._selector.unregister(pipe)
        os.close(pipe)

    def _server_ended(self, status: int, now: float) -> None:
        printed = "" if self._server.attempts.ready else self._printed(RUNS)
        if printed:
            self._say(printed)
        pause = self._server.attempts.end(now)
        self._say(f"the {SERVER} ended with status {status}; starting everything again in {pause:g} s")
        self._log("ERROR", "fork server ended", status=status, pause_s=pause)
        self._give_up_on(SERVER, self._server.attempts, "")
        for child in self._children:
            if child.process is not None:
                self._forget(child, child.process)

    def _advance_child(self, child: Child, now: float) -> None:
        attempts, name = child.attempts, child.part.name
        if child.process is None:
            needed = (one for one in self._children if one.part.name in child.part.needs)
            if now >= attempts.due and all(one.attempts.ready for one in needed):
                self._start(child, now)
        elif not attempts.ready and child.serves():
            attempts.ready = True
            self._log("INFO", "part ready", part=name, seconds=round(now - attempts.begun, 1))
        elif patience := attempts.overdue(now):
            self._say(f"{name} is not ready after {patience:g} s; ending it")
            child.signal(signal.SIGKILL)

    def _start(self, child: Child, now: float) -> None:
        child.attempts.begin(now)
        part = child.part
        take_words(part.name)  # of an earlier start
        output = Connection(os.dup(self._output(part.name)), readable=False)
        given = [{name: ends[0] for name, ends in self._outputs.items()}] if part.name == LOGS else []
        process = self._context.Process(
            target=become, args=(part.name, part.entry, output, *given), name=part.name
        )
        try:
            process.start()
        except (OSError, EOFError):
            child.attempts.end(now)  # the fork server is dying, and all will be started again
            return
        finally:
            output.close()
        child.process = process
        self._selector.register(process.sentinel, selectors.EVENT_READ, lambda: self._ended(child, process))
        self._log("INFO", "part started", part=part.name, pid=process.pid)

    def _ended(self, child: Child, process: ForkServerProcess) -> None:
        self._forget(child, process)
        if self._stopping:
            return
        name, status = child.part.name, process.exitcode
        pause = child.attempts.end(time.monotonic())
        self._say(f"{name} ended with status {status}; starting it again in {pause:g} s")
        self._log("ERROR", "part ended", part=name, status=status, pause_s=pause)
        self._give_up_on(name, child.attempts, take_words(name))

    def _give_up_on(self, name: str, attempts: Attempts, words: str) -> None:
        """End a start that can't succeed: what dies each time has the same settings the next time."""
        if self._served or attempts.failures < MOST_FAILURES:
            return
        said = f": {words}" if words else "; what it printed is in the log (tsobs logs --level ERROR)"
        self._say(f"tsobs: {name} ended {attempts.failures} times before it served{said}")
        self._failed = self._stopping = True

    def _forget(self, child: Child, process: ForkServerProcess) -> None:
        self._selector.unregister(process.sentinel)
        process.join()
        child.process, child.attempts.ready = None, False

    def _pause(self, now: float) -> float | None:
        """Seconds until there is something to do that nothing announces."""
        if self._server.pid is None:
            return max(self._server.attempts.due - now, 0.0)
        if not self._server.attempts.ready:
            return LOOK_EVERY_S * 10
        waiting = [child.attempts for child in self._children if not child.attempts.ready]
        if not waiting:
            return None
        return max(min(attempts.due for attempts in waiting) - now, LOOK_EVERY_S)

    def _wait(self, seconds: float | None) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()

    def _end(self) -> None:
        """End the parts, then the one that files what they print, then what is left."""
        logs = [child for child in self._children if child.part.name == LOGS]
        others = [child for child in self._children if child.part.name != LOGS]
        for children, grace in ((others, self._plan.grace_s), (logs, LOGS_GRACE_S)):
            for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, LOGS_GRACE_S)):
                for child in children:
                    child.signal(number)
                deadline = time.monotonic() + seconds
                while any(child.process for child in children) and (left := deadline - time.monotonic()) > 0:
                    self._wait(left)
        self._server.kill()
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]  # noqa: SLF001 - it ends as well
        if self._plan.farewell:
            self._say(self._plan.farewell)

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(line, flush=True)  # noqa: T201 - to the person at the terminal

    def _log(self, level: str, message: str, **more: object) -> None:
        """Hand a record to the part that files it; never waits for it."""
        at = datetime.now(UTC).isoformat()
        record = {"timestamp": at, "level": level, "logger": LOGGER, "message": message, **more}
        if SUPERVISOR in self._outputs:
            with contextlib.suppress(BlockingIOError):
                os.write(self._output(SUPERVISOR), json.dumps(record).encode() + b"\n")


def main() -> int:
    """Run the plan that is in the environment."""
    name_process("supervisor")
    use_running_server()
    return 0 if Supervisor(Plan.take(os.environ)).run() else 1
