"""Time from the onset of a degradation to its message: 20 nodes that become relayed one after the other."""

from __future__ import annotations

import contextlib
import json
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.harness import machine, table
from tests.lab.alerting.test_truth import LAUNCH, SCHEDULE, STOP
from tests.support import bot_api as api
from tests.support.journals import round_line
from tests.support.lab.processes import Server
from tests.support.lab.timelapse import quiet_interval
from tests.support.ports import free_port
from tests.support.running import Running, eventually, running
from tests.support.sidecar_process import ENTRYPOINT, FAKE_TAILSCALE
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.database import engine_for

NODES = tuple(f"node-{number:02}" for number in range(1, 21))
EVERY_S = 10.0
RUN = """query($id: ID!) {runOrError(runId: $id) {... on Run {status startTime endTime}}}"""


@dataclass
class Trial:
    """When what happened, in seconds since the epoch; ``run`` is that of the collection."""

    node: str
    confirmed: float
    run: str


def write(journal: Path, at: datetime, relayed: set[str]) -> None:
    """One round in which these nodes are relayed and the others direct."""
    line = json.loads(round_line(at, nodes=NODES))
    over_derp = json.loads(round_line(at, relay="fra", nodes=NODES))["pings"]
    line["pings"] |= {node: over_derp[node] for node in relayed}
    with (journal / f"{at:%Y-%m-%d}.ndjson").open("a", encoding="ascii") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def launch(tsobs: Running) -> str:
    """The tick that the schedule would launch; its run id."""
    now = datetime.now(UTC)
    tags = [
        {"key": "dagster/partition", "value": f"{now:%Y-%m-%d}"},
        {"key": "tsobs/scheduled_at", "value": now.isoformat()},
    ]
    answer = tsobs.graphql(LAUNCH, tags=tags)["launchRun"]
    assert isinstance(answer, dict)
    return str(answer["run"]["runId"])


def run_of(tsobs: Running, run: str) -> dict[str, object]:
    """Status and times of a run."""
    found = tsobs.graphql(RUN, id=run)["runOrError"]
    assert isinstance(found, dict)
    return found


def trials(tsobs: Running, journal: Path) -> list[Trial]:
    """One after the other, at moments that fall anywhere into the sensors' 30 seconds."""
    dice, relayed, found = random.Random(4), set[str](), []  # noqa: S311 - moments, not secrets
    for node in NODES:
        relayed.add(node)
        now = datetime.now(UTC).replace(microsecond=0)
        write(journal, now - timedelta(seconds=1), relayed)
        write(journal, now, relayed)
        confirmed = time.time()
        found.append(Trial(node, confirmed, launch(tsobs)))
        time.sleep(max(0.0, confirmed + EVERY_S + dice.uniform(-2, 2) - time.time()))
    return found


def stages(tsobs: Running, bot: api.BotApi, trial: Trial) -> tuple[float, float, float]:
    """Seconds of collecting, until the sensor has decided, and until the message has arrived."""
    number = next(place for place, text in enumerate(bot.texts) if trial.node in text)
    engine = engine_for(f"sqlite:///{tsobs.state / 'tsobs.db'}")
    sent = next(
        one for one in outbox.newest(engine, 100) if one.html == bot.texts[number] and one.fate == "sent"
    )
    collected = float(str(run_of(tsobs, trial.run)["endTime"]))
    decided, arrived = sent.created_at.timestamp(), bot.arrived_at[number]
    return collected - trial.confirmed, decided - collected, arrived - decided


def measure(place: Path) -> list[tuple[float, float, float]]:
    """The stages of all trials."""
    journal = place / "journal"
    journal.mkdir()
    port = free_port()
    server = Server(
        name="sidecar",
        command=[ENTRYPOINT],
        log=place / "sidecar.log",
        environment={
            "SIDECAR_PORT": str(port),
            "SAMPLE_HOSTS": ",".join(NODES),
            "SAMPLE_INTERVAL": str(quiet_interval()),
            "JOURNAL_DIR": str(journal),
            "TAILSCALE_BIN": str(FAKE_TAILSCALE),
        },
    )
    begin = datetime.now(UTC).replace(second=0, microsecond=0)
    for minute in range(20, 0, -1):
        write(journal, begin - timedelta(minutes=minute), set())
    with contextlib.ExitStack() as parts:
        parts.callback(server.stop)
        server.start()
        bot = parts.enter_context(api.bot_api())
        tsobs = parts.enter_context(
            running(
                place,
                TSOBS_SIDECAR_URL=f"http://127.0.0.1:{port}",
                TSOBS_CRITICAL_NODES=",".join(NODES),
                TELEGRAM_API_URL=bot.url,
                TELEGRAM_BOT_TOKEN=api.TOKEN,
                TELEGRAM_CHAT_ID=api.CHAT,
            )
        )
        schedule = tsobs.graphql(SCHEDULE)["scheduleOrError"]
        assert isinstance(schedule, dict)
        tsobs.graphql(STOP, id=schedule["scheduleState"]["id"])
        first = launch(tsobs)
        eventually(lambda: run_of(tsobs, first)["status"] == "SUCCESS", 90, "the first tick")
        found = trials(tsobs, journal)
        eventually(
            lambda: all(any(one.node in text for text in bot.texts) for one in found), 90, "all messages"
        )
        return [stages(tsobs, bot, one) for one in found]


def main() -> None:
    """Print the stages, and what a minute between rounds and five between ticks add to them."""
    print(f"{machine()}\n")
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name))
    totals = [sum(one) for one in found]
    whole = statistics.mean(totals)
    rows = []
    for place, stage in enumerate(("tick launched → collected", "→ sensor has decided", "→ in the Bot API")):
        seconds = [one[place] for one in found]
        share = f"{100 * statistics.mean(seconds) / whole:.0f} %"
        rows.append((stage, f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}", share))
    rows.append(("all of it, measured", f"{statistics.median(totals):.1f}", f"{max(totals):.1f}", "100 %"))
    print(table(["stage", "median s", "worst s", "share"], rows))
    extra = [
        ("relay: two rounds a minute apart, then a tick every 5 minutes", 90 + 150, 120 + 300),
        ("latency: the rest of the 5-minute span, in step with the tick", 150, 300),
    ]
    print("\nComputed, for onsets at any moment, on top of what was measured:\n")
    print(
        table(
            ["waiting for evidence and tick", "median s", "worst s", "with the above, median s", "worst s"],
            [
                (name, middle, most, f"{middle + statistics.median(totals):.0f}", f"{most + max(totals):.0f}")
                for name, middle, most in extra
            ],
        )
    )


if __name__ == "__main__":
    main()
