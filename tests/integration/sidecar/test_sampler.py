"""The sampler and its journal: the content of a round, and that only a crash truncates a line."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.sidecar_process import (
    DEV,
    GIT,
    FakeTailscale,
    Sidecar,
    node,
    poll,
    pong,
    running,
    status,
    today,
)

Line = dict[str, object]


@pytest.fixture
def sampling(new_sidecar: Sidecar) -> Iterator[Sidecar]:
    """A sidecar with a round each second, of git alone."""
    new_sidecar.settings |= {"SAMPLE_INTERVAL": "1", "SAMPLE_HOSTS": "git", "SIDECAR_CLI_SECONDS": "1"}
    with running(new_sidecar):
        yield new_sidecar


ANSWERED = [{"Endpoint": "10.88.2.2:41641", "LatencySeconds": [0.000327] * 6}]


def nodes(this: Line) -> dict[str, dict[str, object]]:
    found = this["nodes"]
    assert isinstance(found, dict)
    return found


def times(rounds: list[Line]) -> list[datetime]:
    return [datetime.fromisoformat(str(this["at"])) for this in rounds]


def fresh(sidecar: Sidecar, count: int = 2) -> list[Line]:
    """So many rounds that begin from now on."""
    known = len(sidecar.rounds())
    return sidecar.wait_for_rounds(known + 1 + count)[known + 1 :]


def taken(sidecar: Sidecar) -> Line:
    """A round that begins from now on and could be taken: on a busy machine the CLI may need too long."""
    known = len(sidecar.rounds()) + 1
    return poll(
        lambda: next((this for this in sidecar.rounds()[known:] if "error" not in this), None),
        20,
        "a round that could be taken",
    )


def test_a_round_is_what_the_daemon_said(sampling: Sidecar, tailscale: FakeTailscale) -> None:
    rounds = sampling.wait_for_rounds(3)
    for this in rounds:
        assert (this["v"], this["daemon"], this["state"]) == (2, "1.102.5", "Running")
        assert (this["interval"], this["every"]) == (1, False)
        own, git = this["self"], nodes(this)["git"]
        assert isinstance(own, dict)
        assert list(nodes(this)) == ["git"]
        assert (git["TxBytes"], git["Online"], git["LastHandshake"]) == (5678, True, "2026-11-24T02:04:00Z")
        assert git["pings"] == ANSWERED
        assert own["HostName"] == "observer"
        assert "SECRET" not in json.dumps(this)
    at = times(rounds)
    assert at == [at[0] + timedelta(seconds=number) for number in range(len(at))]
    assert all(abs(time - datetime.now(UTC)) < timedelta(minutes=1) for time in at)


def test_a_round_pings_first_and_reads_the_status_then(sampling: Sidecar, tailscale: FakeTailscale) -> None:
    sampling.wait_for_rounds(3)
    calls = [call.split()[0] for call in tailscale.calls if not call.startswith("netcheck")]
    last = len(calls) - 1 - calls[::-1].index("status")
    assert calls[last - 6 : last + 1] == ["debug"] * 6 + ["status"]


def test_every_tenth_round_has_a_netcheck(sampling: Sidecar) -> None:
    rounds = sampling.wait_for_rounds(12, 40)
    with_netcheck = {
        at.second % 10 for at, this in zip(times(rounds), rounds, strict=True) if "netcheck" in this
    }
    assert with_netcheck == {0}


def test_a_round_in_which_a_path_turns_to_relay_has_a_netcheck(
    sampling: Sidecar, tailscale: FakeTailscale
) -> None:
    def special(rounds: list[Line]) -> list[datetime]:
        found = zip(times(rounds), rounds, strict=True)
        return [at for at, this in found if "netcheck" in this and at.second % 10 != 0]

    def relayed(rounds: list[Line]) -> list[datetime]:
        found = zip(times(rounds), rounds, strict=True)
        return [at for at, this in found if "DERPRegionID" in json.dumps(this.get("nodes"))]

    before = sampling.wait_for_rounds(2)
    assert special(before) == []
    # Away from the tenth rounds, whose netcheck would do as well.
    poll(lambda: datetime.now(UTC).second % 10 == 4, 15, "the middle of ten rounds")
    derp = {**pong(GIT), "Endpoint": "", "DERPRegionID": 9, "DERPRegionCode": "fra"}
    tailscale.say(f"pong.{GIT}", derp)
    poll(lambda: relayed(sampling.rounds()), 15, "a relayed round")
    after = sampling.wait_for_rounds(len(sampling.rounds()) + 4)
    [at] = special(after)
    assert relayed(after)[0] <= at <= relayed(after)[0] + timedelta(seconds=2)


def test_a_dead_peer_does_not_hold_up_the_others(new_sidecar: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.hang(f"pong.{GIT}")
    new_sidecar.settings |= {"SAMPLE_INTERVAL": "5", "SAMPLE_HOSTS": "git, chocolate-factory-dev"}
    with running(new_sidecar) as sidecar:
        found = nodes(sidecar.wait_for_rounds(1)[0])
    assert found["git"]["pings"] == [{"Err": "no reply within 2 s", "times": 6}]
    assert found["chocolate-factory-dev"]["pings"] == ANSWERED


def test_without_names_every_peer_is_sampled(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["SAMPLE_INTERVAL"] = "1"
    with running(new_sidecar) as sidecar:
        this = sidecar.wait_for_rounds(1)[0]
    assert set(nodes(this)) == {"git", "chocolate-factory-dev"}
    assert this["every"] is True


def test_an_unknown_name_and_a_shared_one(sampling: Sidecar, tailscale: FakeTailscale) -> None:
    tailscale.say("status", status(node("git", GIT), node("git-1", DEV, "git")))
    both = ["git-1.tail1234.ts.net", "git.tail1234.ts.net"]
    found = nodes(taken(sampling))
    assert found.pop("git") == {"unprobed": "ambiguous", "nodes": both}
    assert sorted(found) == both
    assert [found[name]["pings"] for name in both] == [ANSWERED] * 2
    tailscale.say("status", status(node("other", DEV)))
    last = taken(sampling)
    assert (last["state"], last["nodes"]) == ("Running", {"git": {"unprobed": "absent"}})


def test_a_peer_with_a_new_address_is_pinged_there_in_the_same_round(
    sampling: Sidecar, tailscale: FakeTailscale
) -> None:
    sampling.wait_for_rounds(1)
    tailscale.say("status", status(node("git", "100.64.0.77")))
    tailscale.say("pong.100.64.0.77", pong("100.64.0.77"))
    moved = taken(sampling)
    assert "100.64.0.77" in json.dumps(moved["nodes"])
    assert nodes(moved)["git"]["pings"] == ANSWERED


@pytest.mark.parametrize(
    ("state", "reason"), [("Stopped", "Stopped"), ("NeedsLogin", "NeedsLogin"), ("", "")]
)
def test_a_daemon_that_does_not_run_is_a_line_that_says_so(
    sampling: Sidecar, tailscale: FakeTailscale, state: str, reason: str
) -> None:
    tailscale.say("status", status(node("git", GIT), state=state))
    last = fresh(sampling)[-1]
    assert last["error"] == f"tailscaled is not running: {reason}"
    assert "nodes" not in last
    tailscale.say("status", status(node("git", GIT)))
    taken(sampling)


def test_a_cli_that_fails_or_hangs_is_a_line_that_says_so(
    sampling: Sidecar, tailscale: FakeTailscale
) -> None:
    tailscale.say("status", "SECRET", err="SECRET", status=7)
    assert fresh(sampling)[-1]["error"] == "tailscale status: exit status 7"
    tailscale.say("status", "{}SECRET")
    assert fresh(sampling)[-1]["error"] == "tailscale status: no readable answer"
    tailscale.hang("status")
    errors = {this["error"] for this in fresh(sampling, 4)}
    assert errors <= {"tailscale status: no answer within 1 s", "the round before took too long"}
    assert len(errors) == 2
    tailscale.heal("status")
    tailscale.say("status", status(node("git", GIT)))
    poll(lambda: "error" not in sampling.rounds()[-1], 10, "a round again")
    at = times(sampling.rounds())
    assert at == sorted(set(at)), "every time once, in order"


def test_a_torn_line_stays_alone(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["SAMPLE_INTERVAL"] = "1"
    new_sidecar.journal.mkdir()
    torn = b'{"v":1,"at":"2026-11-20T00:03:00Z","daemon":"1.10'
    path = new_sidecar.journal / f"{today()}.ndjson"
    path.write_bytes(torn)
    with running(new_sidecar) as sidecar:
        sidecar.wait_for_rounds(2)
        lines = path.read_bytes().split(b"\n")
        assert lines[0] == torn
        assert all(json.loads(line)["v"] == 2 for line in lines[1:-1])
        assert any("torn" in str(line["message"]) for line in sidecar.log)


def test_days_after_the_retention_are_removed_and_nothing_else(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["JOURNAL_RETENTION_DAYS"] = "3"
    new_sidecar.journal.mkdir()
    days = [(datetime.now(UTC) - timedelta(days=age)).strftime("%Y-%m-%d") for age in range(1, 7)]
    names = [*(f"{day}.ndjson" for day in days), "notes.txt", "2020-01-01.ndjson.bak", "2020-0x-01.ndjson"]
    for name in names:
        (new_sidecar.journal / name).write_text("x\n")
    with running(new_sidecar) as sidecar:
        kept = {*names[:3], *names[6:]}
        poll(lambda: {path.name for path in sidecar.journal.glob("[!.]*")} == kept, 10, "the removal")


def test_days_before_yesterday_are_packed_and_the_index_stays(new_sidecar: Sidecar) -> None:
    new_sidecar.journal.mkdir()
    days = [(datetime.now(UTC) - timedelta(days=age)).strftime("%Y-%m-%d") for age in range(5)]
    content = {day: f'{{"v":1,"at":"{day}T00:00:00Z"}}\n' * 1000 for day in days[1:]}
    for day, text in content.items():
        (new_sidecar.journal / f"{day}.ndjson").write_text(text)
    with running(new_sidecar) as sidecar:
        packed = [new_sidecar.journal / f"{day}.ndjson.gz" for day in days[2:]]
        poll(lambda: all(path.exists() for path in packed), 10, "the packing")
        poll(lambda: len(list(sidecar.journal.glob("????-??-??.ndjson"))) == 1, 10, "the plain ones to go")
        found = sidecar.get("/samples").json["days"]
        assert found == {day: {"rounds": 1000, "bytes": len(text)} for day, text in content.items()}
        assert {
            day: gzip.decompress(path.read_bytes()).decode()
            for day, path in zip(days[2:], packed, strict=True)
        } == {day: content[day] for day in days[2:]}


def test_a_packed_day_that_is_written_to_again_keeps_its_rounds(new_sidecar: Sidecar) -> None:
    """As after a clock that ran ahead and was set back."""
    new_sidecar.settings["SAMPLE_INTERVAL"] = "1"
    new_sidecar.journal.mkdir()
    path = new_sidecar.journal / f"{today()}.ndjson"
    old = b'{"v":1,"at":"2026-11-20T00:00:00Z"}\n'
    Path(f"{path}.gz").write_bytes(gzip.compress(old))
    with running(new_sidecar) as sidecar:
        poll(lambda: path.exists() and path.read_bytes().count(b"\n") >= 2, 20, "a round")
        assert path.read_bytes().startswith(old)
        assert not Path(f"{path}.gz").exists()
        assert sidecar.get("/healthz").json["journal"] == "ok"


def test_a_pipe_or_a_link_in_the_place_of_the_journal_is_not_written_to(
    new_sidecar: Sidecar, tmp_path: Path
) -> None:
    new_sidecar.settings["SAMPLE_INTERVAL"] = "1"
    new_sidecar.journal.mkdir()
    path, elsewhere = new_sidecar.journal / f"{today()}.ndjson", tmp_path / "elsewhere"
    with running(new_sidecar) as sidecar:
        os.mkfifo(path)
        poll(lambda: sidecar.get("/healthz").json["journal"] == "failing", 10, "the trouble to show")
        path.unlink()
        poll(lambda: sidecar.get("/healthz").json["journal"] == "ok", 10, "the sidecar to be well again")
        path.unlink()
        path.symlink_to(elsewhere)
        poll(lambda: sidecar.get("/healthz").json["journal"] == "failing", 10, "the trouble to show again")
        path.unlink()
        poll(lambda: sidecar.get("/healthz").json["journal"] == "ok", 10, "the sidecar to be well again")
    assert not elsewhere.exists()


def test_a_journal_that_cannot_be_written_shows_and_heals(sampling: Sidecar) -> None:
    sampling.wait_for_rounds(1)
    path = sampling.journal / f"{today()}.ndjson"
    path.unlink()
    path.mkdir()
    poll(lambda: sampling.get("/healthz").json["journal"] == "failing", 10, "the trouble to show")
    assert sampling.get("/healthz").status == 503
    path.rmdir()
    poll(lambda: sampling.get("/healthz").status == 200, 10, "the sidecar to be well again")
    assert sampling.rounds()


@pytest.mark.parametrize(
    ("tun", "token", "warned"), [(False, "", True), (False, "x" * 16, False), (True, "", False)]
)
def test_a_server_that_peers_reach_on_loopback_says_so_once(
    new_sidecar: Sidecar, tailscale: FakeTailscale, tmp_path: Path, tun: bool, token: str, warned: bool
) -> None:
    new_sidecar.settings |= {"SAMPLE_INTERVAL": "1", "SAMPLE_HOSTS": "git"}
    tailscale.say("status", {**status(node("git", GIT)), "TUN": tun})
    if token:
        (tmp_path / "token").write_text(token)
        (tmp_path / "token").chmod(0o600)
        new_sidecar.settings["SIDECAR_TOKEN_FILE"] = str(tmp_path / "token")
    with running(new_sidecar) as sidecar:
        sidecar.wait_for_rounds(3, 60)
    said = [line for line in sidecar.log if "userspace mode" in str(line["message"])]
    assert len(said) == warned
