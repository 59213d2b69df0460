"""Dagster's daemon, for which the clock may be set back: ``python -m tsobs_pipelines.engine.daemon``.

What belongs here: what Dagster's own command line lacks. What does not: how it is noticed (``clock.py``).
"""

from __future__ import annotations

import logging
import time

from dagster import DagsterInstance
from dagster._daemon.cli import main

from tsobs_pipelines.engine.clock import end_when_set_back, forget_the_future

log = logging.getLogger(__name__)


def prepare() -> None:
    """Begin with records that have no future, and end when they get one."""
    with DagsterInstance.get() as instance:
        ahead = forget_the_future(instance, time.time())
    if ahead:
        log.warning("the clock was set back: %d schedules and sensors go on from now", ahead)
    end_when_set_back()


if __name__ == "__main__":
    prepare()
    main()
