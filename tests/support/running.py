"""A running tsobs for tests: ``tsobs up`` on free ports and a state directory of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx

from tests.support.ports import free_port

_Found = TypeVar("_Found")

ROOT = Path(__file__).parents[2]

LOCATION = 'repositoryLocationName: "tsobs", repositoryName: "__repository__"'
"""The code location, in a selector of Dagster's GraphQL."""

_SCHEDULE = f"""{{scheduleOrError(scheduleSelector: {{
  {LOCATION}, scheduleName: "collect_every_5_minutes"}}) {{
  ... on Schedule {{scheduleState {{id}}}}}}}}"""
_STOP_SCHEDULE = """mutation($id: String!) {stopRunningSchedule(id: $id) {__typename}}"""


def eventually(look: Callable[[], _Found | None], seconds: float, what: str) -> _Found:
    """Look until there is something to see; fail with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} s: {what}")


@dataclass
class Running:
    """One ``tsobs up``."""

    state: Path
    dagster_port: int
    api_port: int
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes]
    output: Path

    def printed(self) -> str:
        """What the person at the terminal saw."""
        return self.output.read_text("utf-8")

    def part(self, name: str) -> int:
        """The process id of a part, or of ``fork server`` or ``supervisor``."""
        (pid,) = self.processes(name)
        return pid

    def processes(self, name: str) -> list[int]:
        """The process ids of what has this name, such as ``run``."""
        return [pid for pid in self.descendants() if name_of(pid) == name]

    def stop_collecting(self) -> None:
        """Stop the schedule of the collection, whose ticks follow the machine's clock."""
        schedule = self.graphql(_SCHEDULE)["scheduleOrError"]
        assert isinstance(schedule, dict)
        self.graphql(_STOP_SCHEDULE, id=schedule["scheduleState"]["id"])

    def graphql(self, query: str, **variables: object) -> dict[str, object]:
        """Ask Dagster's webserver."""
        url = f"http://127.0.0.1:{self.dagster_port}/graphql"
        answer = httpx.post(url, json={"query": query, "variables": variables}, timeout=30)
        answer.raise_for_status()
        data: dict[str, object] = answer.json()["data"]
        return data

    def interrupt(self) -> int:
        """Press Ctrl-C; gives the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=15)

    def descendants(self) -> list[int]:
        """Every process that belongs to this tsobs, by its state directory."""
        return processes_with(str(self.state))


def processes_with(marker: str) -> list[int]:
    """The processes with this text in their environment, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def name_of(pid: int) -> str:
    """What a process of tsobs calls itself; the kernel keeps 15 characters, ``tsobs`` among them."""
    try:
        comm = Path(f"/proc/{pid}/comm").read_text("ascii").strip()
    except OSError:
        return ""
    return {"fork serv": "fork server", "superviso": "supervisor"}.get(
        name := comm.removeprefix("tsobs "), name
    )


def children(pid: int) -> list[int]:
    """The processes that this one has started and that have not ended."""
    # A child belongs to the thread that started it, which need not be the first one.
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in lists for child in path.read_text("ascii").split()]


def up_environment(state: Path, **settings: str) -> dict[str, str]:
    """The environment of a tsobs that knows nothing of the tester's settings."""
    ours = ("TSOBS_", "INFLUXDB_V2_", "TELEGRAM_", "DAGSTER_", "LOG_FORMAT_JSON")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {
        **clean,
        "TSOBS_STATE_DIR": str(state),
        "TSOBS_MODELS_DIR": str(state / "models"),
        "TSOBS_DAGSTER_PORT": str(free_port()),
        "TSOBS_API_PORT": str(free_port()),
        **settings,
    }


def start(environment: Mapping[str, str], output: Path, before: Sequence[str] = ()) -> Running:
    """Start ``tsobs up`` and return at once; ``before`` is a command that becomes it."""
    with output.open("wb") as sink:
        process = subprocess.Popen(  # the program under test, with arguments of our own
            [*before, sys.executable, "-m", "tsobs_pipelines", "up"],
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ports = (int(environment["TSOBS_DAGSTER_PORT"]), int(environment["TSOBS_API_PORT"]))
    return Running(Path(environment["TSOBS_STATE_DIR"]), *ports, environment, process, output)


@contextmanager
def running(directory: Path, before: Sequence[str] = (), **settings: str) -> Iterator[Running]:
    """A tsobs that answers; it is ended whatever happens. ``before`` is a command that becomes it."""
    started = start(up_environment(directory / "var", **settings), directory / "up.out", before)
    try:
        eventually(lambda: "tsobs is up" in started.printed() or _ended(started), 120, "tsobs is up")
        yield started
    finally:
        if started.process.poll() is None:
            started.interrupt()
        for pid in started.descendants():
            os.kill(pid, signal.SIGKILL)


def _ended(started: Running) -> bool:
    if started.process.poll() is not None:
        raise AssertionError(f"tsobs ended at its start:\n{started.printed()}")
    return False
