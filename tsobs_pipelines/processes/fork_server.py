"""The fork server: code server, webserver, daemon, API and every run are forks of it.

Python's own ``multiprocessing.forkserver`` does the forking. Added here: the process is warmed first
(``warm.py``), its children end when it does, and whoever has its address uses it instead of starting another.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
from multiprocessing import forkserver

from tsobs_pipelines.logs.context import log_context
from tsobs_pipelines.processes.forking import READY, RUNS, name_process, use_running_server

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have the kernel kill this process when ``parent`` ends, however it ends (Linux only)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def serve(listener: int, alive: int) -> None:
    """Serve fork requests at ``listener``, until killed."""
    mine = os.getpid()

    def in_child() -> None:
        die_with(mine)
        name_process("run")

    os.register_at_fork(after_in_child=in_child)
    # Children get the handlers of this moment back: a shell's background job would hand on SIGINT as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    use_running_server()
    forkserver.main(listener, alive, [])


def main(*arguments: str) -> int:
    """Warm up, say so, and serve; the arguments are the supervisor's pid and three file descriptors."""
    parent, listener, alive, ready = map(int, arguments)
    die_with(parent)
    name_process("fork server")
    gc.disable()  # nothing that is imported becomes rubbish

    from tsobs_pipelines.processes.warm import warm_up  # noqa: PLC0415 - imports all of tsobs and Dagster

    gc.freeze()  # else the collection below would look at each object that was imported, for nothing
    warm_up()
    sys.stdout.flush()
    gc.enable()
    gc.collect()
    # A collection in a child would write to each object's header, and copy the page that it is on.
    gc.freeze()
    os.write(ready, READY)
    os.close(ready)
    with log_context(part=RUNS):
        serve(listener, alive)
    return 0
