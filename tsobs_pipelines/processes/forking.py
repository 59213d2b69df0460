"""Shared by supervisor and forks: how multiprocessing finds the fork server, and how a fork runs a part.

The supervisor imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from tsobs_pipelines.logs.context import log_context

READY = b"+"
"""What the server writes to its ``ready`` pipe when it is warm."""

MAX_WORDS = 500
"""Characters of a part's last words."""

RUNS = "runs"
"""The part that runs are in the logs; the fork server prints little beside them."""


def use_running_server() -> None:
    """Make multiprocessing take the fork server that this process knows: it would start one of its own."""
    _known_server()["ensure_running"] = resource_tracker.ensure_running


def know_server(address: str, alive: int) -> None:
    """Have multiprocessing fork from the server at this Unix socket; ``alive`` is the pipe that keeps it."""
    known = _known_server()
    if known["_forkserver_alive_fd"] is not None:
        os.close(known["_forkserver_alive_fd"])
    known.update(_forkserver_address=address, _forkserver_alive_fd=alive)


def _known_server() -> dict[str, Any]:
    # There is no public way to name a server. Python has kept these names since 3.4.
    return vars(forkserver._forkserver)  # noqa: SLF001


def name_process(name: str) -> None:
    """Show this name in ``ps -o comm`` and ``top``: forks have their parent's command line."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as comm:  # noqa: PTH123 - without pathlib
        comm.write(f"tsobs {name}")


def become(name: str, entry: str, output: Connection, *arguments: object) -> NoReturn:
    """Run a part in a fork: print to ``output`` and call ``entry``, ``module:function``."""
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    output.close()
    name_process(name)
    with log_context(part=name):
        try:
            call(entry, *arguments)
        except Exception as error:
            leave_words(name, error)
            raise


def words_path(name: str) -> str:
    """The file in which a failing part leaves its error for the supervisor."""
    return os.path.join(os.environ["DAGSTER_HOME"], f"{name}.last-words")  # noqa: PTH118 - without pathlib


def leave_words(name: str, error: Exception) -> None:
    """Write the error that ended a part, on one line and without secrets."""
    from tsobs_pipelines.logs.redact import Redactor  # noqa: PLC0415 - the supervisor needs none of it
    from tsobs_pipelines.settings import SettingsError, load_settings  # noqa: PLC0415

    kind = "" if isinstance(error, SettingsError) else f"{type(error).__name__}: "
    words = next((line for line in f"{kind}{error}".splitlines() if line.strip()), kind)
    with contextlib.suppress(OSError, SettingsError):
        words = Redactor.of(load_settings()).clean(words)
    with contextlib.suppress(OSError), open(words_path(name), "w", encoding="utf-8") as file:  # noqa: PTH123
        file.write(words[:MAX_WORDS])


def take_words(name: str) -> str:
    """The error that a part has left; the file is removed."""
    with contextlib.suppress(OSError):
        with open(words_path(name), encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            words = file.read(MAX_WORDS)
        os.unlink(words_path(name))  # noqa: PTH108
        return words
    return ""


def call(entry: str, *arguments: object) -> NoReturn:
    """Call ``module:function``; what it returns is the exit status."""
    module, _, function = entry.partition(":")
    sys.exit(getattr(import_module(module), function)(*arguments))
