"""The load of the campaign: API clients, and backfills requested in Dagster."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import httpx

from campaigns.source import NODES
from tests.support.running import Running

REQUEST_PAUSE_S = 0.25
BACKFILL_PAUSE_S = (60.0, 120.0)
LONGEST_SPAN = 3
ASSETS = ("connection_metrics", "network_diagnostics", "connection_summary")

BACKFILL = """mutation($params: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}"""


@dataclass(frozen=True, slots=True)
class Requested:
    """A backfill that Dagster accepted: its id, its days, and when."""

    backfill_id: str
    days: tuple[date, ...]
    at: datetime


@dataclass
class Load:
    """Two threads that ask until ``over`` is set."""

    current: Callable[[], Running]
    first: date
    chance: random.Random
    over: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter)
    requested: list[Requested] = field(default_factory=list)
    refused: int = 0

    def start(self) -> list[threading.Thread]:
        """Begin; both threads end after ``over`` is set."""
        threads = [
            threading.Thread(target=work, name=work.__name__) for work in (self.read_on, self.fill_back)
        ]
        for thread in threads:
            thread.start()
        return threads

    def read_on(self) -> None:
        """Ask the API for this and that."""
        paths = [
            "/health-monitoring/nodes",
            "/alerts",
            "/logs/search?level=WARNING&hours=24&limit=100",
            "/metrics",
            *(f"/health-monitoring/latency-history/{node}?hours=24" for node in NODES),
        ]
        chance = random.Random(0)  # noqa: S311 - no secret
        with httpx.Client(timeout=10) as client:
            while not self.over.wait(REQUEST_PAUSE_S):
                url = f"http://127.0.0.1:{self.current().api_port}{chance.choice(paths)}"
                try:
                    self.answers[f"{client.get(url).status_code}"] += 1
                except httpx.HTTPError:
                    self.answers["no answer"] += 1

    def fill_back(self) -> None:
        """Ask for past days now and then, as the UI's button does."""
        while not self.over.wait(self.chance.uniform(*BACKFILL_PAUSE_S)):
            self.ask_for(self.some_days())

    def some_days(self) -> list[date]:
        """One to three days in a row, all of them over."""
        past = (datetime.now(UTC).date() - self.first).days
        count = self.chance.randint(1, min(LONGEST_SPAN, past))
        start = self.first + timedelta(days=self.chance.randint(0, past - count))
        return [start + timedelta(days=number) for number in range(count)]

    def ask_for(self, days: Sequence[date]) -> None:
        """Ask once; a webserver that does not answer is one that a person would ask again later."""
        params = {
            "assetSelection": [{"path": [name]} for name in ASSETS],
            "partitionNames": [day.isoformat() for day in days],
            "tags": [],
        }
        at = datetime.now(UTC)
        try:
            answer = self.current().graphql(BACKFILL, params=params)["launchPartitionBackfill"]
        except (httpx.HTTPError, KeyError, ValueError):
            self.refused += 1
            return
        assert isinstance(answer, dict)
        if answer["__typename"] != "LaunchBackfillSuccess":
            self.refused += 1
            return
        self.requested.append(Requested(str(answer["backfillId"]), tuple(days), at))
