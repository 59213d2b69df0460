"""Dagster's code server, which reads Dagster's migrations once: ``python -m tsobs_pipelines.engine.code``.

What belongs here: what Dagster's own command line lacks. What does not: the definitions that it serves.
"""

from __future__ import annotations

from dagster._cli import main

from tsobs_pipelines.engine.migrations import read_migrations_once

if __name__ == "__main__":
    read_migrations_once()
    main()  # type: ignore[no-untyped-call]
