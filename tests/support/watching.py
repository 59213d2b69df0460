"""What a running tsobs is doing: its runs as Dagster shows them, its processes by name, their CPU."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.running import Running

ENDED = frozenset({"SUCCESS", "FAILURE", "CANCELED"})

RUNS = """query($limit: Int!) {runsOrError(limit: $limit) {... on Runs {results {
  runId status jobName parentRunId creationTime startTime endTime tags {key value}}}}}"""

_TICKS = os.sysconf("SC_CLK_TCK")

_PARTS = (
    ("api grpc", "code server"),
    ("tsobs_pipelines.webserver", "webserver"),
    ("engine.daemon", "daemon"),
    ("engine.worker ticks", "worker ticks"),
    ("engine.worker backfills", "worker backfills"),
    ("tsobs_pipelines.api", "API"),
    ("tsobs_pipelines up", "supervisor"),
)


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


def tags_of(run: dict[str, object]) -> dict[str, str]:
    """A run's tags as a mapping."""
    listed = run["tags"]
    assert isinstance(listed, list)
    return {str(tag["key"]): str(tag["value"]) for tag in listed}


def named_processes(tsobs: Running) -> dict[int, str]:
    """Each process of this tsobs and what to call it; a worker's pool process is its child."""
    found: dict[int, str] = {}
    for pid in [tsobs.process.pid, *tsobs.descendants()]:
        try:
            command = command_of(pid)
            parent = int(Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[1])
        except OSError:
            continue
        name = part_name(command)
        found[pid] = name if tsobs.process.pid in {parent, pid} else f"{name}, pool"
    return found


def part_name(command: str) -> str:
    """What to call the process with this command line."""
    return next((name for words, name in _PARTS if words in command), command.strip()[:40])


def command_of(pid: int) -> str:
    """A process's command line; raises ``OSError`` when it is gone."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def cpu_seconds(pid: int) -> float:
    """CPU of a process and of its ended children so far; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(fields[place]) for place in (11, 12, 13, 14)) / _TICKS
