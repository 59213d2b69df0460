"""Background work on the logs: reads tailscaled's log, compresses and deletes old days."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tsobs_pipelines.logs.files import log_directory
from tsobs_pipelines.logs.maintenance import maintain
from tsobs_pipelines.logs.tailscaled import follow_tailscaled
from tsobs_pipelines.settings import Settings

_INTERVAL_S = 3600.0
_JOIN_S = 2.0
"""How long the threads have to finish when the block ends."""

log = logging.getLogger(__name__)


@contextmanager
def log_maintenance(settings: Settings) -> Iterator[None]:
    """Maintain the logs of these settings while the block runs. A failure is logged, and retried later."""
    directory = log_directory(settings.state_dir)
    stop = threading.Event()
    threads = [threading.Thread(target=_maintain_until, args=(directory, settings.log_retention_days, stop))]
    if settings.tailscaled_log is not None:
        arguments = (settings.tailscaled_log, directory, stop)
        threads.append(threading.Thread(target=follow_tailscaled, args=arguments))
    for thread in threads:
        thread.daemon = True
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(_JOIN_S)


def _maintain_until(directory: Path, retention_days: int, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            done = maintain(directory, datetime.now(UTC), retention_days)
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must go on
            log.warning("old logs could not be packed: %s: %s", type(error).__name__, error)
        else:
            if done.packed or done.removed:
                days = {
                    "packed": [str(day) for day in done.packed],
                    "removed": [str(day) for day in done.removed],
                }
                log.info("old logs packed or removed", extra=days)
        stop.wait(_INTERVAL_S)
