"""Dagster's daemon, under which the clock may be set back: ``python -m tsobs_pipelines.engine.daemon``.

What belongs here: what Dagster's own command line lacks. What does not: how it is done (``clock.py``).
"""

from __future__ import annotations

from dagster._daemon.cli import main

from tsobs_pipelines.engine.clock import outlive_a_step_back

if __name__ == "__main__":
    outlive_a_step_back()
    main()
