"""``tsobs up``: looks before it leaps, starts everything, and says where it is.

What belongs here: the checks before the start, and what the person at the terminal reads. What does not:
the parts themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click
from filelock import FileLock, Timeout

from tsobs_pipelines.engine.home import initialise_instance, prepare_state, write_home
from tsobs_pipelines.engine.integrity import check_whole
from tsobs_pipelines.engine.parts import parts
from tsobs_pipelines.engine.probes import why_not_free
from tsobs_pipelines.engine.supervisor import Supervisor
from tsobs_pipelines.logs.intake import LineIntake
from tsobs_pipelines.logs.keeping import logs_kept
from tsobs_pipelines.logs.setup import INTAKE_ENVIRONMENT, setup_logging
from tsobs_pipelines.secret_url import masked
from tsobs_pipelines.settings import Settings, SettingsError, unknown_names

log = logging.getLogger(__name__)


def check_ports(settings: Settings) -> None:
    """Make sure that the ports can be listened on.

    Raises:
        SettingsError: one can't; the text names the setting.
    """
    wanted = (
        ("TSOBS_DAGSTER_PORT", "127.0.0.1", settings.dagster_port),
        ("TSOBS_API_PORT", settings.api_host, settings.api_port),
    )
    for name, host, port in wanted:
        reason = why_not_free(host, port)
        if reason is not None:
            raise SettingsError(f"{name}={port}: can't listen on {host} port {port} ({reason})")
    if settings.dagster_port == settings.api_port:
        raise SettingsError(f"TSOBS_API_PORT={settings.api_port}: the same as TSOBS_DAGSTER_PORT")


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    lock = FileLock(settings.state_dir / "up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise SettingsError(
            f"TSOBS_STATE_DIR={str(settings.state_dir)!r}: tsobs is already running on this directory"
        ) from None
    try:
        yield
    finally:
        lock.release()


FEW_ARENAS = {"MALLOC_ARENA_MAX": "2"}
"""For every part: glibc gives many threads a heap each, needless where one runs at a time."""


def banner(settings: Settings, seconds: float) -> str:
    """What the person at the terminal reads once everything answers."""
    tailnet = settings.sidecar_url or "DEMO tailnet (set TSOBS_SIDECAR_URL for yours)"
    further = [f"               {one.name} {one.sidecar_url}" for one in settings.further_tailnets]
    prices = "DEMO market (set TSOBS_PRICE_SOURCE)" if settings.demo_prices else masked(settings.price_source)
    store = f"InfluxDB {settings.influx_url}" if settings.influx_url else "SQL"
    alerts = "Telegram" if settings.telegram_bot_token else "outbox only (set TELEGRAM_BOT_TOKEN)"
    return "\n".join(
        [
            f"tsobs is up ({seconds:.0f} s)",
            f"  Dagster UI   {settings.dagster_url}",
            f"  VPN page     {settings.public_url}/vpn.html",
            f"  API          {settings.public_url}/docs",
            f"  tailnet      {tailnet}",
            *further,
            f"  prices       {prices}",
            f"  time series  {store}",
            f"  alerts       {alerts}",
            f"  logs         {settings.state_dir / 'logs'}, or: tsobs logs --follow",
            f"The history since {settings.start_date} fills itself in. Ctrl-C ends everything.",
        ]
    )


def run_up(settings: Settings) -> None:
    """Start everything and stay until SIGINT or SIGTERM.

    Raises:
        SettingsError: a port is taken, the state directory can't be used, or tsobs runs there already.
    """
    begun = time.monotonic()
    prepare_state(settings, datetime.now(UTC).date())
    with _only_one(settings):
        check_ports(settings)
        for name, similar in unknown_names().items():
            hint = f", did you mean {similar}?" if similar else ""
            click.echo(f"warning: {name} is not a setting of tsobs{hint}", err=True)
        # The terminal is for the few lines above; what this process and its parts log goes to the day's file.
        os.environ.update(INTAKE_ENVIRONMENT)
        setup_logging(json_format=settings.log_format_json)
        home = write_home(settings)
        click.echo("starting tsobs …")
        check_whole([settings.state_dir / "tsobs.db"])
        initialise_instance(settings)
        home.socket.unlink(missing_ok=True)
        intake = LineIntake()
        started = {"TSOBS_START_DATE": settings.start_date.isoformat()}
        environment = {**FEW_ARENAS, **os.environ, **started}
        supervisor = Supervisor(parts(settings, home), environment, intake.take, click.echo)
        with contextlib.closing(intake), logs_kept(settings):
            asyncio.run(supervisor.run(lambda: click.echo(banner(settings, time.monotonic() - begun))))
        click.echo("tsobs has ended")
