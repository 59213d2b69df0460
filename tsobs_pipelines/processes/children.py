"""What the supervisor starts: the parts and the fork server, each with when it may be started again.

What dies is started again after a pause that doubles from 1 s to 30 s and is forgotten after a minute of good
health. The supervisor imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from multiprocessing.context import ForkServerProcess

from tsobs_pipelines.processes.forking import know_server
from tsobs_pipelines.processes.parts import Part
from tsobs_pipelines.processes.probes import accepts_connections

READY_TIMEOUT_S = 120.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0


class Attempts:
    """When something may be started (again), and how long it may then take until it serves."""

    def __init__(self) -> None:
        self.due = self.begun = 0.0
        self.ready = False
        self.failures = 0
        """How many times in a row it ended before it served."""
        self._pause = FIRST_PAUSE_S
        self._patience = READY_TIMEOUT_S

    def begin(self, now: float) -> None:
        """It was started."""
        self.begun, self.ready = now, False

    def end(self, now: float) -> float:
        """It ended; seconds until it is due again."""
        self.failures = 0 if self.ready else self.failures + 1
        if now - self.begun > HEALTHY_AFTER_S:
            self._pause = FIRST_PAUSE_S
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_S)
        self.due, self.ready = now + pause, False
        return pause

    def overdue(self, now: float) -> float | None:
        """The timeout in s, if it has passed; it doubles, so that a busy machine is not restarted forever."""
        if self.ready or now - self.begun < self._patience:
            return None
        patience, self._patience = self._patience, self._patience * 2
        return patience


class Child:
    """A part and, while it runs, its process."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.attempts = Attempts()
        self.process: ForkServerProcess | None = None

    def serves(self) -> bool:
        """Whether it takes connections; a part without an address serves at once."""
        return self.part.address is None or accepts_connections(self.part.address)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None and self.process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class Server:
    """The fork server's process, as its parent sees it."""

    def __init__(self, path: str, output: int) -> None:
        self.attempts = Attempts()
        self.pid: int | None = None
        self.ready_pipe = -1
        self._path = path
        self._output = output

    def start(self) -> None:
        """Start it and tell multiprocessing of it; it has written to ``ready_pipe`` when it is warm."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)  # noqa: PTH108 - pathlib would be another 2 MB
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen()
            alive, keep_alive = os.pipe()
            self.ready_pipe, ready = os.pipe()
            given = [listener.fileno(), alive, ready]
            for descriptor in given:
                os.set_inheritable(descriptor, True)  # noqa: FBT003 - the standard library's
            words = [sys.executable, "-m", "tsobs_pipelines.processes", "fork-server", os.getpid(), *given]
            self.pid = os.posix_spawn(
                sys.executable,
                [str(word) for word in words],
                os.environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, self._output, number) for number in (1, 2)],
                setpgroup=0,
                setsigmask=[],
                setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGCHLD],
            )
            os.close(alive)
            os.close(ready)
        know_server(self._path, keep_alive)

    def ended(self) -> int | None:
        """Its exit status, once, when it has ended."""
        if self.pid is None:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            return None
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def kill(self) -> None:
        """End it with everything that was forked from it and what that has started."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
