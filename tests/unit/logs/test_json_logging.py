"""The JSON formatter: its fields, and that nothing a program logs makes a line invalid."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.logs.context import log_context
from tsobs_pipelines.logs.formatter import JSONFormatter, TextFormatter
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.logs.setup import INTAKE_ENVIRONMENT, setup_logging, uvicorn_log_config

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
FORMATTER = JSONFormatter(redactor=Redactor())


def record_of(
    message: object, extra: dict[str, object], *args: object, severity: int = logging.INFO
) -> logging.LogRecord:
    return logging.getLogger("tests.logger").makeRecord(
        "tests.logger", severity, "/src/collector.py", 12, message, args, None, "collect", extra or None
    )


def record(
    message: object, *args: object, severity: int = logging.INFO, **extra: object
) -> logging.LogRecord:
    return record_of(message, extra, *args, severity=severity)


def written(one: logging.LogRecord) -> dict[str, object]:
    line = FORMATTER.format(one)
    assert "\n" not in line
    assert line.isascii()
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture
def fresh_logging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(next(iter(INTAKE_ENVIRONMENT)), raising=False)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield tmp_path / "logs"
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_record_has_the_fields() -> None:
    found = written(record("collected %d rounds", 3))
    assert list(found) == ["timestamp", "level", "logger", "message", "module", "function", "line"]
    assert RFC_3339.fullmatch(str(found["timestamp"]))
    assert abs(datetime.fromisoformat(str(found["timestamp"])) - datetime.now(UTC)).total_seconds() < 60
    del found["timestamp"]
    assert found == {
        "level": "INFO",
        "logger": "tests.logger",
        "message": "collected 3 rounds",
        "module": "collector",
        "function": "collect",
        "line": 12,
    }


@pytest.mark.parametrize("name", ["user", "user_login"])
def test_the_user_is_there_when_known(name: str) -> None:
    assert written(record_of("served", {name: "ana@example.com"}))["user"] == "ana@example.com"
    with log_context(user="eva@example.com"):
        assert written(record("served"))["user"] == "eva@example.com"
    assert "user" not in written(record("served"))


def test_an_exception_is_one_line_with_its_traceback() -> None:
    one = record("failed", severity=logging.ERROR)
    try:
        raise LookupError("no such node\nat all")
    except LookupError:
        one.exc_info = sys.exc_info()
    found = written(one)
    text = str(found["exception"])
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("LookupError: no such node\nat all")
    assert list(found)[7] == "exception"


def test_plain_text_when_switched_off(fresh_logging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    monkeypatch.setenv("LOG_FORMAT_JSON", "false")
    setup_logging()
    logging.getLogger("tests.logger").warning("two\nlines")
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z WARNING  tests\.logger: two\n    lines\n"
    assert re.fullmatch(pattern, printed.getvalue())
    (text,) = fresh_logging.glob("tsobs-*.log")
    assert text.read_text() == printed.getvalue()
    # What the search reads stays JSON.
    (filed,) = fresh_logging.glob("tsobs-*.jsonl")
    assert json.loads(filed.read_text())["message"] == "two\nlines"


def test_setting_up_again_doubles_nothing(fresh_logging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    monkeypatch.setenv("TSOBS_LOG_LEVEL", "WARNING")
    setup_logging(json_format=False)
    setup_logging(json_format=True)
    logging.getLogger("tests.logger").info("too low")
    logging.getLogger("tests.logger").error("once")
    (filed,) = fresh_logging.glob("tsobs-*.jsonl")
    assert filed.read_text() == printed.getvalue()
    assert [json.loads(line)["message"] for line in printed.getvalue().splitlines()] == ["once"]


def test_a_part_under_the_intake_prints_nothing(fresh_logging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", printed)
    for name, value in INTAKE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    setup_logging()
    logging.getLogger("tests.logger").error("filed")
    assert printed.getvalue() == ""
    assert "filed" in next(fresh_logging.glob("tsobs-*.jsonl")).read_text()


def test_uvicorns_loggers_take_the_common_way(fresh_logging: Path) -> None:
    setup_logging()
    logging.config.dictConfig(uvicorn_log_config())
    logging.getLogger("uvicorn.error").info("started")
    assert "started" in next(fresh_logging.glob("tsobs-*.jsonl")).read_text()


def test_extras_come_last_and_overwrite_nothing() -> None:
    extra = {
        "timestamp": "then",
        "level": "none",
        "logger": "x",
        "function": "f",
        "line": 0,
        "exception": "e",
    }
    found = written(record_of("kept", {"run_id": "r1", "hours": 2, **extra}))
    assert (found["level"], found["logger"], found["function"], found["line"]) == (
        "INFO",
        "tests.logger",
        "collect",
        12,
    )
    assert (found["level_"], found["line_"], found["timestamp_"]) == ("none", 0, "then")
    assert list(found)[8:10] == ["run_id", "hours"]


@pytest.mark.parametrize("created", [1795485900.0, 1795485900.9999999, 1795485900.000001, 0.0])
def test_the_fraction_never_disappears(created: float) -> None:
    one = record("x")
    one.created = created
    assert RFC_3339.fullmatch(str(written(one)["timestamp"]))


def test_the_context_nests_and_ends() -> None:
    with (
        log_context(run_id="r1", asset="connection_metrics"),
        log_context(partition="2026-11-24", run_id="r2"),
    ):
        found = written(record("x"))
        assert (found["run_id"], found["asset"], found["partition"]) == (
            "r2",
            "connection_metrics",
            "2026-11-24",
        )
        assert written(record("x", run_id="own"))["run_id"] == "own"
    assert "run_id" not in written(record("x"))


def test_what_dagster_adds_is_unwrapped() -> None:
    one = record("job - 4711 - step - collected")
    one.__dict__["dagster_meta"] = {
        "orig_message": "collected",
        "run_id": "4711",
        "job_name": "job",
        "step_key": "step",
        "job_tags": {"dagster/partition": "2026-11-24"},
        "dagster_event": None,
    }
    found = written(one)
    assert (found["message"], found["run_id"], found["partition"]) == ("collected", "4711", "2026-11-24")
    assert (found["asset"], found["step"], found["job"]) == ("step", "step", "job")


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_values_that_json_does_not_know() -> None:
    circular: dict[str, object] = {}
    circular["self"] = circular
    deep: list[object] = []
    for _ in range(5000):
        deep = [deep]
    found = written(
        record(
            "x",
            nan=float("nan"),
            minus=float("-inf"),
            circular=circular,
            deep=deep,
            keys={(1, 2): b"\xff", None: {3}},
            at=datetime(2026, 11, 24, tzinfo=UTC),
            hostile=Hostile(),
            huge=10**5000,
            error=ValueError("v"),
        )
    )
    assert (found["nan"], found["minus"]) == ("NaN", "-Infinity")
    assert found["circular"] == {"self": "[circular]"}
    assert found["at"] == "2026-11-24T00:00:00+00:00"
    assert found["hostile"]
    assert "bits" in str(found["huge"])
    assert "v" in str(found["error"])


def test_a_wrong_format_string_loses_nothing() -> None:
    assert written(record("%d of %s", "x"))["message"] == "%d of %s ('x',)"
    assert "can't be shown" in str(written(record("%s", Hostile()))["message"])


def test_a_mapping_as_message_becomes_fields() -> None:
    found = written(record({"message": "m", "hours": 3, "level": "x"}))
    assert (found["message"], found["hours"], found["level"], found["level_"]) == ("m", 3, "INFO", "x")


@pytest.mark.parametrize(
    "text", ["a\nb\r\n", '"\\', "\x00\x1b[31m\x9b\x7f", "\u2028\x85", "é😀", "x" * 1_000_000]
)
def test_any_text_stays_one_line_and_itself(text: str) -> None:
    found = written(record(text, extra_text=text))
    assert found["message"] == text
    assert found["extra_text"] == text


def test_lone_surrogates_are_replaced_pairs_are_kept() -> None:
    found = written(record("a\ud800b \ud83d\ude00", here=["\udfff"]))
    assert found["message"] == "a\ufffdb 😀"
    assert found["here"] == ["\ufffd"]


@given(
    message=st.text(),
    extra=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
        max_leaves=8,
    ),
)
def test_every_record_is_one_line_of_json(message: str, extra: object) -> None:
    found = written(record(message.replace("%", ""), anything=extra))
    assert "anything" in found


def test_text_lets_no_one_forge_a_line_or_command_a_terminal() -> None:
    text = TextFormatter(redactor=Redactor()).format(
        record("a\n2026 ERROR forged\x1b[2J", user="ana@example.com")
    )
    assert "\n    2026 ERROR forged\\x1b[2J" in text
    assert text.endswith("[user=ana@example.com]")
