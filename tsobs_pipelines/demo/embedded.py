"""The sidecar of a tailnet, or the simulated tailnet inside this process.

What belongs here: :func:`open_sidecar`, which every process uses. What does not: the simulation.

The simulated tailnet says the same at the same time wherever it runs, so that each process has its own, on a
free port of loopback: the demo needs no process and no fixed port, and plain ``dagster dev`` has it too.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache

from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnets import Tailnet


@lru_cache(maxsize=1)
def _demo_url(_pid: int) -> str:
    server = DemoServer(0)
    threading.Thread(target=server.serve_forever, args=(1.0,), name="demo-tailnet", daemon=True).start()
    return server.url


def open_sidecar(tailnet: Tailnet) -> TailscaleHealthService:
    """The client of the tailnet's sidecar, or of the simulated one."""
    url = tailnet.sidecar_url or _demo_url(os.getpid())
    return TailscaleHealthService(url, tailnet.sidecar_token_file, tailnet.critical_nodes)
