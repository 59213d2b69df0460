"""The real sidecar with a full disk and with a stepped clock: what is lost of the journal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.lab.clock import Clock
from tests.support.lab.disks import fill, mounted
from tests.support.sidecar_process import FAKE_TAILSCALE, Sidecar, fake_tailnet, poll, running
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


def set_to(clock: Clock, time_of_day: timedelta) -> None:
    """Set this clock forward to the next such time of day."""
    now = clock.now
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    clock.step((midnight + time_of_day - now) % timedelta(days=1))


@pytest.fixture
def sidecar(tmp_path: Path, clock: Clock) -> Sidecar:
    """A sidecar with a round each second, of git alone; not started."""
    fake = fake_tailnet(tmp_path / "fake")
    settings = {
        "TAILSCALE_BIN": str(FAKE_TAILSCALE),
        "FAKE_TAILSCALE": str(fake.place),
        "SAMPLE_INTERVAL": "1",
        "SAMPLE_HOSTS": "git",
        "SIDECAR_CLI_SECONDS": "2",
    }
    return Sidecar(tmp_path, settings)


def lines(sidecar: Sidecar) -> Iterator[tuple[str, bytes]]:
    """Each line of the journal, with the day of its file."""
    for path in sorted(sidecar.journal.glob("*.ndjson")):
        for line in path.read_bytes().splitlines():
            yield path.stem, line


def times(sidecar: Sidecar) -> list[datetime]:
    """The time of each round in the order of the files; every line must be whole and in its day's file."""
    found = []
    for day, line in lines(sidecar):
        at = datetime.fromisoformat(json.loads(line)["at"])
        assert f"{at:%Y-%m-%d}" == day
        found.append(at)
    return found


def test_a_full_disk_under_the_journal(sidecar: Sidecar) -> None:
    with mounted(sidecar.journal) as disk, running(sidecar):
        sidecar.wait_for_rounds(2)
        filler = fill(disk)
        poll(lambda: sidecar.get("/healthz").status == 503, 30, "the trouble to show")
        assert sidecar.get("/healthz").json["journal"] == "failing"
        during = set(times(sidecar))
        filler.unlink()
        poll(lambda: sidecar.get("/healthz").status == 200, 30, "the sidecar to be well again")
        poll(lambda: len(set(times(sidecar)) - during) >= 2, 30, "rounds again")
        found = times(sidecar)
        assert found == sorted(set(found)), "every line is whole, every round there once"
        said = [str(line["message"]) for line in sidecar.log if line["level"] == "ERROR"]
        assert any("could not be written" in text and "0 KiB are free there" in text for text in said)
        gaps = [after - before for before, after in pairwise(found) if after - before > SECOND]
        assert gaps, "what had no room is missing, and shows as missing"


def collect(sidecar: Sidecar, store: SqlStore, now: datetime) -> set[datetime]:
    """What a tick does, for the days that a step of the clock can reach; the rounds that it must find."""
    there = set(times(sidecar))
    with TailscaleHealthService(sidecar.url) as service:
        collector = Collector(service, store, ("git",), "lab")
        for day in sorted({(now + off).date() for off in (-HOUR, timedelta(0), HOUR)}):
            collector.collect_new(day)
    return there


def stored(store: SqlStore, now: datetime) -> set[datetime]:
    """The rounds in the store, each there once."""
    rows = store.read(CONNECTIONS, Window(now - 2 * HOUR, now + 3 * HOUR))
    found = Counter(row["time"] for row in rows)
    assert set(found.values()) <= {1}
    return {at for at in found if isinstance(at, datetime)}


def step(sidecar: Sidecar, clock: Clock, by: timedelta) -> None:
    """Step the clock, and wait for rounds that were taken by it."""
    before = set(times(sidecar))
    clock.step(by)

    def taken() -> bool:
        return sum(abs(at - clock.now) < HOUR / 2 for at in set(times(sidecar)) - before) >= 3

    poll(taken, 40, "rounds by the new clock")


@pytest.mark.parametrize("steps", [(HOUR, -HOUR), (-HOUR, HOUR)], ids=["forward, back", "back, forward"])
@pytest.mark.parametrize(
    "time_of_day", [HOUR / 2, 12 * HOUR, 23.5 * HOUR], ids=["after midnight", "noon", "before midnight"]
)
def test_the_clock_is_stepped_by_an_hour(
    sidecar: Sidecar, clock: Clock, tmp_path: Path, steps: tuple[timedelta, timedelta], time_of_day: timedelta
) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/tsobs.db")
    set_to(clock, time_of_day)
    begun = clock.now
    sidecar.settings |= clock.environment
    with running(sidecar):
        sidecar.wait_for_rounds(2)
        collect(sidecar, store, begun)
        for by in steps:
            step(sidecar, clock, by)
            # A round that comes while the journal is read can hide an older one until the next look.
            poll(
                lambda: collect(sidecar, store, begun) <= stored(store, begun), 30, "every round in the store"
            )
    found = times(sidecar)
    assert max(Counter(found).values()) == 1, "no round overlaps another"
    assert sum(after < before for before, after in pairwise(found)) <= 1, "in order but where it was set back"
    low, high = begun + 5 * MINUTE, begun + HOUR - 5 * MINUTE
    assert not [at for at in found if low < at < high], "an hour that was skipped has no rounds"
    said = [str(line["message"]) for line in sidecar.log]
    assert all(sum(f"the clock was set {way}" in text for text in said) == 1 for way in ("back", "forward"))
