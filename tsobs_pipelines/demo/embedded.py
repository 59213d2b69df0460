"""The simulated tailnet inside a process.

It answers the same at the same time wherever it runs, so that each process has its own on a free port of
loopback: the demo needs no process and no fixed port, and plain ``dagster dev`` has it too.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache

from tsobs_pipelines.demo.server import DemoServer


def simulated_url() -> str:
    """Where this process's simulated tailnet answers; it is started at the first call."""
    return _started(os.getpid())


@lru_cache(maxsize=1)
def _started(_pid: int) -> str:
    server = DemoServer(0)
    threading.Thread(target=server.serve_forever, args=(1.0,), name="demo-tailnet", daemon=True).start()
    return server.url
