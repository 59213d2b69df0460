"""The supervisor over parts of a test's own: one that is slow to be ready is given more time each time."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from tsobs_pipelines.engine import supervisor
from tsobs_pipelines.engine.parts import Part

SLOW = "import pathlib, sys, time; time.sleep(1.2); pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"


def test_a_part_that_is_slow_is_given_more_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "READY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE_S", 0.01)
    said: list[str] = []
    mark = tmp_path / "ready"
    part = Part("slow", [sys.executable, "-c", SLOW, str(mark)], ready=mark.exists)
    mine = supervisor.Supervisor([part], {}, lambda _name, _line: None, said.append)
    begun = time.monotonic()
    asyncio.run(asyncio.wait_for(mine.run(mine.stop), 60))
    patience = [line for line in said if "is not ready" in line]
    assert patience[:2] == [
        "slow is not ready after 0.3 s; ending it",
        "slow is not ready after 0.6 s; ending it",
    ]
    assert len(patience) == len(set(patience)), "each time it had longer"
    assert time.monotonic() - begun > 0.9
