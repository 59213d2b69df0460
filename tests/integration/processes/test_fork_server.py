"""The fork server: its state when it forks, and the state of its forks."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forks import Family, forked, is_running
from tests.support.running import children, eventually, name_of

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    with forked(tmp_path, "report", str(tmp_path)) as made:
        eventually((tmp_path / "second").exists, 30, "the second fork")
        yield made


def second(place: Path) -> int:
    """The fork that the first one has asked for."""
    return int((place / "second").read_text())


def test_it_forks_from_one_thread_without_an_open_database_or_channel(family: Family) -> None:
    assert len(list(Path(f"/proc/{family.server}/task").iterdir())) == 1
    opened = {str(path.readlink()) for path in Path(f"/proc/{family.server}/fd").iterdir()}
    assert not [name for name in opened if ".db" in name or "warm" in name]
    # The one at which it is asked for forks; a gRPC channel or a connection to a server would be another.
    assert len([name for name in opened if name.startswith("socket:")]) == 1


def test_a_fork_can_be_interrupted_and_uses_the_same_server(family: Family, tmp_path: Path) -> None:
    said = json.loads((tmp_path / "first").read_text())
    assert said == {"sigint": True, "sigterm": True, "blocked": []}
    assert {family.first, second(tmp_path)} <= set(children(family.server))
    assert name_of(family.server) == "fork server"
    assert name_of(second(tmp_path)) == "run"
    os.kill(second(tmp_path), signal.SIGINT)
    eventually(lambda: not is_running(second(tmp_path)), 10, "it is interrupted")


@pytest.mark.parametrize("victim", ["fork server", "parent"])
def test_nothing_outlives_who_started_it(family: Family, tmp_path: Path, victim: str) -> None:
    all_of_them = (family.server, family.first, second(tmp_path))
    assert all(is_running(pid) for pid in all_of_them)
    os.kill(family.server if victim == "fork server" else family.parent.pid, signal.SIGKILL)
    eventually(lambda: not any(is_running(pid) for pid in all_of_them), 5, "all have ended")
