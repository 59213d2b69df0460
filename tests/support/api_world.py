"""An API for tests: the real application on a real SQLite store, with the demo tailnet behind it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Self

import httpx
import uvicorn
from fastapi import FastAPI

from tests.support.sidecars import served
from tsobs_pipelines.alerting.channels import channel_names
from tsobs_pipelines.alerting.depth import depth
from tsobs_pipelines.alerting.evaluation import Observed, evaluate
from tsobs_pipelines.alerting.machine import Signal, Verdict
from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.api.dagster_records import DagsterRecords
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.api.incidents import AlertHistory
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.demo.market import DemoMarket
from tsobs_pipelines.demo.server import DemoServer
from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.forecasting.scoring import FrozenForecast, forecast_rows
from tsobs_pipelines.logs.search import search
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.timeseries.open import open_store
from tsobs_pipelines.timeseries.schema import CONNECTIONS, FORECASTS, PRICES, ConnectionRow
from tsobs_pipelines.timeseries.store import TimeSeriesStore

NOW = datetime(2026, 11, 24, 12, 0, 30, tzinfo=UTC)
NODES = ("git", "chocolate-factory-dev", "chocolate-factory")
LOOPBACK = "127.0.0.1"


def settings_of(state: Path, **values: object) -> Settings:
    """Settings with these values, by the name of their field, and nothing of the tester's environment."""
    given = {"state_dir": state, "models_dir": str(state / "models"), **values}
    names = {name: str(field.validation_alias) for name, field in Settings.model_fields.items()}
    return Settings.model_validate({names[name]: value for name, value in given.items()})


def parts_of(settings: Settings, sidecar_url: str, store: TimeSeriesStore | None = None) -> Parts:
    """The real parts for these settings, at the time ``NOW``."""
    sidecar = TailscaleHealthService(sidecar_url, critical_nodes=settings.critical_nodes)
    return Parts(
        settings=settings,
        store=store or open_store(settings),
        sidecars={settings.first_tailnet.name: sidecar},
        incidents=AlertHistory(settings),
        outbox=lambda: depth(engine_for(settings.database_url), channel_names(settings)),
        dagster=DagsterRecords(settings),
        tracker=ModelMetricsTracker(settings.models_dir),
        search_logs=partial(search, settings.state_dir / "logs"),
        clock=lambda: NOW,
    )


@contextmanager
def demo_sidecar() -> Iterator[str]:
    """The address of a demo tailnet at the time ``NOW``."""
    server = DemoServer(0, clock=lambda: NOW)
    with served(server):
        yield server.url


def seed(parts: Parts) -> None:
    """Two days of rounds through the collector, three evaluations, an alert that fires, some log lines."""
    home = parts.settings.first_tailnet
    sidecar = parts.sidecars[home.name]
    assert isinstance(sidecar, TailscaleHealthService)
    collector = Collector(sidecar, parts.store, home.critical_nodes, home.name)
    for days_back in (1, 0):
        collector.collect_day((NOW - timedelta(days=days_back)).date())
    seed_models(parts.settings)
    seed_forecasts(parts)
    alert_store = AlertStore(engine_for(parts.settings.database_url), home.name)
    begun = NOW - timedelta(minutes=10)
    slow = Signal(NOW - timedelta(minutes=5), begun, Verdict.BAD, 150.0, 100.0)
    observed = Observed(NOW - timedelta(hours=1), NOW, {"git": [slow]})
    source = Source("http://page", "http://dagster")
    evaluate(alert_store, LATENCY, lambda _: observed, source, NOW)
    write_log(parts.settings, "ERROR", "the store is down", logger="tsobs_pipelines.defs")
    write_log(parts.settings, "INFO", "collected 5 rounds", logger="tsobs_pipelines.tailnet")


def seed_models(settings: Settings) -> None:
    """Three evaluations of the default model."""
    tracker = ModelMetricsTracker(settings.models_dir, clock=lambda: NOW)
    for back in (3, 2, 1):
        window = (NOW - timedelta(days=back + 1), NOW - timedelta(days=back))
        whole = tuple(at.replace(minute=0, second=0) for at in window)
        metrics = {"mae": 0.01 * back, "rmse": 0.02, "r2": 0.9, "n": 24.0, "naive_mae": 0.03}
        tracker.log_metrics(DEFAULT_MODEL, metrics, version="v1", window=(whole[0], whole[1]))


def seed_forecasts(parts: Parts, now: datetime = NOW) -> None:
    """Prices of yesterday and today, forecasts of both and of tomorrow, on demo prices."""
    market = Market(parts.settings.market_timezone)
    today = market.day_of(now)
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    points = DemoMarket(market).fetch(yesterday, tomorrow)
    known = [point for point in points if point.start < market.end_of(today)]
    parts.store.write(PRICES, [{"time": p.start, "source": "demo", "price": p.price} for p in known])
    frozen = [
        FrozenForecast(
            hour=point.start,
            version="v1",
            yhat=point.price + 0.004,
            lower=point.price - 0.010,
            upper=point.price + 0.018,
            issued_at=market.issued_at(market.day_of(point.start)),
            trained_to=market.start_of(yesterday),
            backfilled=False,
        )
        for point in points
    ]
    parts.store.write(FORECASTS, forecast_rows(frozen, "demo", DEFAULT_MODEL))


def write_log(settings: Settings, level: str, message: str, *, logger: str = "tests", **extra: str) -> None:
    """Append one line to the day file of ``NOW``, a minute before it."""
    from tsobs_pipelines.logs.encoding import LineEncoder  # noqa: PLC0415
    from tsobs_pipelines.logs.redact import Redactor  # noqa: PLC0415

    folder = settings.state_dir / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    at = (NOW - timedelta(minutes=1)).timestamp()
    line = LineEncoder(Redactor()).line(at, level, logger, message, ("m", "f", 1), dict(extra))
    with (folder / f"tsobs-{NOW:%Y-%m-%d}.jsonl").open("a") as file:
        file.write(line + "\n")


def rounds(
    count: int, *, hostname: str = "git", end: datetime = NOW, tailnet: str = "demo", every_s: int = 60
) -> list[ConnectionRow]:
    """``count`` rounds up to ``end``, with a saw of latencies, a spike, a relayed stretch and one loss."""
    last = end.replace(second=0, microsecond=0)
    found = []
    for number in range(count):
        latency: float | None = 10.0 + number % 50
        if number == count // 2:
            latency = 900.0
        if number == count // 3:
            latency = None
        relayed = count // 4 <= number < count // 4 + 5
        found.append(
            CONNECTIONS.conform(
                {
                    "time": last - timedelta(seconds=every_s * (count - 1 - number)),
                    "tailnet": tailnet,
                    "hostname": hostname,
                    "connection_type": "unreachable" if latency is None else "relay" if relayed else "direct",
                    "relay_node": "fra" if relayed else "none",
                    "latency_avg": latency,
                    "latency_min": None if latency is None else latency - 1,
                    "latency_max": None if latency is None else latency + 1,
                    "pings_sent": 5,
                    "pings_received": 0 if latency is None else 5,
                    "tx_delta": 10,
                    "rx_delta": 20,
                }
            )
        )
    return found


class Api:
    """Asks an application, each request from the address that is given."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End its event loop."""
        self._runner.close()

    def get(
        self,
        path: str,
        *,
        address: str = LOOPBACK,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        method: str = "GET",
        host: str = "127.0.0.1:8000",
    ) -> httpx.Response:
        """One request."""
        return self._runner.run(self._get(method, path, address, host, headers))

    async def _get(
        self,
        method: str,
        path: str,
        address: str,
        host: str,
        headers: Mapping[str, str] | Sequence[tuple[str, str]],
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, client=(address, 50000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
            return await client.request(method, path, headers=[("Host", host), *pairs])


@contextmanager
def api_of(parts: Parts) -> Iterator[Api]:
    """The application over these parts."""
    with Api(create_app(parts.settings, parts)) as api:
        yield api


def with_settings(parts: Parts, **values: object) -> Parts:
    """The same parts under other settings."""
    return replace(parts, settings=settings_of(parts.settings.state_dir, **values))


@contextmanager
def listening(app: FastAPI, host: str = LOOPBACK) -> Iterator[str]:
    """The application behind a real socket, as ``serve.py`` runs it; gives its address."""
    config = uvicorn.Config(app, host=host, port=0, proxy_headers=False, access_log=False, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(10)
