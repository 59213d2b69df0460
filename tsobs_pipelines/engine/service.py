"""One part as a service of its own: what containers and systemd run instead of ``tsobs up``.

What belongs here: getting ready, and becoming the part's process. What does not: watching over it, which is
theirs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NoReturn

from filelock import FileLock, Timeout

from tsobs_pipelines.engine.home import initialise_instance, prepare_state, write_home
from tsobs_pipelines.engine.integrity import check_whole
from tsobs_pipelines.engine.parts import READY_TIMEOUT_S, Part, parts
from tsobs_pipelines.engine.queues import QUEUES
from tsobs_pipelines.settings import Settings, SettingsError


def run_part(settings: Settings, name: str, options: Sequence[str] = ()) -> NoReturn:
    """Become this part, with these options beside its own; the parts that it needs are waited for.

    The webserver with a ``--host`` that is not loopback knows no users, so whatever lies before it has to.

    Raises:
        SettingsError: the state directory can't be used, or a part that this one needs does not come up.
    """
    prepare_state(settings, datetime.now(UTC).date())
    # Parts that start together on an empty directory would race in Dagster's migrations.
    lock = FileLock(settings.state_dir / "dagster" / "initialise.lock", timeout=READY_TIMEOUT_S)
    try:
        with lock:
            check_whole([settings.state_dir / "tsobs.db"])
            home = write_home(settings)
            initialise_instance(settings)
    except Timeout:
        raise SettingsError(
            f"{settings.state_dir}: another part prepares it for {READY_TIMEOUT_S:g} s: is it stuck?"
        ) from None
    known = {part.name: part for part in parts(settings, home)}
    # A run worker reads the code itself, and may be on a machine without a code server.
    for needed in () if name in QUEUES else known[name].needs:
        _wait_for(known[needed])
    if name == "code":
        home.socket.unlink(missing_ok=True)
    # Of an option that is given twice the last one counts.
    command = [str(word) for word in (*known[name].command, *options)]
    environment = {
        **os.environ,
        **known[name].environment,
        "TSOBS_START_DATE": settings.start_date.isoformat(),
    }
    os.execve(command[0], command, environment)  # noqa: S606 - the part's own command, no shell


def _wait_for(part: Part) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while part.ready is not None and not part.ready():
        if time.monotonic() > deadline:
            raise SettingsError(
                f"{part.name} does not answer after {READY_TIMEOUT_S:g} s: is its service running?"
            )
        time.sleep(0.2)
