"""Rounds of a real tailnet about nodes that are absent, not sampled, not answering, or deleted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.support.lab.processes import poll_until
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import Tailnet
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.rows import collect
from tsobs_pipelines.timeseries.evidence import clause_of
from tsobs_pipelines.timeseries.schema import ConnectionRow

WATCHED = ("git", "chocolate-factory-dev", "nowhere", "chocolate-factory")
SAMPLED = "git,chocolate-factory-dev,nowhere"
OVERRUN = "the round before took too long"
"""A round a second leaves no time for a ping that is not answered, nor for a netcheck."""


@pytest.fixture(scope="module")
def sidecar(tailnet: Tailnet, lab_run: Run) -> Iterator[Sidecar]:
    tailnet.direct()
    settings = {"SAMPLE_HOSTS": SAMPLED}
    with running_sidecar(lab_run, tailnet.observer, "evidence", settings) as running:
        yield running


def newest(sidecar: Sidecar) -> dict[str, ConnectionRow]:
    """The rows of the newest round, but for those that a busy machine took no time for."""
    with TailscaleHealthService(sidecar.url) as client:
        day = datetime.now(UTC).date()
        rounds: list[Round] = list(read_rounds(client.samples(day), JournalCounts(), day))
    told = [this for this in rounds if this.error != OVERRUN]
    return {row.hostname: row for row in collect(told[-1:], WATCHED, "lab").connections}


def eventually(sidecar: Sidecar, name: str, wanted: Callable[[ConnectionRow], bool], what: str) -> None:
    """Wait until the newest round says so of the node."""

    def said() -> bool:
        rows = newest(sidecar)
        return name in rows and wanted(rows[name])

    poll_until(said, within_s=90, what=what)


def test_each_way_of_being_silent_is_told_from_the_others(tailnet: Tailnet, sidecar: Sidecar) -> None:
    for name in ("git", "chocolate-factory-dev"):
        eventually(sidecar, name, lambda row: row.connection_type == "direct", f"{name} directly")
    rows = newest(sidecar)
    said = {name: (row.connection_type, row.evidence, row.answered) for name, row in rows.items()}
    assert said == {
        "git": ("direct", None, 1),
        "chocolate-factory-dev": ("direct", None, 1),
        "nowhere": ("unknown", "absent", 0),
        "chocolate-factory": ("unknown", "not-sampled", 0),
    }
    assert clause_of(rows["nowhere"]) == "nowhere is not in the tailnet"
    assert "SAMPLE_HOSTS" in clause_of(rows["chocolate-factory"])
    git = tailnet.node("git")
    with git.frozen():
        eventually(sidecar, "git", lambda row: row.connection_type == "unreachable", "git frozen")
    git.kill()
    eventually(sidecar, "git", lambda row: row.connection_type == "offline", "git killed")
    git.start()
    eventually(sidecar, "git", lambda row: bool(row.answered), "git again")


def test_a_stopped_daemon_is_a_round_not_taken_with_its_reason(tailnet: Tailnet, sidecar: Sidecar) -> None:
    tailnet.observer.cli("down")
    try:
        eventually(sidecar, "git", lambda row: row.evidence == "not-taken", "the daemon stopped")
        row = newest(sidecar)["git"]
        assert (row.answered, row.connection_type) == (None, "unknown")
        assert "Stopped" in (row.reason or "")
    finally:
        tailnet.observer.join()
    eventually(sidecar, "git", lambda row: bool(row.answered), "the daemon runs again")
