"""``python -m tests.support.fork_parent SOCKET FUNCTION ARGUMENT``: a fork server and a fork.

The fork calls this function of ``tests/support/forked.py``; whenever it ends, another one is made. Prints the
fork server's process id, then each fork's.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context

from tests.support import forked
from tsobs_pipelines.processes.children import Server
from tsobs_pipelines.processes.forking import READY, use_running_server

if __name__ == "__main__":
    socket, function, argument = sys.argv[1:]
    use_running_server()
    server = Server(socket, 2)
    server.start()
    assert os.read(server.ready_pipe, 1) == READY
    print(server.pid, flush=True)  # noqa: T201 - for who started this
    while True:
        process = get_context("forkserver").Process(target=getattr(forked, function), args=(argument,))
        process.start()
        print(process.pid, flush=True)  # noqa: T201
        process.join()
