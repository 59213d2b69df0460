"""The log collector: writes the output of the other parts, compresses old logs, and follows tailscaled's."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection

from tsobs_pipelines.logs.background import log_maintenance
from tsobs_pipelines.logs.intake import LineIntake
from tsobs_pipelines.logs.setup import setup_logging
from tsobs_pipelines.settings import load_settings

LONGEST_LINE = 1 << 20
_AT_ONCE = 1 << 16


class _Ended(BaseException):
    """SIGTERM or SIGINT came."""


def main(outputs: Mapping[str, Connection]) -> None:
    """Log what arrives at these pipes, each with the name of its writer, until terminated.

    The writing ends stay open in the supervisor, so nothing is lost when this process is started again; what
    is in the pipes when it is told to end is filed first.
    """
    settings = load_settings()
    setup_logging(settings.log_format_json)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    intake = Intake(outputs)
    try:
        with log_maintenance(settings):
            while True:
                intake.take(None)
    except _Ended:
        while intake.take(0):
            pass
    intake.close()


def _end(*_: object) -> None:
    raise _Ended


class Intake:
    """Cuts the outputs into lines."""

    def __init__(self, outputs: Mapping[str, Connection]) -> None:
        self._outputs = outputs  # a connection that nobody holds is closed
        self._lines = LineIntake()
        self._rests = dict.fromkeys(outputs, b"")
        self._selector = selectors.DefaultSelector()
        for name, output in outputs.items():
            self._selector.register(output.fileno(), selectors.EVENT_READ, name)

    def take(self, seconds: float | None) -> bool:
        """Take what there is, waiting so long for it; whether there was something."""
        found = self._selector.select(seconds)
        for key, _ in found:
            name, printed = str(key.data), os.read(key.fd, _AT_ONCE)
            *lines, rest = (self._rests[name] + printed).split(b"\n")
            if len(rest) > LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            self._rests[name] = rest
            for line in lines:
                self._lines.take(name, line)
        return bool(found)

    def close(self) -> None:
        """File what has not been ended by a new line."""
        for name, rest in self._rests.items():
            if rest:
                self._lines.take(name, rest)
        self._lines.close()
