"""What a running tsobs is doing: its runs as Dagster lists them, its processes by name, their CPU."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.support.running import Running, name_of

ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

RUNS = """query($limit: Int!) {runsOrError(limit: $limit) {... on Runs {results {
  runId status jobName parentRunId creationTime startTime endTime tags {key value}}}}}"""

_TICKS = os.sysconf("SC_CLK_TCK")


def runs(tsobs: Running, limit: int = 50) -> list[dict[str, object]]:
    """The newest runs, newest first."""
    found = tsobs.graphql(RUNS, limit=limit)["runsOrError"]
    assert isinstance(found, dict)
    results: list[dict[str, object]] = found["results"]
    return results


def idle(tsobs: Running) -> bool:
    """Whether there have been runs, and none is under way."""
    found = runs(tsobs)
    return bool(found) and all(run["status"] in ENDED for run in found)


def settled(tsobs: Running, for_s: float) -> bool:
    """Whether there have been runs, and none for so many seconds: a sensor may rest for a minute."""
    ends = [run["endTime"] for run in runs(tsobs)]
    return bool(ends) and all(ends) and time.time() - max(float(str(end)) for end in ends) > for_s


def tags_of(run: dict[str, object]) -> dict[str, str]:
    """A run's tags as a mapping."""
    listed = run["tags"]
    assert isinstance(listed, list)
    return {str(tag["key"]): str(tag["value"]) for tag in listed}


def named_processes(tsobs: Running) -> dict[int, str]:
    """Each process of this tsobs and what it calls itself."""
    named = {pid: name_of(pid) for pid in {tsobs.process.pid, *tsobs.descendants()}}
    return {pid: name for pid, name in named.items() if name}


def cpu_seconds(pid: int) -> float:
    """CPU of a process and of its ended children so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(fields[place]) for place in (11, 12, 13, 14)) / _TICKS
