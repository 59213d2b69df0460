"""A journal whose clock runs faster than the machine's: minutes of a real tailnet in seconds of a test.

Five-minute means, two calm spans and a tick every five minutes are
what the alerts are about, and none of them has a switch for tests: only the clock of the data is bent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

SPEED = 6
ROUND_S = 10
"""A round each ten seconds of the machine's clock is a round a minute in the journal."""

LEAD = timedelta(minutes=25)
"""How far the journal's clock is behind at the start; it catches up after ``LEAD / (SPEED - 1)``."""

SPAN = timedelta(minutes=5)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AT = '"at":"'


def quiet_interval() -> int:
    """A ``SAMPLE_INTERVAL`` whose next round is more than half an hour away: a sidecar that only serves."""
    now = time.time()
    return next(interval for interval in range(3600, 1800, -1) if interval - now % interval > 1800)


@dataclass
class Timelapse:
    """Rounds from ``source`` appear in ``target`` with times that begin with a 5-minute span."""

    source: Path
    target: Path
    real_start: float = field(init=False)
    data_start: datetime = field(init=False)

    def __post_init__(self) -> None:
        """The first round that counts is the next one."""
        self.real_start = (time.time() // ROUND_S + 1) * ROUND_S
        begin = datetime.fromtimestamp(self.real_start, UTC) - LEAD
        self.data_start = _EPOCH + (begin - _EPOCH) // SPAN * SPAN

    def days(self) -> list[str]:
        """The days that have rounds."""
        return sorted(path.stem for path in self.target.glob("????-??-??.ndjson"))

    def wait(self, minute: float) -> None:
        """Until so many minutes of the journal's clock have gone by."""
        time.sleep(max(0.0, self.real_start + minute * 60 / SPEED - time.time()))

    def copy(self, seen: dict[Path, int]) -> None:
        """Copy the whole lines that are new."""
        for path in sorted(self.source.glob("????-??-??.ndjson")):
            text = path.read_bytes()[seen.get(path, 0) :]
            whole = text[: text.rfind(b"\n") + 1]
            seen[path] = seen.get(path, 0) + len(whole)
            for line in whole.decode().splitlines():
                self._write(line)

    def _write(self, line: str) -> None:
        before, _, rest = line.partition(_AT)
        stamp, _, after = rest.partition('"')
        elapsed = datetime.fromisoformat(stamp).timestamp() - self.real_start
        if elapsed < 0:
            return
        at = self.data_start + timedelta(seconds=SPEED * elapsed)
        after = after.replace(f'"interval":{ROUND_S},', f'"interval":{round(ROUND_S * SPEED)},', 1)
        with (self.target / f"{at:%Y-%m-%d}.ndjson").open("a", encoding="utf-8") as file:
            file.write(f'{before}{_AT}{at:%Y-%m-%dT%H:%M:%SZ}"{after}\n')


@contextmanager
def timelapse(source: Path, target: Path) -> Iterator[Timelapse]:
    """Rounds are copied while the block runs."""
    lapse, over, seen = Timelapse(source, target), threading.Event(), dict[Path, int]()

    def work(done: Callable[[float], bool] = over.wait) -> None:
        while not done(0.2):
            lapse.copy(seen)

    thread = threading.Thread(target=work, name="time-lapse")
    thread.start()
    try:
        yield lapse
    finally:
        over.set()
        thread.join()
