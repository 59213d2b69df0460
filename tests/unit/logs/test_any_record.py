"""Any log call becomes one valid line of JSON with its content."""

from __future__ import annotations

import dataclasses
import json
import logging
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import MagicMock, Mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsobs_pipelines.logs.encoding import LONGEST_WRITTEN
from tsobs_pipelines.logs.files import DayFileHandler
from tsobs_pipelines.logs.formatter import JSONFormatter, TextFormatter
from tsobs_pipelines.logs.intake import RecordWriter
from tsobs_pipelines.logs.plain import LONGEST_TEXT
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


@pytest.mark.parametrize(
    "extra", [{"user": None}, {"exception": None}, {"user": None, "exception": None}, {"user_login": None}]
)
def test_a_call_whose_only_extras_are_none_has_none(extra: Mapping[str, object]) -> None:
    assert list(line_of(extra))[-1] == "line"


class NoClass:
    """An object that does not say of what class it is."""

    @property
    def __class__(self) -> type:
        raise RuntimeError("no")

    @__class__.setter
    def __class__(self, _: object) -> None:
        raise RuntimeError("no")


class Nameless(type):
    """A metaclass whose classes do not tell their name."""

    def __getattribute__(cls, name: str) -> object:
        if name == "__name__":
            raise RuntimeError("no")
        return super().__getattribute__(name)


class OfNameless(metaclass=Nameless):
    """Without a text, and without a name of its class."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


class OddInt(int):
    """A number that can't be written by its own methods."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class OddFloat(float):
    """A number that can't be written or compared by its own methods."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __le__(self, _: object) -> bool:
        raise RuntimeError("no")

    __str__ = __repr__
    __lt__ = __ge__ = __gt__ = __le__


class OddList(list[object]):
    """A list that can't be iterated over by its own methods."""

    def __iter__(self) -> NoReturn:
        raise RuntimeError("no")

    def __len__(self) -> NoReturn:
        raise RuntimeError("no")


class HalfBroken(Mapping[str, object]):
    """A mapping of which one value can't be read."""

    def __getitem__(self, key: str) -> object:
        if key == "bad":
            raise OSError("gone")
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(("bad", "good"))

    def __len__(self) -> int:
        return 2


@dataclasses.dataclass
class Pair:
    """A dataclass with a field that can't be copied."""

    left: object
    right: int = 2


def of_nameless() -> object:
    return OfNameless()


def dead_proxy() -> object:
    return weakref.proxy(Pair(1))


@pytest.mark.parametrize("beside", [1, "\ud800", float("nan"), {"a": 1}])
@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (dead_proxy, "[ProxyType that can't be shown]"),
        (NoClass, "[NoClass that can't be shown]"),
        (of_nameless, "[OfNameless that can't be shown]"),
        (lambda: OddInt(5), 5),
        (lambda: OddFloat(0.5), 0.5),
        (lambda: OddFloat("nan"), "NaN"),
        (lambda: OddList([1, 2]), [1, 2]),
        (HalfBroken, {"bad": "[value that can't be read]", "good": 1}),
        (lambda: Pair(dead_proxy()), {"left": "[ProxyType that can't be shown]", "right": 2}),
    ],
)
def test_an_odd_value_costs_only_itself(make: Callable[[], object], shown: object, beside: object) -> None:
    odd = make()
    found = line_of({"odd": odd, "list": [1, odd, 2], "dict": {"a": 1, "b": odd}, "beside": beside})
    assert found["odd"] == shown
    assert found["list"] == [1, shown, 2]
    assert found["dict"] == {"a": 1, "b": shown}
    assert found["beside"] == {"1": 1, "nan": "NaN", "{'a': 1}": {"a": 1}}.get(str(beside), "\ufffd")


class Endless(Mapping[str, object]):
    """A mapping of ten such mappings."""

    def __getitem__(self, key: str) -> object:
        return Endless()

    def __iter__(self) -> Iterator[str]:
        return iter("abcdefghij")

    def __len__(self) -> int:
        return 10


class Listed:
    """A list of two of its kind."""

    def tolist(self) -> list[object]:
        return [Listed(), Listed()]


class Same:
    """Each has the same text."""

    def __str__(self) -> str:
        return "same"


def doubled(times: int) -> object:
    value: object = [1]
    for _ in range(times):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "value",
    [Endless(), Listed(), doubled(60), {Same(): 1 for _ in range(9_000)}, [[0] * 9_000] * 9_000],
    ids=["mapping", "tolist", "doubled", "keys", "square"],
)
def test_what_has_no_end_is_cut(value: object) -> None:
    found = line_of({"x": value, "y": 1})
    assert found["y"] == 1
    assert len(json.dumps(found)) < LONGEST_WRITTEN


@pytest.mark.parametrize("kind", [Mock, MagicMock])
@pytest.mark.parametrize("spec", [None, dict, str, list, int, Pair])
def test_a_mock_is_shown_by_its_text(kind: type[Mock], spec: type | None) -> None:
    found = line_of({"x": kind(spec=spec), "y": 1})
    assert "Mock" in str(found["x"]) or found["x"] == {}
    assert found["y"] == 1


def test_a_mock_is_not_called() -> None:
    mock = Mock()
    line_of({"x": mock})
    mock.assert_not_called()
    assert mock.mock_calls == []


class BadCauseError(Exception):
    """An exception whose cause can't be read."""

    @property
    def __cause__(self) -> BaseException | None:
        raise RuntimeError("no")

    @__cause__.setter
    def __cause__(self, _: object) -> None:
        raise RuntimeError("no")


class BadNotesError(Exception):
    """An exception whose notes can't be read."""

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override] # it can't be read either way
        raise RuntimeError("no")


class BadEvent:
    """An event of Dagster that can't be read."""

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("no")


class Incomparable:
    """Neither true nor false, and equal to nothing."""

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise RuntimeError("no")

    def __eq__(self, _: object) -> bool:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        return "odd"


def doubled_group() -> Exception:
    error: Exception = ValueError(1)
    for _ in range(60):
        error = ExceptionGroup("g", [error, error])
    return error


def raised(error: Exception) -> tuple[object, ...]:
    return (type(error), error, None)


@pytest.mark.parametrize(
    ("attributes", "name", "value"),
    [
        ({"exc_info": (1, 2)}, "exception", "(1, 2)"),
        ({"exc_info": (1, 2, 3)}, "exception", "(1, 2, 3)"),
        ({"exc_info": (ValueError, "text", None)}, "exception", "ValueError: text"),
        ({"exc_info": ValueError("text")}, "exception", "ValueError: text"),
        ({"exc_info": raised(BadCauseError("text"))}, "exception", "BadCauseError: text"),
        ({"exc_info": raised(BadNotesError("text"))}, "exception", "BadNotesError: text"),
        (
            {"exc_info": raised(SyntaxError("m", ("f", 1, 1, 5)))},  # type: ignore[arg-type]
            "exception",
            "SyntaxError: m (f, line 1)",
        ),
        (
            {"exc_info": raised(SyntaxError("m", ("f", 1, 1, b"abc")))},  # type: ignore[arg-type]
            "exception",
            "SyntaxError: m (f, line 1)",
        ),
        (
            {"exc_info": raised(SyntaxError("m", ("f", 1, "x", "abc")))},  # type: ignore[arg-type]
            "exception",
            "SyntaxError: m (f, line 1)",
        ),
        ({"exc_info": Incomparable()}, "exception", "odd"),
        ({"exc_info": raised(doubled_group())}, "exception", "ExceptionGroup: g (2 sub-exceptions)"),
        ({"exc_text": 5}, "exception", "5"),
        ({"msg": "%d", "args": Incomparable()}, "message", "%d odd"),
        ({"user": Incomparable()}, "user", "odd"),
        ({"created": OddFloat(5.0)}, "timestamp", "1970-01-01T00:00:05.000000Z"),
        ({"lineno": 10**5000}, "line", 0),
        ({"levelname": "x", "levelno": OddInt(30)}, "level", "INFO"),
        ({"msg": dead_proxy()}, "message", "[ProxyType that can't be shown]"),
        (
            {"msg": "%s %d", "args": (Unspeakable(), 7)},
            "message",
            "%s %d ([Unspeakable that can't be shown], 7)",
        ),
        ({"msg": {"message": Unspeakable(), "kept": 1}}, "kept", 1),
        ({"levelname": ["a"]}, "level", "INFO"),
        ({"levelname": "odd", "levelno": None}, "level", "INFO"),
        ({"levelname": "WARN", "levelno": None}, "level", "WARNING"),
        ({"created": float("nan")}, "created", "NaN"),
        ({"created": float("inf")}, "created", "Infinity"),
        ({"created": 1e20}, "created", 1e20),
        ({"created": None}, "created", None),
        ({"lineno": None}, "line", 0),
        ({"lineno": "7"}, "line", 7),
        ({"funcName": 5}, "function", "5"),
        ({"module": None}, "module", ""),
        ({"name": 5}, "logger", "5"),
        ({"stack_info": Unspeakable()}, "stack", "[Unspeakable that can't be shown]"),
        ({"dagster_meta": {"run_id": "r1", "dagster_event": BadEvent()}}, "run_id", "r1"),
        ({"dagster_meta": Broken(), "kept": 1}, "kept", 1),
        ({"dagster_meta": dead_proxy(), "kept": 1}, "kept", 1),
    ],
)
def test_a_part_that_can_not_be_read_costs_only_itself(
    attributes: dict[str, object], name: str, value: object
) -> None:
    found = line_of(attributes)
    assert found[name] == value
    assert found["message"] == "hello" or "msg" in attributes or name == "message"
    assert found["level"] in {"INFO", "WARNING"}
    record = logging.LogRecord("tests", logging.INFO, "/src/m.py", 1, "hello", None, None, "f")
    record.__dict__.update(attributes)
    assert TextFormatter(redactor=Redactor()).format(record)


def test_a_record_without_its_attributes_is_a_line() -> None:
    record = logging.LogRecord("tests", logging.INFO, "/src/m.py", 1, "hello", None, None, "f")
    record.__dict__.clear()
    found = json.loads(FORMATTER.format(record))
    assert (found["level"], found["message"]) == ("INFO", "[the rest can't be shown: AttributeError]")


@pytest.mark.parametrize(
    ("created", "stamp"),
    [
        (-62135596800.0, "0001-01-01T00:00:00.000000Z"),
        (-30610224000.5, "0999-12-31T23:59:59.500000Z"),
        (-1e-20, "1969-12-31T23:59:59.999999Z"),
        (253402300799.5, "9999-12-31T23:59:59.500000Z"),
    ],
)
def test_a_time_has_a_fixed_length_in_every_year(tmp_path: Path, created: float, stamp: str) -> None:
    record = logging.LogRecord("tests", logging.INFO, "/src/m.py", 1, "hello", None, None, "f")
    record.created = created
    handler = DayFileHandler(tmp_path)
    handler.setFormatter(FORMATTER)
    handler.emit(record)
    (line,) = (tmp_path / f"tsobs-{stamp[:10]}.jsonl").read_text().splitlines()
    assert json.loads(line)["timestamp"] == stamp


@pytest.mark.parametrize("created", [float("nan"), 1e20, -1e12])
def test_a_record_without_a_date_is_filed_today(tmp_path: Path, created: float) -> None:
    record = logging.LogRecord("tests", logging.INFO, "/src/m.py", 1, "hello", None, None, "f")
    record.created = created
    handler = DayFileHandler(tmp_path)
    handler.setFormatter(FORMATTER)
    handler.emit(record)
    (line,) = next(tmp_path.glob("tsobs-2*.jsonl")).read_text().splitlines()
    assert json.loads(line)["message"] == "hello"


@pytest.mark.parametrize("character", ["y", "\x00", "\U0001f600"])
def test_a_record_is_never_too_long_for_the_search(tmp_path: Path, character: str) -> None:
    huge = character * (5 << 20)
    extras = {"exception": huge, "a": huge, "b": [huge] * 3, "run_id": "3f0c1a52"}
    found = line_of(extras, huge)
    RecordWriter(tmp_path, Redactor()).write(None, "INFO", "tests", huge, "m", {**extras})
    (filed,) = next(tmp_path.glob("*.jsonl")).read_bytes().splitlines()
    assert len(filed) < 3 * LONGEST_WRITTEN
    for one in (found, json.loads(filed)):
        assert str(one["message"]).endswith(" more characters]")
        assert str(one["exception"]).startswith(character)
        assert one["run_id"] == "3f0c1a52"


def test_a_text_of_the_greatest_length_is_whole_and_a_longer_one_is_cut() -> None:
    assert line_of({"a": "y" * LONGEST_TEXT})["a"] == "y" * LONGEST_TEXT
    cut = f"{'y' * LONGEST_TEXT} … [{4 * LONGEST_TEXT} more characters]"
    assert line_of({"a": "y" * 5 * LONGEST_TEXT})["a"] == cut
    assert line_of({}, "y" * 5 * LONGEST_TEXT)["message"] == cut


def test_a_secret_is_masked_where_a_text_is_cut() -> None:
    found = line_of({}, "y" * (LONGEST_TEXT - 4) + "hunter22" * 2)
    assert "hunt" not in str(found["message"])


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
    | st.builds(HalfBroken)
    | st.builds(OddInt, st.integers())
    | st.builds(OddFloat, st.floats())
    | st.builds(Incomparable)
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
