"""The journal's routes, over files as a sampler, a crash and a clock step can leave them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from tests.support.sidecar_process import Sidecar

DAY = "2026-11-20"
TORN = '{"v":1,"at":"2026-11-20T00:03:00Z","daemon":"1.10'


def line(time: str, day: str = DAY) -> str:
    return json.dumps(
        {"v": 1, "at": f"{day}T{time}Z", "daemon": "1", "state": "Running"}, separators=(",", ":")
    )


def write(sidecar: Sidecar, lines: Sequence[str], day: str = DAY, end: str = "\n") -> bytes:
    content = ("\n".join(lines) + end).encode()
    (sidecar.journal / f"{day}.ndjson").write_bytes(content)
    return content


def times(body: bytes) -> list[str]:
    return [json.loads(text)["at"][11:16] for text in body.splitlines()]


def test_the_index_counts_rounds_and_bytes(sidecar: Sidecar) -> None:
    assert sidecar.get("/samples").json == {"days": {}}
    first = write(sidecar, [line("00:00:00"), TORN, line("00:02:00")])
    second = write(sidecar, [line("00:00:00", "2026-11-21")], "2026-11-21")
    write(sidecar, ["x"], "notes-2026")
    (sidecar.journal / "2026-1x-22.ndjson").write_text("x")
    expected = {DAY: {"rounds": 2, "bytes": len(first)}, "2026-11-21": {"rounds": 1, "bytes": len(second)}}
    for _ in range(2):
        assert sidecar.get("/samples").json == {"days": expected}


def test_the_index_follows_a_file_that_grows_or_shrinks(sidecar: Sidecar) -> None:
    lines = [line("00:00:00"), line("00:01:00")]
    path = sidecar.journal / f"{DAY}.ndjson"
    write(sidecar, lines)

    def rounds() -> int:
        reply = sidecar.get("/samples").json
        days = reply["days"]
        assert isinstance(days, dict)
        assert days[DAY]["bytes"] == path.stat().st_size
        count = days[DAY]["rounds"]
        assert isinstance(count, int)
        return count

    assert rounds() == 2
    with path.open("a") as journal:
        journal.write(line("00:02:00")[:20])
        journal.flush()
        assert rounds() == 2
        journal.write(line("00:02:00")[20:] + "\n")
    assert rounds() == 3
    write(sidecar, lines[:1])
    assert rounds() == 1
    path.unlink()
    assert sidecar.get("/samples").json == {"days": {}}


def test_a_day_goes_out_as_it_is(sidecar: Sidecar) -> None:
    content = write(sidecar, [line("00:00:00"), TORN, "", line("00:02:00"), TORN], end="")
    reply = sidecar.get(f"/samples/{DAY}")
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.body == content


def test_after_gives_the_later_rounds_by_value(sidecar: Sidecar) -> None:
    # The clock was set back by two minutes in the middle.
    write(sidecar, [line(f"00:{minute:02}:00") for minute in (0, 1, 2, 3, 2, 3, 4)])
    reply = sidecar.get(f"/samples/{DAY}?after={DAY}T00:02:00Z")
    assert times(reply.body) == ["00:03", "00:03", "00:04"]


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("2026-11-19T23:59:59Z", 3),
        ("2026-11-20T00:00:00Z", 2),
        ("2026-11-20t00:00:00z", 2),
        ("2026-11-20T00:00:00.000001Z", 2),
        ("2026-11-20T00:00:00.999999999Z", 2),
        ("2026-11-20T00:00:00+00:00", 2),
        ("2026-11-20T01:01:00+01:00", 1),
        ("2026-11-19T18:31:00-05:30", 1),
        ("2026-11-20T00:02:00Z", 0),
        ("2024-02-29T00:00:00Z", 3),
        ("2099-12-31T23:59:59Z", 0),
    ],
)
def test_after_takes_every_form_of_rfc_3339(sidecar: Sidecar, after: str, expected: int) -> None:
    write(sidecar, [line("00:00:00"), line("00:01:00"), line("00:02:00")])
    for text in (quote(after, safe=""), after):
        reply = sidecar.get(f"/samples/{DAY}?after={text}")
        assert (reply.status, len(reply.body.splitlines())) == (200, expected)


@pytest.mark.parametrize(
    "query",
    [
        "after=",
        "after=now",
        "after=2026-11-20",
        "after=2026-11-20T00:00:00",
        "after=2026-11-20%2000:00:00Z",
        "after=2026-02-29T00:00:00Z",
        "after=2026-13-01T00:00:00Z",
        "after=2026-11-31T00:00:00Z",
        "after=2026-11-20T24:00:00Z",
        "after=2026-11-20T00:00:00+24:00",
        "after=2026-11-20T00:00:00Z&after=2026-11-20T00:00:00Z",
        "after=2026-11-20T00:00:00Z&x=1",
        "after=$(id)",
        "before=2026-11-20T00:00:00Z",
        "x",
    ],
)
def test_any_other_query_is_refused(sidecar: Sidecar, query: str) -> None:
    write(sidecar, [line("00:00:00")])
    assert sidecar.get(f"/samples/{DAY}?{query}").status == 400


@pytest.mark.parametrize(
    "day", ["2026-11-2", "20261120", "..", "%2e%2e", "2026-11-20.ndjson", "2026-11-20%2f..", "*"]
)
def test_a_day_is_a_day(sidecar: Sidecar, day: str) -> None:
    write(sidecar, [line("00:00:00")])
    assert sidecar.get(f"/samples/{day}").status == 400


def test_a_day_without_a_journal_is_not_found(sidecar: Sidecar) -> None:
    assert sidecar.get("/samples/2026-11-19").status == 404


def test_lines_of_any_kind_are_framed_right(sidecar: Sidecar) -> None:
    """The length that is promised is the length that is sent, whatever the file holds."""
    odd = [
        line("00:01:00")[:-1] + ',"x":"é€"}',
        '{"v":1,"at":"2026-11-20T00:02:00Z","x":"' + "y" * 3_000_000 + '"}',
        "\x00" * 4096,
        '{"v":2,"at":"2026-11-20T00:03:00Z","new":[]}',
        "\r",
        TORN,
    ]
    content = write(sidecar, odd, end="")
    assert sidecar.get(f"/samples/{DAY}").body == content
    after = sidecar.get(f"/samples/{DAY}?after={DAY}T00:00:30Z")
    assert [len(text) for text in after.body.splitlines()] == [len(odd[i].encode()) for i in (0, 1, 3, 5)]


def test_many_readers_of_a_large_day_all_get_all_of_it(sidecar: Sidecar) -> None:
    rest = ',"peers":"' + "x" * 3000 + '"}'
    content = write(sidecar, [line(f"{i // 60:02}:{i % 60:02}:00")[:-1] + rest for i in range(1440)])
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: sidecar.get(f"/samples/{DAY}"), range(8)))
    assert all(reply.body == content for reply in replies)
    assert len(sidecar.get(f"/samples/{DAY}?after={DAY}T11:59:00Z").body.splitlines()) == 720


def packed(sidecar: Sidecar, target: str) -> tuple[dict[str, str], bytes]:
    reply = sidecar.get(target, "Accept-Encoding: br, gzip;q=0.5")
    assert reply.status == 200
    return dict(reply.headers), reply.body


def test_a_day_is_packed_for_who_can_unpack_it(sidecar: Sidecar) -> None:
    content = write(sidecar, [line(f"00:{minute:02}:00") for minute in range(60)])
    headers, body = packed(sidecar, f"/samples/{DAY}")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(body) == content
    _, body = packed(sidecar, f"/samples/{DAY}?after={DAY}T00:57:00Z")
    assert times(gzip.decompress(body)) == ["00:58", "00:59"]
    _, body = packed(sidecar, f"/samples/{DAY}?after={DAY}T01:00:00Z")
    assert gzip.decompress(body) == b""
    for accepted in ("gzip;q=0", "identity", "x-gzip", "gzipped", "*"):
        reply = sidecar.get(f"/samples/{DAY}", f"Accept-Encoding: {accepted}")
        assert ("content-encoding" in reply.headers, reply.body) == (False, content), accepted
    assert not list(sidecar.journal.glob(".packing*")), "what was packed for an answer leaves nothing"


def pack(sidecar: Sidecar, content: bytes, day: str = DAY) -> None:
    (sidecar.journal / f"{day}.ndjson.gz").write_bytes(gzip.compress(content))
    (sidecar.journal / f"{day}.ndjson").unlink(missing_ok=True)


def test_a_packed_day_answers_as_if_it_were_not(sidecar: Sidecar) -> None:
    content = write(sidecar, [line("00:00:00"), TORN, line("00:02:00"), line("00:03:00")])
    before = sidecar.get("/samples").body
    pack(sidecar, content)
    for _ in range(2):
        assert sidecar.get("/samples").body == before
    assert sidecar.get(f"/samples/{DAY}").body == content
    content = write(sidecar, [line(f"00:0{minute}:00") for minute in range(4)])
    pack(sidecar, content)
    assert times(sidecar.get(f"/samples/{DAY}?after={DAY}T00:01:00Z").body) == ["00:02", "00:03"]
    _, body = packed(sidecar, f"/samples/{DAY}")
    assert gzip.decompress(body) == content
    _, body = packed(sidecar, f"/samples/{DAY}?after={DAY}T00:02:30Z")
    assert times(gzip.decompress(body)) == ["00:03"]


def test_what_is_no_regular_file_is_not_there(sidecar: Sidecar) -> None:
    """A pipe would hang an answer, and a link lead anywhere."""
    write(sidecar, [line("00:00:00")])
    os.mkfifo(sidecar.journal / "2026-11-21.ndjson")
    os.mkfifo(sidecar.journal / "2026-11-22.ndjson.gz")
    (sidecar.journal / "2026-11-23.ndjson").symlink_to("/etc/passwd")
    (sidecar.journal / "2026-11-24.ndjson").symlink_to(sidecar.journal / f"{DAY}.ndjson")
    (sidecar.journal / "2026-11-25.ndjson").mkdir()
    days = sidecar.get("/samples").json["days"]
    assert isinstance(days, dict)
    assert list(days) == [DAY]
    for day in range(21, 26):
        assert sidecar.get(f"/samples/2026-11-{day}").status == 404


def test_a_day_that_is_packed_while_it_is_counted_keeps_its_rounds(sidecar: Sidecar) -> None:
    sidecar.stop()
    packing = sidecar.place / "stat"
    packing.write_text(
        '#!/bin/sh\ncase "$*" in *ndjson* | */fd/*) gzip "$JOURNAL_DIR"/*.ndjson ;; esac 2>/dev/null\n'
        f'exec {shutil.which("stat")} "$@"\n'
    )
    packing.chmod(0o755)
    sidecar.settings["PATH"] = f"{sidecar.place}:{os.environ['PATH']}"
    sidecar.start()
    sidecar.wait_until_served()
    content = write(sidecar, [line("00:00:00"), line("00:01:00")])
    for _ in range(2):
        assert sidecar.get("/samples").json == {"days": {DAY: {"rounds": 2, "bytes": len(content)}}}
    assert [path.name for path in sidecar.journal.glob("????-??-??*")] == [f"{DAY}.ndjson.gz"]


@pytest.mark.parametrize(
    "index", ["2026-11-20.ndjson 1 x 3\n", "\0\0", "2026-11-20.ndjson a[$(id)] 2 3\n", "x" * 100_000]
)
def test_a_damaged_index_is_made_again(sidecar: Sidecar, index: str) -> None:
    write(sidecar, [line("00:00:00")])
    (sidecar.journal / ".index").write_text(index)
    for _ in range(2):
        days = sidecar.get("/samples").json["days"]
        assert isinstance(days, dict)
        assert days[DAY]["rounds"] == 1
