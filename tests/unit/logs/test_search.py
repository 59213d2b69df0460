"""The search finds what a linear scan finds, on plain, compressed and damaged files."""

from __future__ import annotations

import gzip
import json
import os
import random
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tsobs_pipelines.logs import search as search_module
from tsobs_pipelines.logs.encoding import LineEncoder
from tsobs_pipelines.logs.following import LogFollower
from tsobs_pipelines.logs.levels import from_level
from tsobs_pipelines.logs.lines import Entry
from tsobs_pipelines.logs.maintenance import maintain
from tsobs_pipelines.logs.matching import LogQuery
from tsobs_pipelines.logs.redact import Redactor
from tsobs_pipelines.logs.search import search

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ENCODER = LineEncoder(Redactor())


def line(
    at: datetime, level: str = "INFO", logger: str = "tsobs", message: str = "m", **extras: object
) -> str:
    return ENCODER.line(at.timestamp(), level, logger, message, ("mod", "fun", 1), extras)


def file_of(directory: Path, at: datetime) -> Path:
    return directory / f"tsobs-{at:%Y-%m-%d}.jsonl"


def append(directory: Path, at: datetime, text: str) -> None:
    with file_of(directory, at).open("a", encoding="utf-8") as file:
        file.write(text + "\n")


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four days, lines of several processes a few seconds out of order, in blocks that cut them."""
    monkeypatch.setattr(search_module, "BLOCK_BYTES", 4096)
    chance = random.Random(4)  # noqa: S311 - test data
    levels = ["DEBUG"] * 20 + ["INFO"] * 60 + ["WARNING"] * 5 + ["ERROR"] * 3 + ["CRITICAL"]
    at = NOW - timedelta(days=3, hours=6)
    while at < NOW:
        own = at - timedelta(seconds=chance.random() * 8)
        if own.date() != at.date():
            own = at
        extras: dict[str, object] = {"number": chance.randrange(100)}
        if chance.random() < 0.1:
            extras["user"] = chance.choice(["ana@example.com", "eva@example.com"])
        if chance.random() < 0.3:
            extras["run_id"] = f"{chance.randrange(5):08d}-1111"
        text = chance.choice(
            ["plain", 'with "quotes"', "with\nlines", "añil 😀", "x" * chance.choice([10, 9000])]
        )
        logger = chance.choice(["tsobs", "tsobs.api", "tsobsx", "tailscaled"])
        append(tmp_path, own, line(own, chance.choice(levels), logger, text, **extras))
        at += timedelta(seconds=60 + chance.random() * 120)
    return tmp_path


def every_entry(directory: Path) -> list[Entry]:
    entries: list[Entry] = []
    for path in directory.iterdir():
        if path.name.endswith(".jsonl"):
            entries += [json.loads(one) for one in path.read_bytes().splitlines()]
        if path.name.endswith(".gz"):
            entries += [json.loads(one) for one in gzip.decompress(path.read_bytes()).splitlines()]
    return sorted(entries, key=lambda entry: str(entry["timestamp"]), reverse=True)


QUERIES = [
    LogQuery(),
    LogQuery(level="error", hours=100),
    LogQuery(level="WARNING", hours=30, limit=7),
    LogQuery(hours=1000, limit=10_000),
    LogQuery(hours=1000, limit=10_000, q='with "quotes"'),
    LogQuery(hours=1000, limit=10_000, q="with\nlines"),
    LogQuery(hours=1000, limit=10_000, q="añil 😀"),
    LogQuery(hours=1000, limit=10_000, q="number"),
    LogQuery(hours=1000, limit=10_000, q="42"),
    LogQuery(hours=1000, limit=10_000, logger="tsobs"),
    LogQuery(hours=1000, limit=10_000, user="ana@example.com"),
    LogQuery(hours=1000, limit=10_000, user="ana@example"),
    LogQuery(hours=1000, limit=10_000, run_id="00000003"),
    LogQuery(hours=1000, limit=5, run_id="00000003-1111", level="WARNING", logger="tsobs.api"),
]


def expected(directory: Path, query: LogQuery) -> list[Entry]:
    oldest = NOW - timedelta(hours=query.hours)

    def wanted(entry: Entry) -> bool:
        logger, texts = str(entry["logger"]), [str(value) for value in (*entry, *entry.values())]
        return (
            datetime.fromisoformat(str(entry["timestamp"])) >= oldest
            and entry["level"] in query.levels
            and (query.q is None or any(query.q in text for text in texts))
            and (query.logger is None or logger == query.logger or logger.startswith(f"{query.logger}."))
            and (query.user is None or entry.get("user") == query.user)
            and (query.run_id is None or str(entry.get("run_id", "")).startswith(query.run_id))
        )

    return [entry for entry in every_entry(directory) if wanted(entry)][: query.limit]


@pytest.mark.parametrize("query", QUERIES, ids=str)
@pytest.mark.parametrize("form", ["plain", "packed", "foreign gzip"])
def test_it_finds_what_a_plain_reading_finds(history: Path, query: LogQuery, form: str) -> None:
    if form == "packed":
        assert len(maintain(history, NOW, 30).packed) == 2
    if form == "foreign gzip":
        for path in sorted(history.glob("*.jsonl"))[:-1]:
            path.with_suffix(".jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    assert search(history, query, NOW).entries == expected(history, query)


def test_the_newest_come_first_and_the_search_stops(history: Path) -> None:
    result = search(history, LogQuery(limit=3, hours=1000), NOW)
    stamps = [str(entry["timestamp"]) for entry in result.entries]
    assert stamps == sorted(stamps, reverse=True)
    assert result.scanned_bytes < sum(path.stat().st_size for path in history.iterdir()) / 20


def test_structlogs_lines_are_understood(tmp_path: Path) -> None:
    for level, at in (("error", "2026-11-24T11:00:00Z"), ("info", "2026-11-24T11:00:01.5Z")):
        found = {"event": "tick failed", "logger": "dagster.daemon", "level": level, "timestamp": at, "x": 1}
        append(tmp_path, NOW, json.dumps(found))
    (entry,) = search(tmp_path, LogQuery(level="ERROR"), NOW).entries
    assert entry == {
        "timestamp": "2026-11-24T11:00:00.000000Z",
        "level": "ERROR",
        "logger": "dagster.daemon",
        "message": "tick failed",
        "module": "",
        "function": "",
        "line": 0,
        "x": 1,
    }
    assert len(search(tmp_path, LogQuery(logger="dagster"), NOW).entries) == 2


@pytest.mark.parametrize(
    "wreck", ["{broken", "plain text", "[1,2]", '{"a":1}', "\x00" * 50, '"x"', "9" * 5000, ""]
)
def test_broken_and_foreign_lines_are_passed_over_and_counted(tmp_path: Path, wreck: str) -> None:
    append(tmp_path, NOW, line(NOW, message="before"))
    append(tmp_path, NOW, wreck)
    append(tmp_path, NOW, line(NOW, message="after"))
    result = search(tmp_path, LogQuery(), NOW)
    assert [entry["message"] for entry in result.entries] == ["after", "before"]
    assert result.skipped == (1 if wreck else 0)


def test_a_whole_line_behind_a_torn_one_is_found(tmp_path: Path) -> None:
    torn = line(NOW, message="torn")[:60]
    append(tmp_path, NOW, torn + line(NOW, "ERROR", message="whole"))
    result = search(tmp_path, LogQuery(level="ERROR"), NOW)
    assert [entry["message"] for entry in result.entries] == ["whole"]
    assert result.skipped == 1


def test_an_endless_line_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module, "LONGEST_LINE", 1 << 18)
    append(tmp_path, NOW, line(NOW, message="before"))
    append(tmp_path, NOW, "y" * 3_000_000)
    append(tmp_path, NOW, line(NOW, message="after"))
    assert [entry["message"] for entry in search(tmp_path, LogQuery(), NOW).entries] == ["after", "before"]


def test_a_long_message_is_found_whole_and_shown_cut(tmp_path: Path) -> None:
    append(tmp_path, NOW, line(NOW, message="z" * 1_000_000 + "needle"))
    (entry,) = search(tmp_path, LogQuery(q="needle"), NOW).entries
    assert str(entry["message"]).endswith("[983622 more characters]")


def test_no_file_but_our_own_is_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text(line(NOW, message="secret") + "\n")
    logs = tmp_path / "logs"
    logs.mkdir()
    file_of(logs, NOW).symlink_to(outside)
    (logs / "other.jsonl").write_text(line(NOW, message="other") + "\n")
    os.mkfifo(logs / "tsobs-2026-11-23.jsonl")
    result = search(logs, LogQuery(hours=48), NOW)
    assert result.entries == []
    assert result.unreadable == ("tsobs-2026-11-24.jsonl",)


def test_no_directory_has_no_entries(tmp_path: Path) -> None:
    assert search(tmp_path / "none", LogQuery(), NOW).entries == []


def test_a_damaged_packed_day_is_named_and_the_rest_is_found(history: Path) -> None:
    maintain(history, NOW, 30)
    packed = min(history.glob("*.gz"))
    data = bytearray(packed.read_bytes())
    data[len(data) // 2] ^= 0xFF
    packed.write_bytes(data)
    result = search(history, LogQuery(hours=1000, limit=10_000), NOW)
    assert [name.split()[0] for name in result.unreadable] == [packed.name]
    assert result.entries


def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    text = "".join(
        line(NOW - timedelta(seconds=n / 100), message="x" * 300) + "\n" for n in range(20_000, 0, -1)
    )
    file_of(tmp_path, NOW).write_text(text)
    tracemalloc.start()
    search(tmp_path, LogQuery(q="not there"), NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize(
    "wrong",
    [{"level": "LOUD"}, {"hours": 0}, {"hours": -1}, {"hours": 1e9}, {"hours": float("nan")}, {"limit": 0},
     {"limit": 10_001}, {"run_id": "short"}],
)  # fmt: skip
def test_a_query_out_of_range_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(wrong))}=.*: expected "):
        LogQuery(**wrong)  # type: ignore[arg-type]


FOREIGN = [
    ('{"level":"ERROR","message":"m","timestamp":"2026-11-24T11:59:00Z"}', "ERROR"),
    ('{"timestamp":"2026-11-24T11:59:00Z","level":"ERROR","message":"m"}', "ERROR"),
    ('{"timestamp":"2026-11-24T11:59:00.000000Z","level":"ERROR","message":"m","logger":"x"}', "ERROR"),
    ('{"timestamp": "2026-11-24T11:59:00Z", "level": "error", "event": "m"}', "ERROR"),
    ('{"msg":"m","severity":"warn","time":"2026-11-24T11:59:00Z"}', "WARNING"),
    *(
        (
            f'{{"timestamp":"2026-11-24T11:59:00.000000Z","level":"{name}","logger":"a","message":"m"}}',
            level,
        )
        for name, level in (
            ("WARN", "WARNING"),
            ("FATAL", "CRITICAL"),
            ("ERR", "ERROR"),
            ("CRIT", "CRITICAL"),
            ("NOTICE", "INFO"),
            ("TRACE", "DEBUG"),
        )
    ),
    ('  {"level":"INFO","message":"m","ts":1795521540}', "INFO"),
    ('{"lvl":"err","message":"m","ts":1795521540}', "ERROR"),
    ('{"levelname": "Warning", "message": "m", "time": 1795521540123}', "WARNING"),
    ('{"log.level":"fatal","message":"m","@timestamp":"2026-11-24T11:59:00.000Z"}', "CRITICAL"),
]


@pytest.mark.parametrize(("line", "level"), FOREIGN)
@pytest.mark.parametrize("asked", ["DEBUG", "INFO", "WARNING", "ERROR"])
def test_a_foreign_line_is_found_at_any_level_that_it_has(
    tmp_path: Path, line: str, level: str, asked: str
) -> None:
    own = (
        '{"timestamp":"2026-11-24T11:58:00.000000Z","level":"INFO","logger":"a","message":"b","module":"",'
        '"function":"","line":0}\n'
    )
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text(f"{own}{line}\n{own}")
    for query in (LogQuery(asked, 1), LogQuery(asked, 1, q="m"), LogQuery(asked, 1, q='"m"')):
        found = [entry for entry in search(tmp_path, query, NOW).entries if entry["message"] == "m"]
        wanted = level in from_level(asked) and query.q != '"m"'
        assert [entry["level"] for entry in found] == ([level] if wanted else [])


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "ERROR"])
def test_what_is_not_understood_is_counted_at_any_level(tmp_path: Path, level: str) -> None:
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text('{"level":"ERROR"}\nno JSON\n')
    assert search(tmp_path, LogQuery(level, 24), NOW).skipped == 2


@pytest.mark.parametrize("level", ['["ERROR"]', '{"a":1}', "null", "40", '"LOUD"'])
@pytest.mark.parametrize("asked", ["DEBUG", "INFO", "ERROR"])
def test_a_level_that_is_none_is_counted(tmp_path: Path, level: str, asked: str) -> None:
    file = tmp_path / "tsobs-2026-11-24.jsonl"
    file.touch()
    follower = LogFollower(tmp_path, LogQuery(asked, 24), NOW)
    start = '{"timestamp":"2026-11-24T11:59:00.000000Z","level":'
    file.write_text(
        f'{start}{level},"logger":"a","message":"m"}}\n{start}"ERROR","logger":"a","message":"n"}}\n'
    )
    found = search(tmp_path, LogQuery(asked, 24), NOW)
    assert ([entry["message"] for entry in found.entries], found.skipped) == (["n"], 1)
    assert [entry["message"] for entry in follower.look(NOW)] == ["n"]


OWN_LINE = (
    '{"timestamp":"%s","level":"ERROR","logger":"a","message":"%s","module":"m","function":"f","line":1}\n'
)


@pytest.mark.parametrize("asked", ["DEBUG", "ERROR"])
@pytest.mark.parametrize(
    "odd",
    [
        '{"time":"0999-11-24T11:59:00Z","level":"ERROR","msg":"odd"}\n',
        '{"time":"0001-01-01T00:00:00Z","level":"ERROR","msg":"odd"}\n',
        OWN_LINE % ("0001-01-01T00:00:00.000000Z", "odd"),
        OWN_LINE % ("zzzz-11-24T11:59:00.000000Z", "odd"),
        OWN_LINE % ("2026-99-24T11:59:00.000000Z", "odd"),
        OWN_LINE % ("2026-11-24T11:59:00.000000Z", 'odd","timestamp":"9'),
    ],
)
def test_a_line_of_an_odd_time_is_not_of_today_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str, asked: str
) -> None:
    monkeypatch.setattr(search_module, "BLOCK_BYTES", 512)
    own = OWN_LINE % ("2026-11-24T11:58:00.000000Z", "own")
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text((own + odd) * 20)
    assert {entry["message"] for entry in search(tmp_path, LogQuery(asked, 24), NOW).entries} == {"own"}
    assert len(search(tmp_path, LogQuery(asked, 24), NOW).entries) == 20


def test_a_file_of_the_last_day_of_the_calendar_ends_no_search(tmp_path: Path) -> None:
    (tmp_path / "tsobs-9999-12-31.jsonl").write_text(OWN_LINE % ("9999-12-31T23:59:59.999999Z", "future"))
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text(OWN_LINE % ("2026-11-24T11:58:00.000000Z", "own"))
    found = [entry["message"] for entry in search(tmp_path, LogQuery("DEBUG", 24), NOW).entries]
    assert found == ["future", "own"]


@pytest.mark.parametrize("depth", [100, 500])
def test_a_deep_line_is_cut(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    line = f'{{"time":"2026-11-24T11:59:00Z","level":"ERROR","msg":"m","logger":{deep},"x":{deep}}}\n'
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text(line)
    (entry,) = search(tmp_path, LogQuery("ERROR", 24, q="too deep"), NOW).entries
    assert len(json.dumps(entry["x"])) < 100


@pytest.mark.parametrize("line", ['{"time":"2026-11-24T11:59:00Z",\r"level":"ERROR","msg":"m"}', None])
def test_a_follower_cuts_lines_where_the_search_does(tmp_path: Path, line: str | None) -> None:
    file = tmp_path / "tsobs-2026-11-24.jsonl"
    file.touch()
    follower = LogFollower(tmp_path, LogQuery("ERROR", 24), NOW)
    own = (OWN_LINE % ("2026-11-24T11:58:00.000000Z", "m")).replace("\n", "\r\n")
    file.write_bytes(f"{line}\n".encode() if line else own.encode())
    assert [entry["message"] for entry in follower.look(NOW)] == ["m"]
    assert len(search(tmp_path, LogQuery("ERROR", 24), NOW).entries) == 1


def test_a_field_name_is_found(tmp_path: Path) -> None:
    start = '{"timestamp":"2026-11-24T11:59:00.000000Z","level":"INFO","logger":"a",'
    line = f'{start}"message":"b","hostname":"git"}}'
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text(f"{line}\n")
    assert len(search(tmp_path, LogQuery("INFO", 24, q="hostname"), NOW).entries) == 1


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999"])
def test_what_is_no_json_is_given_as_text(tmp_path: Path, value: str) -> None:
    line = f'{{"timestamp":"2026-11-24T11:59:00Z","level":"INFO","message":"b","x":{value},"y":[{value}]}}'
    (tmp_path / "tsobs-2026-11-24.jsonl").write_text(f"{line}\n")
    (entry,) = search(tmp_path, LogQuery("INFO", 24), NOW).entries
    assert (entry["x"], entry["y"]) == (value, [value])


def test_a_follower_sees_each_line_once_however_many_there_are(tmp_path: Path) -> None:
    day = datetime(2026, 11, 24, 23, 59, 59, tzinfo=UTC)
    files = [tmp_path / "tsobs-2026-11-24.jsonl", tmp_path / "tsobs-2026-11-25.jsonl"]

    def line(number: int, level: str = "INFO") -> str:
        stamp = f"2026-11-24T23:59:59.{number:06d}Z"
        return f'{{"timestamp":"{stamp}","level":"{level}","logger":"a","message":"{number}"}}\n'

    files[0].write_text(line(0))
    follower = LogFollower(tmp_path, LogQuery("INFO", 24), day)
    assert list(follower.look(day)) == []
    with files[0].open("a") as file:
        file.writelines(line(number, "DEBUG" if number % 5 == 0 else "INFO") for number in range(1, 30_001))
        file.write(line(30_001)[:40])
    found = list(follower.look(day))
    assert [entry["message"] for entry in found] == [str(n) for n in range(1, 30_001) if n % 5]
    with files[0].open("a") as file:
        file.write(line(30_001)[40:])
    files[1].write_text(line(30_002))
    after = list(follower.look(day + timedelta(seconds=2)))
    assert [entry["message"] for entry in after] == ["30001", "30002"]
    assert list(follower.look(day + timedelta(seconds=2))) == []
