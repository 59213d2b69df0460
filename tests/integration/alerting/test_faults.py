"""Faults between an incident and its message, as a table: what was sent, and what the outbox says.

Each scenario has a process of its own that evaluates and sends, and dies by SIGKILL where it is told to;
afterwards another process comes, as Dagster's next run or tick does, until the outbox settles.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support import bot_api as api
from tests.support.alert_rows import DAY
from tests.support.alert_sender import look_and_send
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.database import engine_for

TABLE: list[tuple[str, int, int, str]] = []


class Run:
    """A database and a far side; processes are started on them."""

    def __init__(self, folder: Path, server: api.BotApi) -> None:
        self.url = f"sqlite:///{folder / 'tsobs.db'}"
        self.server = server
        self.api_url = server.url

    def process(self, die: str = "never", later: float = 0) -> int:
        """Evaluate and send; the exit code."""
        if die == "never":
            look_and_send(self.url, self.api_url, later)
            return 0
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                look_and_send.__module__,
                self.url,
                self.api_url,
                die,
                str(later),
            ],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert api.TOKEN not in done.stdout + done.stderr
        assert done.returncode == -signal.SIGKILL, done.stderr
        return done.returncode

    def fates(self) -> list[str]:
        return [message.fate for message in reversed(outbox.newest(engine_for(self.url)))]

    def note(self, name: str) -> None:
        reasons = [f"{m.fate} {m.reason}".strip() for m in outbox.newest(engine_for(self.url))]
        TABLE.append((name, len(self.server.requests), len(self.server.accepted), "; ".join(reasons)))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with api.bot_api() as server:
        yield Run(tmp_path, server)


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    wide = max((len(row[0]) for row in TABLE), default=0)
    lines = [f"\n{'fault':{wide}}  requests  messages there  the outbox says"]
    lines += [f"{name:{wide}}  {sent:8}  {there:14}  {says}" for name, sent, there, says in TABLE]
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        sys.stdout.write("\n".join(lines) + "\n")


STEPS = [
    "before commit",
    "before _save_progress",
    "after _save_progress",
    "after _save_states",
    "before _enqueue",
    "after _enqueue",
    "after commit",
    "before claim",
]


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_the_attempt_it_is_sent_once_by_the_next(run: Run, step: str) -> None:
    assert run.process(step) == -signal.SIGKILL
    for later in (0, 120):
        run.process(later=later)
    run.note(f"kill -9 {step}")
    assert len(run.server.accepted) == 1
    assert run.fates() == ["sent"]


@pytest.mark.parametrize(
    ("step", "arrived"), [("after claim", 0), ("before send", 0), ("after send", 1), ("before settle", 1)]
)
def test_killed_during_the_attempt_it_is_unknown_and_never_sent_again(
    run: Run, step: str, arrived: int
) -> None:
    assert run.process(step) == -signal.SIGKILL
    for later in (30, 90, 3600, 5 * 3600):
        run.process(later=later)
    run.note(f"kill -9 {step}")
    assert len(run.server.accepted) == arrived
    assert run.fates() == ["delivery_unknown"]


def test_killed_after_it_was_settled_it_is_sent_once(run: Run) -> None:
    assert run.process("after settle") == -signal.SIGKILL
    run.process(later=90)
    run.note("kill -9 after settle")
    assert len(run.server.accepted) == 1
    assert run.fates() == ["sent"]


def refused(run: Run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        run.api_url = f"http://127.0.0.1:{free.getsockname()[1]}"
    run.process()
    run.api_url = run.server.url


LONG_HOLD = api.status(429, "Too Many", retry_after=10_000)
FAULTS: list[tuple[str, Callable[[api.Handler], None] | None, list[float], int, str]] = [
    ("connection refused", None, [120], 1, "sent"),
    ("time-out before it was accepted", api.silent_before_accepting, [120, 7200], 0, "delivery_unknown"),
    ("time-out after it was accepted", api.silent_after_accepting, [120, 7200], 1, "delivery_unknown"),
    ("429 retry_after 1", api.status(429, "Too Many", retry_after=1), [2], 1, "sent"),
    (
        "429 retry_after 10,000, too early",
        api.status(429, "Too Many", retry_after=10_000),
        [9_900],
        0,
        "pending",
    ),
    (
        "429 retry_after 10,000, later",
        api.status(429, "Too Many", retry_after=10_000),
        [9_900, 10_001],
        1,
        "sent",
    ),
    ("500", api.status(500, "Internal Server Error"), [120], 1, "sent"),
    ("502 with an HTML page", api.html(502), [120], 1, "sent"),
    ("200 with an HTML page", api.html(200), [120], 1, "sent"),
    ("403 of a proxy", api.html(403), [120], 1, "sent"),
    ("400 on entities", api.status(400, "Bad Request: can't parse entities"), [120], 1, "sent"),
    ("400", api.status(400, "Bad Request: message text is empty"), [120], 0, "failed"),
    ("401", api.status(401, "Unauthorized"), [120], 0, "failed"),
    ("an answer cut in half", api.cut_in_half, [120, 7200], 1, "delivery_unknown"),
    ("the connection closed", api.hang_up, [120, 7200], 0, "delivery_unknown"),
    ("the chat moved", api.status(400, "upgraded", migrate_to_chat_id=-7), [], 1, "sent"),
]


@pytest.mark.parametrize(
    ("name", "fault", "later", "arrived", "fate"), FAULTS, ids=[row[0] for row in FAULTS]
)
def test_faults_of_the_far_side(
    run: Run,
    name: str,
    fault: Callable[[api.Handler], None] | None,
    later: list[float],
    arrived: int,
    fate: str,
) -> None:
    if fault is None:
        refused(run)
    else:
        run.server.order(fault)
        run.process()
    for seconds in later:
        run.process(later=seconds)
    run.note(name)
    assert len(run.server.accepted) == arrived
    assert run.fates() == [fate]


def test_a_killed_process_between_any_two_tells_the_same_text(run: Run) -> None:
    run.process("after commit")
    run.process(later=60)
    (text,) = run.server.texts
    assert "git is reached through DERP relay fra" in plain(text)
    assert outbox.newest(engine_for(run.url))[0].created_at <= DAY + timedelta(minutes=610)
