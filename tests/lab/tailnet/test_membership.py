"""Nodes that leave a real tailnet, are renamed, have twins or expired keys: evidence, alerts and views.

What a round of the real sampler says is kept for some minutes of made-up time: rules, checks, `/healthz` and
page get it as they would from a sampler that goes on saying so.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.api_world import settings_of
from tests.support.chain import START, Chain, chain
from tests.support.lab.processes import poll_until
from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import Sidecar, running_sidecar
from tests.support.lab.tailnet import Tailnet, running_tailnet
from tsobs_pipelines.doctor.nodes import newest_rounds, node_findings
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.rows import connection_rows
from tsobs_pipelines.timeseries.schema import ConnectionRow

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

PEERS = ("git", "dev", "factory", "nas", "db", "ci")
"""One for each story: what happens to a node here need not be undone."""

MISSPELT = "factroy"
STEADY = "ci"
"""Nothing happens to this one."""

MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def tailnet() -> Iterator[Tailnet]:
    with new_run() as lab_run, running_tailnet(lab_run, peers=PEERS) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def sidecar(tailnet: Tailnet) -> Iterator[Sidecar]:
    with (
        new_run() as lab_run,
        running_sidecar(
            lab_run, tailnet.observer, settings={"SAMPLE_HOSTS": ",".join((*PEERS, MISSPELT))}
        ) as it,
    ):
        yield it


class Watch:
    """The newest round of a sampler, and a chain of rules and views that is fed with it."""

    def __init__(self, sidecar: Sidecar, place: Path) -> None:
        self.sidecar = sidecar
        self.place = place

    def newest(self) -> bytes:
        """The newest line of the journal, but for rounds that a busy machine took no time for."""

        def found() -> bytes | None:
            paths = sorted(self.sidecar.journal.glob("*.ndjson"))
            lines = [line for path in paths for line in path.read_bytes().splitlines(keepends=True)]
            return next((line for line in reversed(lines) if b"took too long" not in line), None)

        return poll_until(found, within_s=30, what="a round")

    def row(self, node: str) -> ConnectionRow:
        """What that round says of a node."""
        line = self.newest()
        day = datetime.fromisoformat(json.loads(line)["at"]).date()
        [row] = connection_rows(list(read_rounds([line], JournalCounts(), day)), [node], "lab")
        return row

    def until(self, node: str, wanted: Callable[[ConnectionRow], bool], what: str) -> None:
        """Wait until the newest round says so."""
        poll_until(lambda: wanted(self.row(node)), within_s=90, what=f"{node}: {what}")

    def play(self, made: Chain, first: int, last: int) -> None:
        """The newest round as that of each of these minutes."""
        body = json.loads(self.newest())
        for minute in range(first, last):
            at = START + minute * MINUTE
            line = json.dumps({**body, "at": f"{at:%Y-%m-%dT%H:%M:%SZ}", "interval": 60}).encode() + b"\n"
            made.take(line, at)
        made.tick()

    def findings(self, node: str) -> str:
        """What `tsobs doctor` says of the node, and what to do."""
        settings = settings_of(self.place, critical_nodes=node)
        now = datetime.now(UTC)
        with TailscaleHealthService(self.sidecar.url) as client:
            found = node_findings(
                settings.first_tailnet, client.get_tailscale_status(), newest_rounds(client, now), now
            )
        return "; ".join(f"{one.level}: {one.detail}: {one.remedy}" for one in found)


@pytest.fixture
def watch(sidecar: Sidecar, tmp_path: Path) -> Watch:
    seen = Watch(sidecar, tmp_path)
    seen.until(STEADY, lambda row: row.connection_type == "direct", "direct")
    return seen


def told_everywhere(watch: Watch, made: Chain, node: str, wanted: str, evidence: str) -> None:
    """Fifteen minutes of it are told once as CRITICAL, and page, check, `/healthz` and summary name it."""
    watch.play(made, 30, 60)
    told = [text for text in made.messages if node in text and "the key of" not in text]
    assert [text.partition("; since")[0] for text in told] == [f"🚨 CRITICAL {wanted}"]
    assert not any(STEADY in text or "fresh round" in text for text in made.messages)
    shown = made.node(node)
    assert (shown.evidence, shown.reason) == (evidence, wanted)
    assert made.summary(node).availability == pytest.approx(0.5)
    assert made.summary(STEADY).availability == 1.0
    if evidence != "key-expired":
        assert wanted in made.check().summary
        health = made.healthz()
        assert (health.ok, wanted in health.detail) == (False, True)


def test_a_node_that_logged_out_is_not_in_the_tailnet(watch: Watch, tailnet: Tailnet) -> None:
    watch.until("git", lambda row: row.connection_type == "direct", "direct")
    with chain(watch.place, ("git", STEADY)) as made:
        watch.play(made, 0, 30)
        assert made.messages == []
        tailnet.node("git").cli("logout")
        # Tailscale's control plane does so by itself with nodes that are ephemeral.
        tailnet.remove_record("git")
        watch.until("git", lambda row: row.evidence == "absent", "absent")
        told_everywhere(watch, made, "git", "git is not in the tailnet", "absent")
    assert "failed: git is not in the tailnet" in watch.findings("git")


def test_a_deleted_node_is_told_and_its_return_is_the_end(watch: Watch, tailnet: Tailnet) -> None:
    watch.until("factory", lambda row: row.connection_type == "direct", "direct")
    with chain(watch.place, ("factory", STEADY)) as made:
        watch.play(made, 0, 30)
        tailnet.remove_record("factory")
        watch.until("factory", lambda row: row.evidence == "absent", "absent")
        told_everywhere(watch, made, "factory", "factory is not in the tailnet", "absent")
        tailnet.restore_record("factory")
        factory = tailnet.node("factory")
        factory.kill()
        factory.start()
        watch.until("factory", lambda row: bool(row.answered), "back")
        watch.play(made, 60, 70)
        assert made.messages[-1].startswith("✅ RESOLVED factory answers again")
        assert made.healthz().ok
        assert made.check().passed


def test_a_renamed_node_is_found_by_its_host_name_until_that_changes_as_well(
    watch: Watch, tailnet: Tailnet
) -> None:
    dev = tailnet.node("dev")
    watch.until("dev", lambda row: row.connection_type == "direct", "direct")
    with chain(watch.place, ("dev", STEADY)) as made:
        watch.play(made, 0, 15)
        tailnet.change_record("dev", Name="dev-old.lab.ts.net.")
        poll_until(lambda: b"dev-old.lab.ts.net" in watch.newest(), within_s=60, what="the new DNS name")
        assert (watch.row("dev").connection_type, watch.row("dev").evidence) == ("direct", None)
        watch.play(made, 15, 30)
        assert made.messages == []
        dev.cli("set", "--hostname=vm-7")
        watch.until("dev", lambda row: row.evidence == "absent", "absent")
        told_everywhere(watch, made, "dev", "dev is not in the tailnet", "absent")
    assert "did you mean dev-old" in watch.findings("dev")


def test_an_offline_twin_of_the_same_host_name_is_told_with_both_dns_names(
    watch: Watch, tailnet: Tailnet
) -> None:
    watch.until("nas", lambda row: row.connection_type == "direct", "direct")
    wanted = "nas is the name of several nodes: nas-1.lab.ts.net, nas.lab.ts.net"
    with chain(watch.place, ("nas", STEADY)) as made:
        watch.play(made, 0, 30)
        tailnet.add_record("nas-1", "nas")
        watch.until("nas", lambda row: row.evidence == "ambiguous", "ambiguous")
        told_everywhere(watch, made, "nas", wanted, "ambiguous")
    assert "use one of nas-1.lab.ts.net, nas.lab.ts.net" in watch.findings("nas")


def test_a_machine_name_is_one_machine_whatever_another_one_calls_itself(
    watch: Watch, tailnet: Tailnet
) -> None:
    db = tailnet.node("db")
    db.cli("set", "--hostname=ip-10-1-2-4")
    tailnet.add_record("db-old", "db")
    poll_until(lambda: b"ip-10-1-2-4" in watch.newest(), within_s=60, what="the new host name")
    watch.until("db", lambda row: row.connection_type == "direct", "direct")
    assert watch.findings("db").startswith("ok: in the tailnet as db.lab.ts.net")


def test_an_expired_key_is_said_to_be_one(watch: Watch, tailnet: Tailnet) -> None:
    watch.until("db", lambda row: row.connection_type == "direct", "direct")
    expired = "2026-11-20T10:00:00Z"
    wanted = "db answers no ping: its key expired at 2026-11-20 10:00 UTC"
    with chain(watch.place, ("db", STEADY)) as made:
        watch.play(made, 0, 30)
        tailnet.change_record("db", KeyExpiry=expired, Expired=True)
        watch.until("db", lambda row: row.evidence == "key-expired", "expired")
        told_everywhere(watch, made, "db", wanted, "key-expired")
        assert [text for text in made.messages if "the key of db expired at 2026-11-20 10:00 UTC" in text]
    assert "failed: its key expired at 2026-11-20 10:00 UTC" in watch.findings("db")


def test_the_key_of_the_sidecar_s_own_node_is_told(watch: Watch, tailnet: Tailnet) -> None:
    expiry = datetime.now(UTC) + timedelta(days=2)
    tailnet.change_record("observer", KeyExpiry=f"{expiry:%Y-%m-%dT%H:%M:%SZ}")
    stamp = f"{expiry:%Y-%m-%dT%H:%M:%SZ}".encode()
    poll_until(lambda: stamp in watch.newest(), within_s=60, what="the expiry in the journal")
    assert f"its key expires in 2.0 days, at {expiry:%Y-%m-%d %H:%M} UTC" in watch.findings(STEADY)
    with chain(watch.place, (STEADY,)) as made:
        # The made-up clock of the chain is the days from its start to now behind.
        watch.play(made, 0, 7)
        text = f"the key of observer (the sidecar's own node) expires at {expiry:%Y-%m-%d %H:%M} UTC"
        assert [said for said in made.messages if text in said]


def test_a_misspelt_name_is_told_from_the_first_quarter_of_an_hour_on(watch: Watch) -> None:
    assert watch.row(MISSPELT).evidence == "absent"
    with chain(watch.place, (MISSPELT, STEADY)) as made:
        watch.play(made, 0, 20)
        [told] = [text for text in made.messages if "the key of" not in text]
        assert told.startswith(f"🚨 CRITICAL {MISSPELT} is not in the tailnet; since {START:%H:%M} UTC")
    assert "did you mean factory" in watch.findings(MISSPELT)


def test_a_node_that_the_sampler_is_not_told_of_is_told_with_the_setting(
    tailnet: Tailnet, tmp_path: Path
) -> None:
    wanted = f"{STEADY} is not sampled: add it to SAMPLE_HOSTS of the sidecar"
    settings = {"SAMPLE_HOSTS": "db"}
    with new_run() as lab_run, running_sidecar(lab_run, tailnet.observer, "few", settings) as sidecar:
        watch = Watch(sidecar, tmp_path)
        watch.until(STEADY, lambda row: row.evidence == "not-sampled", "not sampled")
        with chain(tmp_path, (STEADY,)) as made:
            watch.play(made, 0, 20)
            [told] = [text for text in made.messages if "the key of" not in text]
            assert told.startswith(f"🚨 CRITICAL {wanted}; since")
            assert made.check().summary == wanted
            assert wanted in made.healthz().detail
            assert made.node(STEADY).reason == wanted
        assert "the sampler does not sample it: add it to SAMPLE_HOSTS" in watch.findings(STEADY)
