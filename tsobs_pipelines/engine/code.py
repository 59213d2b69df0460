"""Dagster's code server, which reads Dagster's migrations once: ``python -m tsobs_pipelines.engine.code``.

What belongs here: what Dagster's own command line lacks. What does not: the definitions that it serves.
"""

from __future__ import annotations

import gc

from dagster._cli import main

from tsobs_pipelines.engine.migrations import read_migrations_once

if __name__ == "__main__":
    import tsobs_pipelines.definitions  # noqa: F401 - what lives as long as the process

    # A full collection would look through all of it again and again: a third of a second each time.
    gc.freeze()
    read_migrations_once()
    main()  # type: ignore[no-untyped-call]
