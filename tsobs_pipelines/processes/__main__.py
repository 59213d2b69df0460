"""``python -m tsobs_pipelines.processes supervisor|fork-server``: how ``tsobs up`` starts the two.

multiprocessing imports a parent's main module again in each child, unless it is a package's ``__main__``.
"""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    module = {"supervisor": "supervisor", "fork-server": "fork_server"}[sys.argv[1]]
    sys.exit(import_module(f"tsobs_pipelines.processes.{module}").main(*sys.argv[2:]))
