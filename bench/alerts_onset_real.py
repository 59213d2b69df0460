"""Time from the onset of a degradation on a real tailnet to its message, each at a moment of its own.

As ``alerts_onset``, but the nodes are real daemons, and the real sidecar takes a round each minute. UDP
between a node and the observer is lost, packets to it are delayed, its daemon is killed, or the control
server removes it. The argument is the number of nodes of each kind. As root.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.alerts_onset import Onset, onsets, report
from bench.harness import machine
from tests.support import bot_api as api
from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import running_sidecar
from tests.support.lab.tailnet import Tailnet, running_tailnet
from tests.support.running import running

EACH = 10
BEFORE = timedelta(minutes=5)
"""Rounds in which all is well, and the first filling, come before the first onset."""


def bring_about(tailnet: Tailnet, one: Onset, delays: ExitStack) -> None:
    """Degrade a node."""
    node = tailnet.node(one.node)
    match one.kind:
        case "relay":
            tailnet.network.drop_udp(tailnet.observer.host, node.host)
        case "latency":
            delays.enter_context(tailnet.slow(node))
        case "stopped":
            node.kill()
        case "absent":
            tailnet.remove_record(one.node)


def measure(place: Path, each: int) -> None:
    """Print how long it took until each onset was told."""
    names = tuple(one.node for one in onsets(datetime.now(UTC), each))
    sampled = {"SAMPLE_HOSTS": ",".join(names), "SAMPLE_INTERVAL": "60"}
    with (
        new_run() as run,
        running_tailnet(run, peers=names) as tailnet,
        running_sidecar(run, tailnet.observer, settings=sampled) as sidecar,
        api.bot_api() as bot,
        running(
            place,
            TSOBS_SIDECAR_URL=sidecar.url,
            TSOBS_CRITICAL_NODES=",".join(names),
            TSOBS_START_DATE=f"{datetime.now(UTC).date() - timedelta(days=1)}",
            TELEGRAM_API_URL=bot.url,
            TELEGRAM_BOT_TOKEN=api.TOKEN,
            TELEGRAM_CHAT_ID=api.CHAT,
        ),
        ExitStack() as delays,
    ):
        watched = onsets(datetime.now(UTC) + BEFORE, each)
        for one in sorted(watched, key=lambda one: one.at):
            time.sleep(max(0.0, one.at.timestamp() - time.time()))
            bring_about(tailnet, one, delays)
        report(bot, watched)


def main() -> None:
    """Print what was asked for."""
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), int(sys.argv[1]) if sys.argv[1:] else EACH)


if __name__ == "__main__":
    main()
