"""Evaluates ten rounds and sends the alerts; killed at a given step when run as a program.

Arguments of the program: database URL, Bot API URL, the step (``before commit``), seconds after the incident.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta

import httpx

from tests.support import bot_api as api
from tests.support.alert_rows import DAY, MINUTE, TAILNET, paths
from tsobs_pipelines.alerting import outbox, telegram
from tsobs_pipelines.alerting.evaluation import evaluate, observe_rows
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore

telegram.TIMEOUT = httpx.Timeout(0.5)

PLACES: dict[str, object] = {
    "_save_progress": AlertStore,
    "_save_states": AlertStore,
    "_enqueue": AlertStore,
    "commit": AlertStore,
    "claim": outbox,
    "send": Telegram,
    "settle": outbox,
}


def look(url: str, minute: int) -> None:
    """Evaluate the rounds up to a minute of the day."""
    at = DAY + minute * MINUTE
    observe = observe_rows(SqlStore(url), TAILNET, RELAY, at)
    source = Source("http://page", "http://dagster")
    evaluate(AlertStore(engine_for(url), "demo"), RELAY, observe, source, at)


def look_and_send(url: str, api_url: str, later: float, arm: Callable[[], None] = lambda: None) -> None:
    """What a sensor and a run do, ``later`` seconds after the incident; ``arm`` runs when it has begun."""
    SqlStore(url).write(CONNECTIONS, paths("dddddrrrrr", start=600))
    look(url, 604)
    arm()
    look(url, 609)
    now = DAY + 611 * MINUTE + timedelta(seconds=later)
    outbox.deliver(engine_for(url), [Telegram(api_url, api.TOKEN, api.CHAT)], lambda: now)


def die_at(step: str) -> None:
    """Have this process killed before or after a function."""
    when, name = step.split()
    place = PLACES[name]
    original: Callable[..., object] = getattr(place, name)

    def dying(*args: object, **kwargs: object) -> None:
        if when == "after":
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(place, name, dying)


if __name__ == "__main__":
    database, bot_url, killed_at, seconds = sys.argv[1:]
    look_and_send(database, bot_url, float(seconds), lambda: die_at(killed_at))
