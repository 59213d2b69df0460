"""Output of processes becomes records: structlog's lines, text, tracebacks, and no duplicates."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tsobs_pipelines.logs.files import log_directory
from tsobs_pipelines.logs.intake import LineIntake
from tsobs_pipelines.logs.redact import Redactor

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
Taken = Callable[..., list[dict[str, object]]]


@pytest.fixture
def taken(tmp_path: Path) -> Taken:
    def take(*lines: str, part: str = "daemon") -> list[dict[str, object]]:
        directory = log_directory(tmp_path)
        intake = LineIntake(directory, Redactor(["hunter22"]), AT.timestamp)
        for line in lines:
            intake.take(part, line.encode("utf-8", "surrogateescape"))
        intake.flush()
        found = [one for path in sorted(directory.glob("*.jsonl")) for one in path.read_text().splitlines()]
        return [json.loads(one) for one in found]

    return take


def test_a_line_of_structlog_keeps_what_it_says(taken: Taken) -> None:
    said = {"event": "tick failed", "logger": "dagster.daemon.Sensor", "level": "warning", "sensor": "s"}
    (found,) = taken(json.dumps({**said, "timestamp": "2026-11-24T11:59:58Z"}))
    assert (found["timestamp"], found["level"]) == ("2026-11-24T11:59:58.000000Z", "WARNING")
    assert (found["logger"], found["message"], found["sensor"]) == (
        "dagster.daemon.Sensor",
        "tick failed",
        "s",
    )
    assert list(found)[:7] == ["timestamp", "level", "logger", "message", "module", "function", "line"]


def test_a_late_line_is_filed_under_now_and_keeps_its_time(taken: Taken) -> None:
    (found,) = taken('{"event": "e", "level": "info", "timestamp": "2026-11-23T11:00:00Z"}')
    assert found["timestamp"] == "2026-11-24T12:00:00.000000Z"
    assert datetime.fromisoformat(str(found["event_time"])) == datetime(2026, 11, 23, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("line", "time"),
    [
        ('{"level":"info","time":"0001-01-01T00:00:00Z","msg":"hi"}', "0001-01-01T00:00:00+00:00"),
        ('{"level":"info","time":"0999-12-31T00:00:00Z","msg":"hi"}', "0999-12-31T00:00:00+00:00"),
        ('{"level":"info","ts":-62135596800.0,"msg":"hi"}', "0001-01-01T00:00:00+00:00"),
        ('{"level":"info","time":"9999-12-31T23:59:59Z","msg":"hi"}', "9999-12-31T23:59:59+00:00"),
    ],
)
def test_a_time_at_the_end_of_the_calendar_is_kept(taken: Taken, line: str, time: str) -> None:
    (found,) = taken(line)
    assert (found["level"], found["message"], found["event_time"]) == ("INFO", "hi", time)
    assert found["timestamp"] == "2026-11-24T12:00:00.000000Z"


def test_another_line_is_a_record_of_its_part(taken: Taken) -> None:
    (found,) = taken("listening \x1b[32mnow\x1b[0m", part="webserver")
    assert (found["logger"], found["level"], found["message"]) == ("webserver", "INFO", "listening now")


@pytest.mark.parametrize(
    ("line", "level", "logger", "message"),
    [
        (
            "2026-11-24 12:00:00 +0000 - dagster.daemon - ERROR - it broke",
            "ERROR",
            "dagster.daemon",
            "it broke",
        ),
        ("[2026-11-24 12:00:00,123: WARNING/MainProcess] no broker", "WARNING", "daemon", "no broker"),
        ("INFO:     Application startup complete.", "INFO", "daemon", "Application startup complete."),
        ("[1, 2]", "INFO", "daemon", "[1, 2]"),
        ('{"a": 1}', "INFO", "daemon", '{"a": 1}'),
    ],
)
def test_known_forms_of_text_give_their_level(
    taken: Taken, line: str, level: str, logger: str, message: str
) -> None:
    (found,) = taken(line)
    assert (found["level"], found["logger"], found["message"]) == (level, logger, message)


CHAIN = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    f()
ValueError: inner

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 3, in <module>
    g()
RuntimeError: outer"""


def test_a_traceback_is_one_record(taken: Taken) -> None:
    first, second = taken("before", *CHAIN.splitlines(), "after")
    # The line above a traceback is what was logged with it.
    assert (first["message"], first["level"], first["exception"]) == ("before", "ERROR", CHAIN)
    assert (second["message"], second.get("exception")) == ("after", None)


def test_a_traceback_alone_is_named_by_its_last_line(taken: Taken) -> None:
    (found,) = taken(*CHAIN.splitlines())
    assert (found["message"], found["exception"], found["level"]) == ("RuntimeError: outer", CHAIN, "ERROR")


def test_parts_do_not_mix(tmp_path: Path) -> None:
    intake = LineIntake(tmp_path, Redactor(), AT.timestamp)
    for left, right in zip(CHAIN.splitlines(), CHAIN.replace("outer", "other").splitlines(), strict=True):
        intake.take("left", left.encode())
        intake.take("right", right.encode())
    intake.flush()
    found = [json.loads(line) for line in next(tmp_path.glob("*.jsonl")).read_text().splitlines()]
    assert sorted(str(one["message"]) for one in found) == ["RuntimeError: other", "RuntimeError: outer"]


def test_copies_of_what_was_filed_are_left_out(taken: Taken) -> None:
    own = '{"timestamp":"x","level":"INFO","logger":"l","message":"m","module":"","function":"","line":1}'
    job = "job - 3f0c1a52-6f5e-4f7e-9b1d-0a1b2c3d4e5f"
    run = f"2026-11-24 12:00:00 +0000 - dagster - ERROR - {job} - step failed"
    found = taken(own, run, *CHAIN.splitlines(), "kept")
    assert [one["message"] for one in found] == ["kept"]


def test_secrets_and_broken_bytes(taken: Taken) -> None:
    (found,) = taken("password=hunter22 \udcff\x00")
    assert "hunter22" not in str(found)
    assert "\\xff" in str(found["message"])


def test_a_last_line_is_filed_without_waiting_for_another(tmp_path: Path) -> None:
    LineIntake(tmp_path, Redactor()).take("api", b"Segmentation fault")
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob("*.jsonl")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "Segmentation fault" in next(tmp_path.glob("*.jsonl")).read_text()


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "1e300", "-1"])
def test_a_time_at_the_end_of_the_calendar_costs_nothing(taken: Taken, time: str) -> None:
    stamp = f'"{time}"' if "T" in time else time
    found = taken(f'{{"event": "e", "level": "info", "timestamp": {stamp}}}', "next")
    assert len(found) == 2
    assert "e" in str(found[0]["message"])
    assert found[1]["message"] == "next"


def test_whatever_the_reading_raises_the_line_is_filed(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LineIntake, "_json", lambda *_: 1 / 0)
    (found, after) = taken('{"event": "e"}', "next")
    assert (found["level"], '{"event": "e"}' in str(found["message"])) == ("ERROR", True)
    assert "ZeroDivisionError" in str(found["message"])
    assert after["message"] == "next"


def test_a_long_message_is_cut(taken: Taken) -> None:
    (found,) = taken(
        json.dumps({"event": "x" * (3 << 20), "level": "info", "timestamp": "2026-11-24T12:00:00Z"})
    )
    assert len(str(found["message"])) < (1 << 20) + 100
    assert str(found["message"]).endswith("more characters]")
