"""Functions that a fork of the fork server runs in a test: they report its state and keep running."""

from __future__ import annotations

import json
import signal
import time
from multiprocessing import get_context
from pathlib import Path

from dagster._cli.api import grpc_command


def report(place: str) -> None:
    """Write down signals, mask and parent, fork another one by the same server, and stay until killed."""
    said = {
        "sigint": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "sigterm": signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    }
    Path(place, "first.new").write_text(json.dumps(said), "utf-8")
    Path(place, "first.new").rename(Path(place, "first"))
    second = get_context("forkserver").Process(target=stay)
    second.start()
    Path(place, "second.new").write_text(str(second.pid), "utf-8")
    Path(place, "second.new").rename(Path(place, "second"))
    stay()


def stay() -> None:
    """Stay until killed."""
    time.sleep(600)


def serve_code(socket: str) -> None:
    """Be Dagster's code server of ``run_jobs.py``."""
    options = {
        "--socket": socket,
        "--module-name": "tests.support.run_jobs",
        "--attribute": "defs",
        "--location-name": "tests",
    }
    grpc_command.main([word for option in options.items() for word in option], standalone_mode=False)
