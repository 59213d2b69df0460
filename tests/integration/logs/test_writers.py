"""Eight processes write to the same files over midnight, two are killed: no line lost, mixed or duplicated.

The number of records for each is 5,000 here; ``TSOBS_TEST_LOG_RECORDS`` makes it more (the issue's 100,000).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from tests.support.log_writer import MIDNIGHT
from tsobs_pipelines.logs.maintenance import maintain

WRITERS = 8
KILLED = 2
RECORDS = int(os.environ.get("TSOBS_TEST_LOG_RECORDS", "5000"))
ROOT = Path(__file__).parents[3]


class Writer:
    """One process, and the last number it acknowledged."""

    def __init__(self, directory: Path, name: str, count: int) -> None:
        self.name = name
        self.acknowledged = -1
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.support.log_writer",
                str(directory),
                name,
                str(count),
                str(RECORDS // 2),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def kill_after(self, number: int) -> None:
        """Kill it in the middle of its work, once it has come to ``number``."""
        while self.acknowledged < number:
            assert self._process.poll() is None
            self._reader.join(0.001)
        self._process.send_signal(signal.SIGKILL)

    def end(self) -> int:
        """Wait for its end."""
        self._reader.join(600)
        return self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.acknowledged = int(line)


def test_eight_writers_over_midnight_two_killed(tmp_path: Path) -> None:
    # Those that are killed have so much to write that they can't be done before.
    counts = [RECORDS * 20] * KILLED + [RECORDS] * (WRITERS - KILLED)
    writers = [Writer(tmp_path, f"w{number}", count) for number, count in enumerate(counts)]
    for writer in writers[:KILLED]:
        writer.kill_after(RECORDS // 2)
    assert [writer.end() for writer in writers] == [-signal.SIGKILL] * KILLED + [0] * (WRITERS - KILLED)
    found, torn = read_back(tmp_path)
    assert torn <= KILLED
    for writer in writers[:KILLED]:
        assert writer.acknowledged >= RECORDS // 2
        assert set(range(writer.acknowledged + 1)) <= found[writer.name]
    for writer in writers[KILLED:]:
        assert found[writer.name] == set(range(RECORDS))
    # Packed days hold the same, and the days are those of the records' own times.
    later = datetime.fromtimestamp(MIDNIGHT, UTC).replace(day=28)
    assert len(maintain(tmp_path, later, 30).packed) == 2
    assert not list(tmp_path.glob("*.jsonl"))
    subprocess.run(["gzip", "-d", *map(str, tmp_path.glob("*.gz"))], check=True)
    assert read_back(tmp_path)[0] == found


def read_back(directory: Path) -> tuple[dict[str, set[int]], int]:
    """The numbers of each writer, each found once and whole; and how many lines were torn."""
    found: dict[str, set[int]] = defaultdict(set)
    torn = 0
    for path in sorted(directory.glob("tsobs-*.jsonl")):
        for line in path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                torn += bool(line)
                continue
            name, number, text = str(entry["message"]).split(" ")
            assert text == "x" * (int(number) % 200)
            assert int(number) not in found[name], "written twice"
            assert path.name[6:16] == str(entry["timestamp"])[:10]
            found[name].add(int(number))
    return found, torn
