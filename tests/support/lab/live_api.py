"""A live API over a state of its own: filled with the demo's last days, or left empty."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import fmean, median, pstdev
from sys import executable

import httpx

from tests.support.lab.processes import Server
from tests.support.ports import free_port
from tests.support.sidecars import served
from tsobs_pipelines.alerting.evaluation import evaluate, observe_rows, past_rows
from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.replay import replay_pending, request_replays
from tsobs_pipelines.alerting.rule import Rule
from tsobs_pipelines.alerting.rules import rules_by
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.demo.market import DemoMarket
from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.scoring import FrozenForecast, forecast_rows
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS, FORECASTS, PRICES, ConnectionRow
from tsobs_pipelines.timeseries.sql import SqlStore

NODES = ("git", "chocolate-factory-dev", "chocolate-factory")
MODEL = "prophet_price_forecast"
BAD_DAY = 12
"""So many days ago the forecast was off by more than twice its baseline."""

BAD_DAY_EXTRA = 0.021
"""By so much more than usual, in EUR/kWh."""


def store_of(state: Path) -> SqlStore:
    """The store of an API with this state directory."""
    state.mkdir(parents=True, exist_ok=True)
    return SqlStore(f"sqlite:///{state / 'tsobs.db'}")


def fill(state: Path, now: datetime, *, days: int = 30, tailnet: str = "demo") -> None:
    """Collect the demo's last days, find their incidents, and log a month of the forecast's errors."""
    store = store_of(state)
    demo = DemoServer(0)
    with served(demo), TailscaleHealthService(demo.url, critical_nodes=NODES) as sidecar:
        collector = Collector(sidecar, store, NODES, tailnet)
        for back in range(days, -1, -1):
            collector.collect_day((now - timedelta(days=back)).date())
    for rule, _ in rules_by(RowEvidence):
        _find_incidents(state, store, rule, (now, days), tailnet)
    issue_forecasts(store, now)
    store.close()
    log_errors(state / "models", now)


def issue_forecasts(store: SqlStore, now: datetime) -> None:
    """Demo prices as far as they are out, and forecasts of yesterday to tomorrow as far as they are due.

    A forecast is the mean of the same hour over seven days, its interval 1.28 deviations to each side.
    """
    market = Market("Europe/Madrid", "ES")
    today = market.day_of(now)
    days = [today + timedelta(days=step) for step in range(-9, 2)]
    prices = {p.start: p.price for p in DemoMarket(market).fetch(days[0], days[-1])}
    last = days[-1] if now >= market.published_at(days[-1]) else today
    out = {hour: price for hour, price in prices.items() if market.day_of(hour) <= last}
    store.write(PRICES, [{"time": hour, "source": "demo", "price": price} for hour, price in out.items()])
    for day in days[-3:]:
        issued_at = market.issued_at(day)
        if issued_at > now:
            continue
        frozen = []
        for hour in market.hours_of(day):
            seen = [
                prices[hour - timedelta(days=back)]
                for back in range(2, 9)
                if hour - timedelta(days=back) in prices
            ]
            middle, half = fmean(seen), 1.28 * pstdev(seen)
            frozen.append(
                FrozenForecast(
                    hour=hour,
                    version="1",
                    yhat=middle,
                    lower=middle - half,
                    upper=middle + half,
                    issued_at=issued_at,
                    trained_to=market.start_of(day - timedelta(days=1)),
                    backfilled=False,
                )
            )
        store.write(FORECASTS, forecast_rows(frozen, "demo", MODEL))


def _find_incidents(
    state: Path,
    store: SqlStore,
    rule: Rule,
    span: tuple[datetime, int],
    tailnet: str,
) -> None:
    now, days = span
    alert_store = _evaluated(state, store, rule, now, tailnet)
    request_replays(alert_store, rule, {(now - timedelta(days=back)).date(): 1 for back in range(days + 1)})
    replay_pending(alert_store, rule, past_rows(lambda: store, _tailnet(tailnet), rule))


def _tailnet(name: str) -> Tailnet:
    return Tailnet(name=name, critical_nodes=NODES)


def _evaluated(
    state: Path,
    store: SqlStore,
    rule: Rule,
    now: datetime,
    tailnet: str,
) -> AlertStore:
    alert_store = AlertStore(engine_for(f"sqlite:///{state / 'tsobs.db'}"), tailnet)
    observe = observe_rows(store, _tailnet(tailnet), rule, now)
    evaluate(alert_store, rule, observe, Source("", "", "DEMO data"), now)
    return alert_store


def judge_latency(state: Path, now: datetime, *, tailnet: str = "demo") -> None:
    """What the sensor of high latency would make of the rounds up to now, which are all collected."""
    store = store_of(state)
    _evaluated(state, store, LATENCY, now, tailnet)
    store.close()


def log_errors(
    models: Path, now: datetime, *, bad_day: int = BAD_DAY, naive_extra: float = BAD_DAY_EXTRA
) -> None:
    """A month of a forecast that is good but for one day.

    Args:
        models: where the metrics history is.
        now: the last window ends at its hour.
        bad_day: how many days ago the forecast was off.
        naive_extra: by how much more than usual the naive forecast was off on that day, in EUR/kWh.
    """
    dice = Random(7)  # noqa: S311 - a simulation
    tracker = ModelMetricsTracker(str(models))
    last = now.replace(minute=0, second=0, microsecond=0)
    errors: list[float] = []
    for back in range(30, -1, -1):
        end = last - timedelta(days=back)
        mae = 0.011 + 0.004 * dice.random() + (BAD_DAY_EXTRA if back == bad_day else 0.0)
        metrics = {
            "mae": mae,
            "n": 24.0,
            "naive_mae": 0.016 + 0.006 * dice.random() + (naive_extra if back == bad_day else 0.0),
            "baseline_mae": median(errors) if len(errors) >= 7 else None,
        }
        errors.append(mae)
        tracker.log_metrics(MODEL, metrics, version="1@demo", window=(end - timedelta(days=1), end))


def round_of(
    hostname: str, at: datetime, *, latency_ms: float = 41.5, tailnet: str = "demo"
) -> ConnectionRow:
    """One relayed round of a node, as a collection would have written it."""
    return ConnectionRow(
        time=at,
        tailnet=tailnet,
        hostname=hostname,
        connection_type="relay",
        relay_node="fra",
        latency_avg=latency_ms,
        latency_min=latency_ms - 1.5,
        latency_max=latency_ms + 2.5,
        latency_cold=latency_ms + 18.5,
        pings_sent=6,
        pings_received=6,
        tx_bytes=1000,
        rx_bytes=2000,
        tx_delta=1000,
        rx_delta=2000,
    )


def add_rounds(state: Path, rounds: Iterable[ConnectionRow]) -> None:
    """Write these rounds, as a collection would have."""
    store = store_of(state)
    store.write(CONNECTIONS, list(rounds))
    store.close()


@dataclass
class LiveApi:
    """The API's process on a port that stays its own over restarts."""

    state: Path
    port: int
    server: Server

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait for its first answer."""
        self.server.start()
        self.server.wait_until(self._answers, within_s=60)

    def stop(self) -> None:
        """End it in order."""
        self.server.stop()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/about", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def live_api(state: Path, **settings: str) -> Iterator[LiveApi]:
    """The API over this state; ``settings`` are environment variables."""
    state.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environment = {
        "TSOBS_STATE_DIR": str(state),
        "TSOBS_MODELS_DIR": str(state / "models"),
        "TSOBS_API_PORT": str(port),
        **settings,
    }
    command = [executable, "-m", "tsobs_pipelines.api"]
    server = Server("the API", command, state / "api.out", environment=environment)
    api = LiveApi(state, port, server)
    try:
        api.start()
        yield api
    finally:
        api.stop()


def utc_now() -> datetime:
    """The present, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
