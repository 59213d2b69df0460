"""Server processes that never outlive the lab, and the small waits around them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")


class LabError(RuntimeError):
    """A part of the lab is missing, did not start or did not answer; the message says which and why."""


def poll_until(probe: Callable[[], Found | None], *, within_s: float, what: str) -> Found:
    """Ask ``probe`` until its answer is neither None nor False, for ``within_s`` seconds at most.

    Raises:
        LabError: The time is over; the message names ``what`` was waited for.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = probe()
        if found is not None and found is not False:
            return found
        if time.monotonic() >= deadline:
            message = f"waited {within_s:g} s for {what}"
            raise LabError(message)
        time.sleep(0.05)


def run(command: Sequence[str | Path], *, timeout_s: float = 30) -> str:
    """Run a short command and give its standard output.

    Raises:
        LabError: It failed or took longer than ``timeout_s``; the message ends with what it printed.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        message = f"no end after {timeout_s:g} s: {' '.join(words)}"
        raise LabError(message) from error
    if done.returncode != 0:
        message = f"exit {done.returncode}: {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}"
        raise LabError(message)
    return done.stdout


@dataclass
class Server:
    """One long-lived process, in a session of its own, which the kernel ends when its starter dies.

    The kernel's promise (``PR_SET_PDEATHSIG``) is bound to the *thread* that started the process: call
    ``start`` from one that stays, such as the main one.

    Attributes:
        name: What error messages call it.
        command: Program and arguments.
        log: File that takes its output.
        user: The system user it runs as; the lab's own when None.
        ending: Signal that ends it in order; SIGKILL follows after ``patience_s``.
    """

    name: str
    command: Sequence[str | Path]
    log: Path
    user: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    ending: signal.Signals = signal.SIGTERM
    patience_s: float = 5
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of the running process.

        Raises:
            LabError: It does not run.
        """
        if self._process is None or _has_ended(self._process):
            message = f"{self.name} does not run: {self.last_words()}"
            raise LabError(message)
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there (stopped by a signal counts as there)."""
        return self._process is not None and not _has_ended(self._process)

    def start(self) -> None:
        """Start the process; nothing happens when it runs already."""
        if self.running:
            return
        guard = ["setpriv", "--pdeathsig", "KILL" if self.user is None else "QUIT"]
        if self.user is not None:
            guard += [f"--reuid={self.user}", f"--regid={self.user}", "--init-groups"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, "--", *(str(word) for word in self.command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )

    def wait_until(self, ready: Callable[[], Found | None], *, within_s: float) -> Found:
        """Poll ``ready`` like `poll_until`, and give up at once when the process ends."""

        def probe() -> Found | None:
            _ = self.pid
            return ready()

        try:
            return poll_until(probe, within_s=within_s, what=f"{self.name} to be ready")
        except LabError as error:
            message = f"{error}: {self.last_words()}"
            raise LabError(message) from error

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process alone, not to its children."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """End the process in order, and by force if it does not; nothing happens when it is not there."""
        process = self._process
        if process is None:
            return
        if not _has_ended(process):
            os.kill(process.pid, self.ending)
            # A process that was stopped by SIGSTOP takes no other signal before it goes on.
            os.kill(process.pid, signal.SIGCONT)
            with contextlib.suppress(LabError):
                poll_until(lambda: _has_ended(process), within_s=self.patience_s, what=f"{self.name} to end")
        self.kill()

    def kill(self) -> None:
        """End the process and everything in its session's group with SIGKILL."""
        process = self._process
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._process = None

    def last_words(self) -> str:
        """The end of its log, for error messages."""
        if not self.log.exists():
            return "(no log)"
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-8:])


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it ended, without reaping it: until it is reaped its id can't become another process's."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
