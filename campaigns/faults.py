"""A running tsobs under injected faults: what was lost, and how fast it recovered.

``tsobs up`` reads a journal that this program plays: a round a minute of six nodes, a slow and a relayed one
in each five minutes. Requests go to the API, backfills of past days are asked for, messages go to the tests'
Bot API, which answers after ``ANSWER_S``. Meanwhile, by ``--fault``:

``kills``  a process of the supervisor's tree is killed with SIGKILL every ``--every`` seconds in the mean;
           when it is the supervisor itself, this program starts ``tsobs up`` again, as a service manager
           would;
``dns``    the Bot API's name stops resolving, then the sidecar's, each for some minutes (root);
``clock``  the clock of ``tsobs up`` is set an hour forward and back, then back and forward (gcc); the
           sidecar's, as on another machine, is right.

Then it is left in peace, at most ``--quiet`` minutes, until all is there that must be.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from bench.harness import machine, table
from campaigns import kills as killing
from campaigns import truth
from campaigns.load import Load
from campaigns.source import NODES, Incident, ScriptedSidecar, script
from tests.support import bot_api as api
from tests.support.lab.clock import Clock
from tests.support.lab.names import Names
from tests.support.running import Running, eventually, start, up_environment
from tests.support.sidecars import served

DAYS = 3
"""How many whole days the journal has when tsobs starts."""

ANSWER_S = 1.0
"""The Bot API keeps a message at once and says so later: a sender that dies meanwhile can't know."""

HOSTS = {"TSOBS_SIDECAR_URL": "sidecar.tsobs.test", "TELEGRAM_API_URL": "telegram.tsobs.test"}

START_AGAIN_S = 1.0
FIRST_FILLING_S = 600.0
TICK_MINUTES = 6
"""Of so many rounds the next tick takes care."""

LOOK_EVERY_S = 10.0


@dataclass
class Service:
    """``tsobs up`` and who starts it again when it ended without having been asked to."""

    place: Path
    settings: Mapping[str, str]
    before: Sequence[str] = ()
    starts: list[Running] = field(default_factory=list)

    @property
    def current(self) -> Running:
        """The newest start."""
        return self.starts[-1]

    def start(self) -> None:
        """Start it once more, on the same ports and the same state."""
        environment = (
            self.starts[0].environment if self.starts else up_environment(self.place / "var", **self.settings)
        )
        output = self.place / f"up-{len(self.starts)}.out"
        self.starts.append(start(environment, output, self.before))

    def keep(self) -> None:
        """Start it again if it ended."""
        if self.current.process.poll() is not None:
            time.sleep(START_AGAIN_S)
            self.start()

    def stop(self) -> None:
        """End it, and whatever is left of it."""
        if self.current.process.poll() is None:
            self.current.process.send_signal(signal.SIGINT)
            self.current.process.wait(30)
        for pid in self.current.descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def up(service: Service, sidecar: ScriptedSidecar) -> Iterator[None]:
    """It runs, and has collected the journal; filling in the forecasts is part of what the fault meets."""
    service.start()
    try:
        eventually(lambda: "tsobs is up" in service.current.printed(), 1200, "tsobs is up")
        begun = time.monotonic()
        while truth.rounds(sidecar, service.current.state).lost > len(NODES) * TICK_MINUTES:
            assert time.monotonic() - begun < FIRST_FILLING_S, "the journal is not collected"
            time.sleep(LOOK_EVERY_S)
        yield
    finally:
        service.stop()


def kill_for(service: Service, chance: random.Random, until: float, every: float) -> list[killing.Kill]:
    """Kill until then, on the monotonic clock."""
    kills: list[killing.Kill] = []
    while time.monotonic() < until:
        pause = min(max(1.0, chance.expovariate(1 / every)), until - time.monotonic())
        rest = time.monotonic() + pause
        while time.monotonic() < rest:
            service.keep()
            time.sleep(min(0.2, max(0.0, rest - time.monotonic())))
        kill = killing.kill_one(chance, service.current)
        if kill is not None:
            kills.append(kill)
            print(f"{datetime.now(UTC):%H:%M:%S} {kill.name} ({kill.pid})", flush=True)
    return kills


@dataclass(frozen=True, slots=True)
class Step:
    """What is done so many minutes after the step before."""

    after_min: float
    what: str
    act: Callable[[], None]


def in_steps(service: Service, steps: Sequence[Step]) -> None:
    """Do one after the other."""
    begun = time.monotonic()
    for step in steps:
        begun += step.after_min * 60
        while time.monotonic() < begun:
            service.keep()
            time.sleep(1)
        step.act()
        print(f"{datetime.now(UTC):%H:%M:%S} {step.what}", flush=True)


def settle(
    service: Service, looks: Mapping[str, truth.Look], seconds: float
) -> tuple[list[truth.Verdict], dict[str, float]]:
    """Look until nothing is lost or the time is over; the last verdicts, and when each was good first."""
    begun = time.monotonic()
    good: dict[str, float] = {}
    while True:
        service.keep()
        verdicts = {name: _judged(name, look) for name, look in looks.items()}
        for name, verdict in verdicts.items():
            if verdict.lost:
                good.pop(name, None)
            else:
                good.setdefault(name, time.monotonic() - begun)
        if len(good) == len(verdicts) or time.monotonic() - begun > seconds:
            return list(verdicts.values()), good
        time.sleep(LOOK_EVERY_S)


def _judged(name: str, look: truth.Look) -> truth.Verdict:
    try:
        return look()
    except (httpx.HTTPError, AssertionError, KeyError, TypeError) as error:
        return truth.Verdict(name, 0, 1, f"can't be looked at: {type(error).__name__}: {error}")


def report(
    kills: Sequence[killing.Kill], watch: killing.Watch, load: Load, verdicts: Sequence[truth.Verdict]
) -> str:
    """The tables."""
    ailing = killing.ailing_seconds(watch.looks)
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in sorted(ailing.items()))
    said = [f"  {name}: {detail}" for name, detail in sorted(watch.said.items())]
    answers = ", ".join(f"{status}: {count}" for status, count in sorted(load.answers.items()))
    header = ("process", "kills", "back after, s: median, worst", "/healthz ailed", "200 again after, s")
    return "\n".join(
        [
            table(header, killing.kill_table(kills, watch.looks)),
            "",
            table(("what", "of", "lost", "besides"), [(v.what, v.wanted, v.lost, v.note) for v in verdicts]),
            "",
            f"/healthz was not 200 for: {parts or 'no time'}",
            *said,
            f"answers of the API: {answers}; backfills not accepted: {load.refused}",
        ]
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """How tsobs is started so that the fault can meet it, and the fault's steps, if it has steps."""

    settings: Mapping[str, str]
    before: Sequence[str] = ()
    steps: Sequence[Step] = ()


def fault_of(name: str, place: Path, sidecar: ScriptedSidecar, bot: api.BotApi) -> Fault:
    """The fault with this name."""
    urls = {"TSOBS_SIDECAR_URL": sidecar.url, "TELEGRAM_API_URL": bot.url}
    if name == "dns":
        names = Names(place, set(HOSTS.values()))
        by_name = {variable: url.replace("127.0.0.1", HOSTS[variable]) for variable, url in urls.items()}
        telegram, tailnet = HOSTS["TELEGRAM_API_URL"], HOSTS["TSOBS_SIDECAR_URL"]
        return Fault(
            by_name,
            names.command,
            (
                Step(4, f"{telegram} does not resolve", lambda: names.forget(telegram)),
                Step(7, f"{telegram} resolves again", lambda: names.learn(telegram)),
                Step(1, f"{tailnet} does not resolve", lambda: names.forget(tailnet)),
                Step(7, f"{tailnet} resolves again", lambda: names.learn(tailnet)),
            ),
        )
    if name == "clock":
        clock = Clock(place / "clock")
        hour = timedelta(hours=1)
        return Fault(
            urls | clock.environment,
            (),
            (
                Step(2, "an hour forward", lambda: clock.step(hour)),
                Step(3, "an hour back", lambda: clock.step(-hour)),
                Step(3, "an hour back", lambda: clock.step(-hour)),
                Step(3, "an hour forward", lambda: clock.step(hour)),
            ),
        )
    return Fault(urls)


def campaign(place: Path, chosen: argparse.Namespace, seed: int) -> bool:
    """Run it and print the tables; whether nothing was lost."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    incidents: list[Incident] = []
    sidecar = ScriptedSidecar(incidents, DAYS)
    first = datetime.now(UTC).date() - timedelta(days=DAYS)
    with served(sidecar), api.bot_api() as bot:
        bot.answer_s = ANSWER_S
        fault = fault_of(chosen.fault, place, sidecar, bot)
        settings = {
            "TSOBS_CRITICAL_NODES": ",".join(NODES),
            "TSOBS_START_DATE": first.isoformat(),
            "TELEGRAM_BOT_TOKEN": api.TOKEN,
            "TELEGRAM_CHAT_ID": api.CHAT,
            **fault.settings,
        }
        service = Service(place, settings, fault.before)
        with up(service, sidecar):
            minutes = sum(step.after_min for step in fault.steps) or chosen.minutes
            ends = datetime.now(UTC) + timedelta(minutes=minutes)
            calm = timedelta(minutes=11 if fault.steps else 6)
            incidents += script(datetime.now(UTC), ends + calm - timedelta(minutes=1))
            print(f"{datetime.now(UTC):%H:%M:%S} begins, {len(incidents)} incidents", flush=True)
            watch = killing.Watch(lambda: service.current)
            load = Load(lambda: service.current, first, random.Random(seed + 1))  # noqa: S311
            threads = [watch.start(), *load.start()]
            kills: list[killing.Kill] = []
            try:
                if fault.steps:
                    in_steps(service, fault.steps)
                else:
                    kills = kill_for(service, chance, time.monotonic() + minutes * 60, chosen.every)
                load.over.set()
                print(f"{datetime.now(UTC):%H:%M:%S} the fault is over", flush=True)
                looks = truth.looks(service.current, sidecar, bot, incidents, load.requested)
                sidecar.last_at = datetime.now(UTC) + calm
                verdicts, good = settle(service, looks, chosen.quiet * 60)
            finally:
                load.over.set()
                watch.over.set()
                for thread in threads:
                    thread.join()
            print(report(kills, watch, load, verdicts))
            print(f"starts of tsobs up: {len(service.starts)}")
            print("all there, seconds after the fault: ", end="")
            print(", ".join(f"{name} {seconds:.0f}" for name, seconds in good.items()))
    return not any(verdict.lost for verdict in verdicts)


def main() -> None:
    """Run the campaign; exit status 1 when something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fault", choices=("kills", "dns", "clock"), default="kills")
    parser.add_argument("--minutes", type=float, default=30, help="how long processes are killed")
    parser.add_argument("--every", type=float, default=20, help="seconds between two kills, in the mean")
    parser.add_argument("--quiet", type=float, default=15, help="minutes until all must be there, at most")
    parser.add_argument("--seed", type=int, default=None, help="of the kills and the backfills")
    parser.add_argument("--keep", type=Path, default=None, help="keep the state there")
    chosen = parser.parse_args()
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"{machine()}, {chosen.fault}, seed {seed}", flush=True)
    place = Path(tempfile.mkdtemp(prefix="tsobs-campaign-"))
    well = False
    try:
        well = campaign(place, chosen, seed)
    finally:
        if chosen.keep is not None:
            shutil.copytree(place, chosen.keep, ignore=shutil.ignore_patterns("wake", "code.sock"))
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
