"""The real sidecar beside the observer's daemon, reached through loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from tests.support.lab.processes import Server
from tests.support.lab.runs import Run
from tests.support.lab.tailnet import CRITICAL_NODES, Node
from tests.support.ports import free_port
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rounds import Round

ENTRYPOINT = Path(__file__).parents[3] / "sidecar" / "entrypoint.sh"
START_WITHIN_S = 30


@dataclass
class Sidecar:
    """A running sidecar; ``stop`` and ``start`` keep its journal and address."""

    server: Server
    url: str
    journal: Path

    def start(self) -> None:
        """Start it and wait until it answers, healthy or not."""
        self.server.start()
        self.server.wait_until(self._answers, within_s=START_WITHIN_S)

    def stop(self) -> None:
        """End it in order."""
        self.server.stop()

    def rounds(self) -> list[Round]:
        """The rounds of its journal, oldest first."""
        return [
            this
            for path in sorted(self.journal.glob("*.ndjson"))
            for this in read_rounds(
                [path.read_bytes()], JournalCounts(), datetime.fromisoformat(path.stem).date()
            )
        ]

    def _answers(self) -> bool:
        try:
            httpx.get(f"{self.url}/healthz", timeout=5)
        except httpx.TransportError:
            return False
        return True


@contextlib.contextmanager
def running_sidecar(
    lab_run: Run, observer: Node, name: str = "sidecar", settings: Mapping[str, str] | None = None
) -> Iterator[Sidecar]:
    """A sidecar that takes a round each second, gone when the block ends.

    Args:
        lab_run: Whose directory takes its journal.
        observer: The node it observes from.
        name: Of its part of that directory: another name is another, empty journal.
        settings: Environment variables that differ from the lab's.
    """
    place = lab_run.place(name)
    journal = place / "journal"
    port = free_port()
    server = Server(
        name=name,
        command=[ENTRYPOINT],
        log=place / "sidecar.log",
        environment={
            "SIDECAR_PORT": str(port),
            "SAMPLE_HOSTS": ",".join(CRITICAL_NODES),
            "SAMPLE_INTERVAL": "1",
            "SIDECAR_SHORTEST_INTERVAL": "1",
            "JOURNAL_DIR": str(journal),
            "TAILSCALE_BIN": str(observer.program),
            "TS_SOCKET": str(observer.socket),
            **(settings or {}),
        },
    )
    sidecar = Sidecar(server, f"http://127.0.0.1:{port}", journal)
    try:
        sidecar.start()
        yield sidecar
    finally:
        sidecar.stop()
