"""Queries sidecar, Telegram and price source by name, once for each line on its standard input.

Arguments: the three addresses, the database and the day.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from tests.support import bot_api as api
from tests.support.journals import NODES
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.forecasting.prices.redata import RedataPrices
from tsobs_pipelines.forecasting.prices.source import PriceSourceUnavailableError
from tsobs_pipelines.tailnet.client import SidecarUnavailableError, TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.timeseries.sql import SqlStore

LATER = timedelta(minutes=1)
"""How much later each look is: a message that could not be sent is due again."""


def said(ask: Callable[[], object]) -> str:
    """What ``ask`` gives, or what may pass that it ran into."""
    try:
        return str(ask())
    except (SidecarUnavailableError, PriceSourceUnavailableError) as error:
        return f"unavailable: {error}"


def main(sidecar: str, telegram: str, prices: str, database: str, day: date) -> None:
    """Answer each line with a line of JSON."""
    store, engine = SqlStore(database), engine_for(database)
    bot = Telegram(telegram, api.TOKEN, api.CHAT)
    now = datetime.now(UTC)
    outbox.enqueue_test(engine, "a message", now)
    for look, _ in enumerate(sys.stdin):
        at = now + look * LATER
        outbox.deliver(engine, [bot], lambda at=at: at)  # type: ignore[misc]  # mypy does not see the default
        (message,) = outbox.newest(engine)
        with TailscaleHealthService(sidecar, critical_nodes=NODES) as service:
            collector = Collector(service, store, NODES, "lab")
            answers = {
                "sidecar": said(lambda: collector.collect_new(day).rounds),  # noqa: B023 - called at once
                "telegram": f"{message.fate} {message.reason}".strip(),
                "prices": said(lambda: len(RedataPrices(base_url=prices, attempts=1).fetch(day, day))),
            }
        sys.stdout.write(json.dumps(answers) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], date.fromisoformat(sys.argv[5]))
