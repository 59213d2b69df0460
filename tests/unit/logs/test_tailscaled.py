"""The daemon's log: parsing, and following without loss or duplicates."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tsobs_pipelines.logs import tailscaled
from tsobs_pipelines.logs.tailscaled import Follower, follow_tailscaled, parse


@pytest.fixture
def utc() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("line", "level", "component", "message"),
    [
        ("logtail started", "INFO", "", "logtail started"),
        (
            "Program starting: v1.102.5, Go 1.26: []string{}",
            "INFO",
            "",
            "Program starting: v1.102.5, Go 1.26: []string{}",
        ),
        ("[v1] netcheck: report: udp=true", "DEBUG", "netcheck", "report: udp=true"),
        ("[v2] wgengine: set", "DEBUG", "wgengine", "set"),
        ("magicsock: derp-9 connected; connGen=1", "INFO", "magicsock", "derp-9 connected; connGen=1"),
        (
            "health(warnable=no-derp): error: not connected",
            "ERROR",
            "health(warnable=no-derp)",
            "error: not connected",
        ),
        ("health(warnable=no-derp): ok", "INFO", "health(warnable=no-derp)", "ok"),
        ("control: map response timed out", "WARNING", "control", "map response timed out"),
        ("magicsock: [unexpected] lost", "ERROR", "magicsock", "[unexpected] lost"),
        ("wg: done, err=<nil> after error", "INFO", "wg", "done, err=<nil> after error"),
        ("panic: runtime error", "CRITICAL", "panic", "runtime error"),
        ("control: key has expired", "WARNING", "control", "key has expired"),
        ("health: your node key has expired", "WARNING", "health", "your node key has expired"),
        (
            "Switching ipn state Running -> NeedsLogin (WantRunning=true)",
            "WARNING",
            "",
            "Switching ipn state Running -> NeedsLogin (WantRunning=true)",
        ),
        ("Switching ipn state NoState -> Running", "INFO", "", "Switching ipn state NoState -> Running"),
    ],
)
def test_a_line_is_read(utc: None, line: str, level: str, component: str, message: str) -> None:
    found = parse(f"2026/11/24 17:38:12 {line}")
    assert (found.level, found.component, found.message) == (level, component, message)
    assert found.at == datetime(2026, 11, 24, 17, 38, 12, tzinfo=UTC).timestamp()


def test_text_without_a_time_is_kept() -> None:
    assert parse("goroutine 1 [running]:").at is None
    assert parse("2026/99/99 17:38:12 x").at is None
    assert parse("2026/11/24 17:38:12.123456 x").at is not None


@pytest.fixture
def madrid() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Madrid")
        time.tzset()
        yield
    time.tzset()


FIRST = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
"""02:30 in Madrid, summer time; an hour later it is 02:30 once more."""


@pytest.mark.parametrize("hour", [0, 1])
def test_the_hour_that_comes_twice_is_the_one_that_it_is(madrid: None, hour: int) -> None:
    now = FIRST + timedelta(hours=hour)
    for late in (timedelta(), timedelta(seconds=2), timedelta(minutes=10)):
        assert parse("2026/10/25 02:30:00 x", now + late).at == now.timestamp()
        assert parse("Oct 25 02:30:00 host tailscaled[7]: x", now + late).at == now.timestamp()


@pytest.mark.parametrize("now", [None, FIRST + timedelta(minutes=30), FIRST + timedelta(days=3)])
def test_an_hour_that_can_not_be_told_has_no_time(madrid: None, now: datetime | None) -> None:
    assert parse("2026/10/25 02:30:00 x", now).at is None


def test_another_hour_needs_no_help(madrid: None) -> None:
    assert parse("2026/10/25 03:30:00 x").at == datetime(2026, 10, 25, 2, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "head",
    [
        "Nov 24 17:38:12 observer tailscaled[812]: ",
        "<30>Nov 24 17:38:12 observer tailscaled[812]: ",
        "2026-11-24T17:38:12.000000+01:00 observer tailscaled[812]: ",
        "2026-11-24T17:38:12+0100 observer tailscaled: ",
        "Nov 24 17:38:12 tailscaled[812]: ",
        "Nov 24 17:38:12 tailscaled: ",
        "2026-11-24T17:38:12+0100 tailscaled[812]: ",
        "Nov 24 17:38:12.000000 observer tailscaled[812]: ",
        "Tue 2026-11-24 17:38:12 CET observer tailscaled[812]: ",
        "Tue 2026-11-24 16:38:12 UTC observer tailscaled[812]: ",
        "<30>1 2026-11-24T16:38:12Z observer tailscaled 812 - - ",
        '<30>1 2026-11-24T16:38:12.000000Z observer tailscaled 812 - [a@1 b="c\\]"][d@2 e="f"] \ufeff',
        "<30>1 - observer tailscaled 812 ID47 - 2026/11/24 17:38:12 ",
        "2026/11/24 17:38:12.000000000 ",
        "2026-11-24T16:38:12Z observer tailscaled[812]: 2026/11/24 17:38:12 ",
    ],
)
def test_syslogs_form_keeps_its_time(madrid: None, head: str) -> None:
    at = datetime(2026, 11, 24, 16, 38, 12, tzinfo=UTC)
    found = parse(f"{head}[v1] magicsock: hello: world", at + timedelta(seconds=1))
    assert (found.at, found.level) == (at.timestamp(), "DEBUG")
    assert (found.component, found.message) == ("magicsock", "hello: world")


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("Nov 24 17:38:12.123456 observer tailscaled[812]: x", 0.123456),
        ("Nov 24 17:38:12.5 observer tailscaled[812]: x", 0.5),
        ("2026/11/24 17:38:12.123456789 x", 0.123456),
        ("2026/11/24 17:38:12.123 x", 0.123),
        ("2026-11-24T16:38:12.123456789Z observer tailscaled[812]: x", 0.123456),
        ("<30>1 2026-11-24T16:38:12,25Z observer tailscaled 812 - - x", 0.25),
    ],
)
def test_a_fraction_of_any_length_is_read(madrid: None, line: str, fraction: float) -> None:
    at = datetime(2026, 11, 24, 16, 38, 12, tzinfo=UTC)
    found = parse(line, at)
    assert found.message == "x"
    assert found.at == pytest.approx(at.timestamp() + fraction, abs=2e-6)


def test_a_time_of_another_zone_is_left_out_and_the_named_hour_is_taken(madrid: None) -> None:
    assert parse("Tue 2026-11-24 17:38:12 PST observer tailscaled[812]: x").at is None
    for hour, zone in enumerate(("CEST", "CET")):
        found = parse(f"Sun 2026-10-25 02:30:00 {zone} observer tailscaled[812]: x")
        assert found.at == (FIRST + timedelta(hours=hour)).timestamp()


def test_a_syslog_line_of_december_is_read_in_january(madrid: None) -> None:
    now = datetime(2027, 1, 1, 0, 0, 5, tzinfo=UTC)
    found = parse("Dec 31 23:59:59 observer tailscaled[812]: x", now)
    assert found.at == datetime(2026, 12, 31, 22, 59, 59, tzinfo=UTC).timestamp()
    leap = parse("Feb 29 12:00:00 observer tailscaled[812]: x", datetime(2028, 3, 1, tzinfo=UTC))
    assert leap.at == datetime(2028, 2, 29, 11, tzinfo=UTC).timestamp()
    assert parse("Feb 31 12:00:00 observer tailscaled[812]: x", now).at is None


class Log:
    """A file that grows, and what a follower took of it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "tailscaled.log"
        self.taken: list[str] = []
        self._position = directory / "position.json"
        self._written = 0
        self.restart()

    def restart(self) -> None:
        self._follower = Follower(self.path, self._position, self.taken.append)

    def write(self, count: int = 1) -> None:
        with self.path.open("a") as file:
            for _ in range(count):
                self._written += 1
                file.write(f"2026/11/24 17:38:12 line {self._written}\n")

    def poll(self) -> None:
        self._follower.poll()

    def assert_all_once(self) -> None:
        assert self.taken == [f"2026/11/24 17:38:12 line {number + 1}" for number in range(self._written)]


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_every_line_once_across_restarts(log: Log) -> None:
    log.poll()
    for _ in range(5):
        log.write(3)
        log.poll()
        log.poll()
        log.restart()
    log.assert_all_once()


def test_rotation_by_renaming_loses_nothing(log: Log) -> None:
    log.write(3)
    log.poll()
    log.write(2)
    log.path.rename(log.path.with_name("tailscaled.log.1"))
    log.write(2)
    log.poll()
    log.assert_all_once()


def test_truncation_starts_again(log: Log) -> None:
    log.write(3)
    log.poll()
    shutil.copy(log.path, log.path.with_name("copy"))
    log.path.write_text("")
    log.write(1)
    log.poll()
    # Grown beyond the old length between two looks.
    log.path.write_text("")
    log.write(50)
    log.poll()
    log.assert_all_once()


def test_half_a_line_waits_for_its_end(log: Log) -> None:
    log.write()
    log.poll()
    with log.path.open("a") as file:
        file.write("2026/11/24 17:38:12 ha")
        file.flush()
        log.poll()
        assert len(log.taken) == 1
        file.write("lf\n")
    log.poll()
    assert log.taken[1] == "2026/11/24 17:38:12 half"


def test_a_stack_of_go_is_one_record(log: Log) -> None:
    stack = "2026/11/24 17:38:12 panic: no\n\ngoroutine 1 [running]:\n\tmain.go:3"
    log.path.write_text(f"{stack}\n2026/11/24 17:38:13 next\n")
    log.poll()
    assert log.taken == [stack, "2026/11/24 17:38:13 next"]


def test_a_long_file_is_entered_near_its_end(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tailscaled, "FIRST_BYTES", 300)
    log.write(100)
    log.poll()
    assert log.taken[-1].endswith("line 100")
    assert 5 < len(log.taken) < 12
    assert all(line.startswith("2026/11/24") for line in log.taken)


@pytest.mark.parametrize(
    "position",
    [
        "{",
        "[]",
        '{"inode":1e400,"head":"","head_bytes":0,"offset":0}',
        '{"inode":NaN,"head":"","head_bytes":0,"offset":0}',
        '{"inode":INODE,"head":"","head_bytes":0,"offset":-5}',
        '{"inode":INODE,"head":"","head_bytes":-1,"offset":0}',
        '{"inode":INODE,"head":"","head_bytes":99999999999999999999,"offset":0}',
        '{"inode":INODE,"head":"","head_bytes":0,"offset":99999999999999999999}',
        '{"inode":INODE,"head":null,"head_bytes":0,"offset":null}',
        "[" * 100_000,
    ],
)
def test_a_position_that_cannot_be_read_is_no_obstacle(log: Log, tmp_path: Path, position: str) -> None:
    log.path.touch()
    (tmp_path / "position.json").write_text(position.replace("INODE", str(log.path.stat().st_ino)))
    log.restart()
    log.write()
    log.poll()
    log.assert_all_once()


def test_lines_reach_the_day_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source, stop = tmp_path / "tailscaled.log", threading.Event()
    thread = threading.Thread(target=follow_tailscaled, args=(source, tmp_path / "logs", stop))
    source.write_text("2026/11/24 17:38:12 [v1] magicsock: visit https://login.tailscale.com/a/123456abcd\n")
    thread.start()
    deadline = time.monotonic() + 10
    while not (found := list((tmp_path / "logs").glob("*.jsonl"))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stop.set()
    thread.join(10)
    entry = json.loads(found[0].read_text())
    assert (entry["logger"], entry["level"], entry["component"]) == ("tailscaled", "DEBUG", "magicsock")
    assert (entry["verbosity"], "123456abcd" in str(entry)) == ("v1", False)


def test_a_line_that_can_not_be_filed_costs_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken: list[str] = []

    def take(line: str) -> None:
        if "line 2" in line:
            raise RuntimeError("no")
        taken.append(line)

    source = tmp_path / "tailscaled.log"
    source.write_text("".join(f"2026/11/24 17:38:12 line {number}\n" for number in range(4)))
    follower = Follower(source, tmp_path / "position.json", take)
    assert follower.poll() == 4
    assert follower.poll() == 0
    assert [line[-1] for line in taken] == ["0", "1", "3"]
    assert "(RuntimeError): 2026/11/24 17:38:12 line 2" in caplog.text


def test_the_thread_goes_on_whatever_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    polled = threading.Event()
    fates = iter([OSError("gone"), ValueError("odd"), ValueError("odd"), OverflowError("large")])

    def poll(_: Follower) -> int:
        error = next(fates, None)
        if error is not None:
            raise error
        polled.set()
        return 0

    monkeypatch.setattr(Follower, "poll", poll)
    monkeypatch.setattr(tailscaled, "POLL_S", 0.001)
    stop = threading.Event()
    arguments = (tmp_path / "tailscaled.log", tmp_path / "logs", stop)
    thread = threading.Thread(target=follow_tailscaled, args=arguments)
    thread.start()
    assert polled.wait(10)
    stop.set()
    thread.join(10)
    told = [record.getMessage().partition("log: ")[2] for record in caplog.records]
    assert told == ["OSError: gone", "ValueError: odd", "OverflowError: large"]


@pytest.mark.parametrize("size", [300, 9_000_000])
def test_a_hole_left_by_truncation_is_skipped(log: Log, size: int) -> None:
    log.write(3)
    log.poll()
    with log.path.open("r+b") as file:
        file.truncate(0)
        file.seek(size)
        file.write(b"2026/11/24 17:38:12 line 4\n")
    log._written += 1
    for _ in range(4):
        log.poll()
    log.write(2)
    log.poll()
    log.assert_all_once()


def test_one_endless_line_is_cut(log: Log) -> None:
    with log.path.open("ab") as file:
        file.write(b"2026/11/24 17:38:12 " + b"x" * 1_000_000 + b"\n")
    log.poll()
    (line,) = log.taken
    assert len(line) < tailscaled.LONGEST_RECORD + 100
    assert line.endswith("more bytes]")
