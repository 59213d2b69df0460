"""Any log call becomes one valid line of JSON with its content."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.logs.formatter import JSONFormatter
from tsobs_pipelines.logs.redact import Redactor

FORMATTER = JSONFormatter(redactor=Redactor(["hunter22"]))


class Broken(Mapping[str, object]):
    """A mapping that can't be read."""

    def __getitem__(self, key: str) -> object:
        raise OSError("gone")

    def __iter__(self) -> Iterator[str]:
        raise OSError("gone")

    def __len__(self) -> int:
        return 1

    def items(self) -> NoReturn:
        raise OSError("gone")


class BrokenMessage(dict[str, object]):
    """A message that can't be read."""

    def items(self) -> NoReturn:
        raise OSError("gone")


class Unspeakable:
    """A key or value without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def line_of(extra: Mapping[Any, object], message: object = "hello") -> dict[str, object]:
    record = logging.LogRecord("tests", logging.INFO, "/src/m.py", 1, message, None, None, "f")
    record.__dict__.update(extra)
    line = FORMATTER.format(record)
    assert "\n" not in line
    assert "hunter22" not in line
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(parsed, dict)
    return parsed


@pytest.mark.parametrize(
    ("extra", "name", "value"),
    [
        ({"": 1}, "", 1),
        ({1: "x"}, "1", "x"),
        ({None: "x"}, "None", "x"),
        ({(1, 2): "x"}, "(1, 2)", "x"),
        ({1: "a", "1": "b"}, "1_", "a"),
        ({"_private": 7}, "_private", 7),
        ({"__x__": 7}, "__x__", 7),
        ({"message_": 1, "level": 2}, "level_", 2),
        ({"x": Broken()}, "x", "[Broken that can't be shown]"),
        ({"x": {"y": Broken()}}, "x", {"y": "[Broken that can't be shown]"}),
        ({"x": Unspeakable()}, "x", "[Unspeakable that can't be shown]"),
        ({Unspeakable(): 1}, "[Unspeakable that can't be shown]", 1),
        ({"x": np.int64(5)}, "x", 5),
        ({"x": np.uint8(5)}, "x", 5),
        ({"x": np.float32(0.5)}, "x", 0.5),
        ({"x": np.float64(0.5)}, "x", 0.5),
        ({"x": np.float64("nan")}, "x", "NaN"),
        ({"x": np.bool_(True)}, "x", True),
        ({"x": np.array([1, 2])}, "x", [1, 2]),
        ({"x": np.array([[1.5, float("nan")]])}, "x", [[1.5, "NaN"]]),
        ({"x": np.array(3)}, "x", 3),
        ({"x": np.str_("git")}, "x", "git"),
        ({"x": pd.Series([1, 2])}, "x", [1, 2]),
        ({"x": pd.NA}, "x", None),
        ({"x": pd.NaT}, "x", None),
        ({"x": np.datetime64("NaT")}, "x", None),
        ({"x": np.timedelta64(5, "s")}, "x", "5 seconds"),
        ({"x": np.array(["2026-11-24", "NaT"], dtype="M8[D]")}, "x", ["2026-11-24", None]),
        ({"x": np.longdouble("0.5")}, "x", 0.5),
        ({"x": np.ma.array([1, 2], mask=[False, True])}, "x", [1, None]),
        ({"x": 10**5000}, "x", "[int of 16610 bits]"),
        ({"x": [pd.NA, np.int64(1)]}, "x", [None, 1]),
        ({"x": {1, 2}}, "x", [1, 2]),
        ({"x": frozenset({"b", "a"})}, "x", ["a", "b"]),
        ({"x": {"k": {3, 1}}}, "x", {"k": [1, 3]}),
        ({"x": np.zeros(20_000)}, "x", "[ndarray of 20000 values]"),
    ],
)
def test_an_extra_is_shown_as_what_it_is(extra: Mapping[Any, object], name: str, value: object) -> None:
    found = line_of(extra)
    assert name in found
    assert found[name] == value
    assert type(found[name]) is type(value)


def test_a_time_of_numpy_is_no_number() -> None:
    assert str(line_of({"x": np.datetime64("2026-11-24T02:05:00", "ns")})["x"]).startswith("2026-11-24T02:05")


def test_a_message_that_can_not_be_read_is_named() -> None:
    found = line_of({}, BrokenMessage(a=1))
    assert found["message"]


def test_a_message_without_a_text_is_named() -> None:
    assert "can't be shown" in str(line_of({}, Unspeakable())["message"])


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.dates()
    | st.complex_numbers()
    | st.builds(Broken)
    | st.builds(Unspeakable)
    | st.sampled_from([np.int64(1), np.array([1.0]), pd.NA, object(), print, int]),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.none(), inner) | st.tuples(inner)
    ),
    max_leaves=20,
)
KEYS = st.text() | st.integers() | st.none() | st.tuples(st.integers())
STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", None, None).__dict__)


@given(st.dictionaries(KEYS.filter(lambda key: key not in STANDARD), VALUES), VALUES)
def test_any_call_becomes_one_line(extra: dict[Any, object], message: object) -> None:
    found = line_of(extra, message)
    assert found["level"] == "INFO"
    named = [key for key in extra if key not in {"dagster_meta", "dagster_event", "taskName", "user_login"}]
    missing = [key for key in named if not isinstance(message, dict) and extra[key] is not None]
    assert len(found) >= 7 + len({str(key) for key in missing} - {"user", "exception"}) - 2
