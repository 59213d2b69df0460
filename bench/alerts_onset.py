"""Time from the onset of a degradation to its message: 20 nodes of each kind, each at a moment of its own.

A running tsobs with the schedule and the sensors of production reads the journal of a real sidecar that only
serves. The rounds, one a minute, are written by this program: in real time, each a few seconds late as the
sampler's are. ``idle`` as an argument measures what the sensor that looks between two ticks costs instead.
"""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import machine, table
from tests.support import bot_api as api
from tests.support.lab.processes import Server
from tests.support.lab.timelapse import quiet_interval
from tests.support.ports import free_port
from tests.support.running import LOCATION, Running, eventually, running
from tests.support.sidecar_process import ENTRYPOINT, FAKE_TAILSCALE
from tests.support.watching import cpu_seconds, named_processes, runs, settled
from tsobs_pipelines.timeseries.spans import span_start

EACH = 20
INTERVAL = timedelta(minutes=1)
SPAN = timedelta(minutes=5)
SILENT_FOR = timedelta(minutes=15)
TAKES_S = 5.0
"""A round is in the journal so long after its time."""

HISTORY = 20
"""Rounds before the start in which all is well."""

KINDS = {"relay": 18, "latency": 18, "stopped": 5, "absent": 5}
"""The minutes in which a kind's onsets are; the last two need fifteen more to be told."""

LIMITS = {"relay": (60, 90), "latency": (30, 30), "stopped": (60, 90), "absent": (60, 90)}
"""Seconds after the evidence is complete within which half of them and all of them should be told."""

IDLE_S = 90
SENSOR = "relay_alert_sensor"
SENSOR_STATE = f"""{{sensorOrError(sensorSelector: {{{LOCATION}, sensorName: "{SENSOR}"}}) {{
  ... on Sensor {{sensorState {{id}}}}}}}}"""
STOP_SENSOR = """mutation($id: String!) {stopSensor(id: $id) {__typename}}"""
START_SENSOR = (
    f"""mutation {{startSensor(sensorSelector: {{{LOCATION}, sensorName: "{SENSOR}"}}) {{__typename}}}}"""
)
PAIRS = 2
"""With the sensor and without it, in turn."""


@dataclass(frozen=True)
class Onset:
    """When a node degrades; from the first round at or after it on, the journal shows it."""

    node: str
    kind: str
    at: datetime

    @property
    def seen(self) -> datetime:
        """The first round that shows it."""
        return datetime.fromtimestamp(-(-self.at.timestamp() // 60) * 60, UTC)

    @property
    def confirmed(self) -> datetime:
        """When the evidence is complete by the rule's own definition."""
        if self.kind == "relay":
            return self.seen + INTERVAL
        if self.kind == "latency":
            return span_start(self.seen, SPAN) + SPAN
        return self.seen + SILENT_FOR


def onsets(start: datetime, each: int = EACH) -> list[Onset]:
    """So many of each kind, at moments that a seed gives."""
    dice = random.Random(13)  # noqa: S311 - moments, not secrets
    return [
        Onset(f"{kind}-{number:02}", kind, start + timedelta(minutes=dice.uniform(0.5, minutes)))
        for kind, minutes in KINDS.items()
        for number in range(1, each + 1)
    ]


def node(number: int, onset: Onset, at: datetime) -> dict[str, object]:
    """A node as the sampler writes it; the round may be one in which it is degraded."""
    bad = onset.kind if at >= onset.seen else ""
    if bad == "absent":
        return {"unprobed": "absent"}
    ping: dict[str, object] = {"Endpoint": f"10.88.2.{number}:41641", "LatencySeconds": [0.012] * 6}
    if bad == "relay":
        ping = {"DERPRegionID": 9, "DERPRegionCode": "fra", "LatencySeconds": [0.024] * 6}
    elif bad == "latency":
        ping["LatencySeconds"] = [1.2] * 6
    elif bad == "stopped":
        ping = {"Err": "no reply within 2 s", "times": 6}
    return {
        "HostName": onset.node,
        "DNSName": f"{onset.node}.bench.ts.net.",
        "Online": bad != "stopped",
        "TailscaleIPs": [f"100.64.0.{number}"],
        "RxBytes": int(at.timestamp()) % 10**8,
        "TxBytes": int(at.timestamp()) % 10**8,
        "pings": [ping],
    }


def write(journal: Path, at: datetime, watched: Sequence[Onset]) -> None:
    """One round."""
    line = {
        "v": 2,
        "at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "interval": INTERVAL.seconds,
        "took": TAKES_S,
        "daemon": "1.102.5",
        "state": "Running",
        "every": False,
        "self": {"HostName": "observer", "DNSName": "observer.bench.ts.net.", "Online": True},
        "nodes": {one.node: node(number, one, at) for number, one in enumerate(watched, start=2)},
    }
    with (journal / f"{at:%Y-%m-%d}.ndjson").open("a", encoding="ascii") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


@contextlib.contextmanager
def sampling(journal: Path, watched: Sequence[Onset]) -> Iterator[None]:
    """A round each minute while the block runs."""
    over = threading.Event()

    def work() -> None:
        at = datetime.now(UTC).replace(second=0, microsecond=0)
        while True:
            at += INTERVAL
            if over.wait(max(0.0, at.timestamp() + TAKES_S - time.time())):
                return
            write(journal, at, watched)

    thread = threading.Thread(target=work, name="sampler")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def observed(place: Path, watched: Sequence[Onset], bot: api.BotApi) -> Iterator[Running]:
    """A tsobs over the journal, whose rounds are taken while the block runs."""
    journal = place / "journal"
    journal.mkdir()
    begin = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute in range(HISTORY, -1, -1):
        write(journal, begin - minute * INTERVAL, watched)
    port, names = free_port(), ",".join(one.node for one in watched)
    server = Server(
        name="sidecar",
        command=[ENTRYPOINT],
        log=place / "sidecar.log",
        environment={
            "SIDECAR_PORT": str(port),
            "SAMPLE_HOSTS": names,
            "SAMPLE_INTERVAL": str(quiet_interval()),
            "JOURNAL_DIR": str(journal),
            "TAILSCALE_BIN": str(FAKE_TAILSCALE),
        },
    )
    with contextlib.ExitStack() as parts:
        parts.callback(server.stop)
        server.start()
        parts.enter_context(sampling(journal, watched))
        yield parts.enter_context(
            running(
                place,
                TSOBS_SIDECAR_URL=f"http://127.0.0.1:{port}",
                TSOBS_CRITICAL_NODES=names,
                TELEGRAM_API_URL=bot.url,
                TELEGRAM_BOT_TOKEN=api.TOKEN,
                TELEGRAM_CHAT_ID=api.CHAT,
            )
        )


def told_at(bot: api.BotApi, one: Onset) -> float | None:
    """When the first message that names the node arrived."""
    arrivals = zip(bot.texts, bot.arrived_at, strict=False)
    return next((moment for text, moment in arrivals if one.node in text), None)


def report(bot: api.BotApi, watched: Sequence[Onset]) -> None:
    """Wait until all are told, or two minutes after the last should have been, and print how long it took."""
    last = max(one.confirmed for one in watched)
    while time.time() < last.timestamp() + 120 and any(told_at(bot, one) is None for one in watched):
        time.sleep(5)
    rows = []
    for kind, (half, most) in LIMITS.items():
        mine = [one for one in watched if one.kind == kind]
        told = [(one, moment) for one in mine if (moment := told_at(bot, one)) is not None]
        after = sorted(moment - one.confirmed.timestamp() for one, moment in told)
        whole = [moment - one.at.timestamp() for one, moment in told]
        rows.append(
            (
                kind,
                f"{len(told)} of {len(mine)}",
                f"{statistics.median(after):.0f}" if told else "",
                f"{after[-1]:.0f}" if told else "",
                f"{half}, {most}",
                f"{statistics.median(whole):.0f}" if told else "",
                f"{max(whole):.0f}" if told else "",
            )
        )
    head = ["onset", "told", "after confirmation: median s", "worst s", "targets s"]
    print(table([*head, "after the onset: median s", "worst s"], rows))
    print(f"\n{len(bot.texts)} messages")


def measure(place: Path) -> None:
    """Print how long it took until each onset was told."""
    # Half a minute for the start, and a first tick before the first onset.
    watched = onsets(datetime.now(UTC) + timedelta(minutes=2))
    with api.bot_api() as bot, observed(place, watched, bot):
        report(bot, watched)


def measure_idle(place: Path) -> None:
    """Print the CPU of everything between two ticks, with the sensor that looks ahead and without it."""
    watched = [Onset(name, "none", datetime(2999, 1, 1, tzinfo=UTC)) for name in ("git", "dev", "factory")]
    with api.bot_api() as bot, observed(place, watched, bot) as tsobs:
        eventually(lambda: settled(tsobs, 2 * IDLE_S), 600, "nothing has run for some minutes")
        sensor = tsobs.graphql(SENSOR_STATE)["sensorOrError"]
        assert isinstance(sensor, dict)
        tsobs.stop_collecting()
        rows, known = [], {run["runId"] for run in runs(tsobs, 500)}
        for _ in range(PAIRS):
            with_it = spent(tsobs)
            tsobs.graphql(STOP_SENSOR, id=sensor["sensorState"]["id"])
            without = spent(tsobs)
            tsobs.graphql(START_SENSOR)
            rows.append([f"{value:.3f}" for value in (with_it, without, with_it - without)])
        print(table([f"idle with {SENSOR}, CPU-s a minute", "without it", "difference"], rows))
        jobs = Counter(str(run["jobName"]) for run in runs(tsobs, 500) if run["runId"] not in known)
        print(f"\nruns meanwhile: {dict(jobs)}")


def spent(tsobs: Running) -> float:
    """CPU seconds a minute of all processes."""
    before = {pid: cpu_seconds(pid) for pid in named_processes(tsobs)}
    time.sleep(IDLE_S)
    after = {pid: cpu_seconds(pid) for pid in named_processes(tsobs)}
    return sum(seconds - before.get(pid, 0.0) for pid, seconds in after.items()) * 60 / IDLE_S


def main() -> None:
    """Print what was asked for."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        (measure_idle if "idle" in sys.argv[1:] else measure)(Path(name))


if __name__ == "__main__":
    main()
