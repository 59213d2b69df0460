"""Makes the state directory of an older tsobs: ``python -m tests.support.old_state CHECKOUT ARCHIVE.tar.xz``.

``tests/data/first-state.tar.xz`` was made by commit 2b68f88, the first one whose ``tsobs up`` starts. It
locks the same dependencies as the version that made the archive, whose interpreter ran it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support import bot_api as api
from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import NODES, minutes, round_line
from tests.support.running import Running, eventually, up_environment
from tests.support.sidecars import served
from tests.support.watching import idle

HISTORY = 40
SLOW, RELAYED, _ = NODES
LEFT_OUT = ("logs",)
"""Logs are read by day and have no schema."""


class OldSidecar(GrowingSidecar):
    """A round a minute: one node is slow throughout, one is relayed until it is told to get well."""

    well = False

    def line(self, at: datetime) -> bytes:
        """The journal's line of a round."""
        apart = {SLOW: (150.0, "")} | ({} if self.well else {RELAYED: (12.0, "fra")})
        return round_line(at, nodes=self.names, apart=apart)

    def answer(self, path: str) -> bytes | None:
        """The body for a path, after the rounds that are due."""
        while self.last + timedelta(minutes=1) <= datetime.now(UTC):
            self.take([self.last + timedelta(minutes=1)])
        return super().answer(path)


def old_up(checkout: Path, place: Path, settings: Mapping[str, str]) -> Running:
    """Start the older tsobs on ``place``."""
    environment = up_environment(place / "var", **settings) | {"PYTHONPATH": str(checkout)}
    output = place / "up.out"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tsobs_pipelines", "up"],
            cwd=checkout,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    ports = int(environment["TSOBS_DAGSTER_PORT"]), int(environment["TSOBS_API_PORT"])
    return Running(place / "var", *ports, environment, process, output)


def fill(tsobs: Running, sidecar: OldSidecar, bot: api.BotApi) -> None:
    """Until both alerts were sent, one of them is over, and nothing runs."""
    eventually(lambda: "tsobs is up" in tsobs.printed(), 300, "the older tsobs is up")
    assert tsobs.process.poll() is None
    eventually(lambda: any(SLOW in text for text in bot.texts), 400, "the latency alert")
    eventually(lambda: any(RELAYED in text for text in bot.texts), 400, "the relay alert")
    sidecar.well = True
    eventually(lambda: any("RESOLVED" in text for text in bot.texts), 700, "the end of the relay alert")
    eventually(lambda: idle(tsobs), 60, "nothing runs")


def main(checkout: Path, archive: Path) -> None:
    """Make the archive, with ``facts.json``: the messages that the Bot API got."""
    sidecar = OldSidecar()
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    sidecar.take(minutes(now - timedelta(minutes=HISTORY), HISTORY))
    with tempfile.TemporaryDirectory() as directory, served(sidecar), api.bot_api() as bot:
        place = Path(directory)
        settings = {
            "TSOBS_SIDECAR_URL": sidecar.url,
            "TSOBS_START_DATE": f"{now:%Y-%m-%d}",
            "TELEGRAM_API_URL": bot.url,
            "TELEGRAM_BOT_TOKEN": api.TOKEN,
            "TELEGRAM_CHAT_ID": api.CHAT,
        }
        tsobs = old_up(checkout, place, settings)
        try:
            fill(tsobs, sidecar, bot)
        finally:
            tsobs.interrupt()
            print(tsobs.printed())  # noqa: T201 - for whoever makes it
        (place / "var" / "facts.json").write_text(json.dumps({"messages": bot.texts}), "utf-8")
        with tarfile.open(archive, "w:xz") as packed:
            for path in sorted((place / "var").iterdir()):
                if path.name not in LEFT_OUT:
                    packed.add(path, path.name)
        print(f"{os.stat(archive).st_size} bytes")  # noqa: T201, PTH116


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]))
