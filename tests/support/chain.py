"""From a made-up journal to messages: the collection, the rules and every place that shows a node's state.

Only Dagster is left out: what its sensors and checks call is called here, with a clock that the test moves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.api_world import settings_of
from tests.support.journals import MemoryJournal, pong
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.evidence import LatestEvidence, RowEvidence
from tsobs_pipelines.alerting.rules import RULES
from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.api.nodes import Live, Seen, snapshot
from tsobs_pipelines.api.schemas import Node, PartState
from tsobs_pipelines.api.self_checks import Moment, judge_rounds
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.defs.alerts.materializations import Materialization
from tsobs_pipelines.defs.alerts.scopes import alert_engine
from tsobs_pipelines.defs.alerts.sensors import TailnetMaterializations, evaluate_connections
from tsobs_pipelines.defs.alerts.watch import evaluate_tailnet
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet.health import HealthVerdict, judge_evidence, judge_path
from tsobs_pipelines.tailnet.health import judge_rounds as judge_missing
from tsobs_pipelines.tailnet.peers import peer_names
from tsobs_pipelines.tailnet.summary import summary_rows
from tsobs_pipelines.timeseries.evidence import taken
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow, SummaryRow
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

START = datetime(2026, 11, 24, 6, tzinfo=UTC)
TICK = timedelta(minutes=5)
DOMAIN = "tail.test"
OWN: Mapping[str, object] = {"HostName": "observer", "DNSName": f"observer.{DOMAIN}.", "Online": True}


def peer(label: str, host_name: str | None = None, **others: object) -> dict[str, object]:
    """A node as the journal has it."""
    host = label if host_name is None else host_name
    return {"HostName": host, "DNSName": f"{label}.{DOMAIN}.", "Online": True, **others}


def answers(relay: str = "") -> list[dict[str, object]]:
    """Six pongs."""
    return [pong("100.64.0.2", 12.0, relay=relay)] * 6


def round_at(
    at: datetime,
    peers: Mapping[str, Mapping[str, object]],
    pings: Mapping[str, Sequence[Mapping[str, object]]],
    **others: object,
) -> bytes:
    """One line of the journal."""
    stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"v": 1, "at": stamp, "daemon": "1.102.5", "state": "Running", "self": OWN}
    return json.dumps({**body, "peers": peers, "pings": pings, **others}).encode() + b"\n"


class Chain:
    """A journal, a store and the alert state of one tailnet."""

    def __init__(self, place: Path, nodes: Sequence[str]) -> None:
        self.settings = settings_of(place, sidecar_url="http://127.0.0.1:1", critical_nodes=",".join(nodes))
        self.tailnet = self.settings.first_tailnet
        self.store = SqlStore(self.settings.database_url)
        self.journal = MemoryJournal()
        self.engine = alert_engine(self.settings)
        self.now = START
        self._materialized = 0
        self._collected = START - timedelta(microseconds=1)

    def take(self, line: bytes, at: datetime) -> None:
        """Add a round; every five minutes of its clock a tick follows."""
        self.journal.append(line, day=at.date())
        if at - START >= TICK and (at - START) % TICK < at - self.now:
            self.now = at
            self.tick()
        self.now = max(self.now, at)

    def tick(self) -> None:
        """Collect what is new, and let the rules look at it."""
        found = Collector(
            self.journal, self.store, self.tailnet.critical_nodes, self.tailnet.name
        ).collect_new(self.now.date())
        if found.last_round is not None:
            self._materialized += 1
            said = {"mode": "incremental", "last_round": found.last_round.isoformat()}
            news = Materialization(self._materialized, "run", str(self.now.date()), said)
            for rule in RULES.values():
                if isinstance(rule.evidence, RowEvidence | LatestEvidence):
                    evaluate_connections(
                        self.settings,
                        self.store,
                        rule,
                        TailnetMaterializations(self.tailnet, [news]),
                        self.now,
                    )
        evaluate_tailnet(self.settings, self.tailnet, self.store, self.now)

    @property
    def messages(self) -> list[str]:
        """The first line of each message that is to be sent, in order."""
        return [plain(message.html).splitlines()[0] for message in outbox.pending(self.engine)]

    def rows(self, span: timedelta = timedelta(hours=24)) -> list[ConnectionRow]:
        """The rows up to now."""
        return self.store.read(CONNECTIONS, Window(self.now - span, self.now + TICK))

    def check(self) -> HealthVerdict:
        """The check ``nodes_are_seen``."""
        return judge_evidence(self.rows())

    def missing(self) -> HealthVerdict:
        """The check ``rounds_complete``."""
        pace = sampling_at(self.store, self.tailnet.name, self.now)
        rows = self.rows()
        until = max(row.time for row in rows)
        since = until - pace.judged_span
        count = len({row.time for row in rows if taken(row) and since < row.time <= until})
        return judge_missing(count, since, until, pace.interval)

    def path(self) -> HealthVerdict:
        """The check ``reached_directly``."""
        return judge_path(self.rows())

    def healthz(self) -> PartState:
        """What ``/healthz`` says of the rounds."""
        stale_after = sampling_at(self.store, self.tailnet.name, self.now).stale_after
        rows = self.store.read(CONNECTIONS, Window(self.now - stale_after, self.now + TICK))
        return judge_rounds(rows, Moment(self.now, START), stale_after, ever=True)

    def node(self, name: str) -> Node:
        """What the page gets of a node."""
        newest = {row.hostname: row for row in self.rows()}
        seen = Seen(Live(PartState(ok=True, detail=""), {}, peer_names({})), newest, set())
        answer = snapshot(self.store, self.tailnet, seen, self.now)
        return next(node for node in answer.nodes if node.hostname == name)

    def summary(self, name: str) -> SummaryRow:
        """The node's day."""
        found = summary_rows(self.now.date(), self.rows())
        return next(row for row in found if row.hostname == name)


@contextmanager
def chain(place: Path, nodes: Sequence[str]) -> Iterator[Chain]:
    """A chain whose store is closed when the block ends."""
    made = Chain(place, nodes)
    try:
        yield made
    finally:
        made.store.close()
        engine_for(made.settings.database_url).dispose()
