"""``tsobs up``: runs preflight checks, then replaces this process with the supervisor."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NoReturn

import click

from tsobs_pipelines.alerting.channels import channel_names
from tsobs_pipelines.alerting.notify import UnusableAddressError, check_address
from tsobs_pipelines.dagster_storage.configuration import write_home
from tsobs_pipelines.dagster_storage.home import dagster_environment
from tsobs_pipelines.dagster_storage.initialise import initialise_instance
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.forecasting.model_files import check_models_dir
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.prices.source import PriceSourceError, PriceSourceSetupError
from tsobs_pipelines.logs.setup import INTAKE_ENVIRONMENT
from tsobs_pipelines.price_sources import source_label
from tsobs_pipelines.processes.filling import show_filling
from tsobs_pipelines.processes.parts import parts
from tsobs_pipelines.processes.supervisor import Plan
from tsobs_pipelines.secret_url import masked
from tsobs_pipelines.serving.listening import ABOUT_THE_PORT, why_not_free
from tsobs_pipelines.settings import Settings, SettingsError, unknown_names
from tsobs_pipelines.state_directory import prepare_state
from tsobs_pipelines.tailnet.userspace import REMEDY, WARNING, userspace_daemon_here
from tsobs_pipelines.upkeep.integrity import check_whole


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
        error = why_not_free(host, port)
        if error is not None:
            named = f"{name}={port}" if error.errno in ABOUT_THE_PORT else f"TSOBS_API_HOST={host}"
            raise SettingsError(f"{named}: can't listen on {host} port {port} ({error.strerror})")
    if settings.dagster_port == settings.api_port:
        raise SettingsError(f"TSOBS_API_PORT={settings.api_port}: the same as TSOBS_DAGSTER_PORT")


PROBE_TIMEOUT_S = 3.0
"""For the price source at the start."""


def check_prices(settings: Settings) -> None:
    """Make one test request to the price source: a warning if it fails, since that may be transient.

    Raises:
        SettingsError: it can't work as it is set up, so that no run ever could.
    """
    source = open_price_source(settings)
    today = market_of(settings).day_of(datetime.now(UTC))
    try:
        source.probe(today, PROBE_TIMEOUT_S)
    except PriceSourceSetupError as error:
        raise SettingsError(f"TSOBS_PRICE_SOURCE={masked(settings.price_source)!r}: {error}") from None
    except PriceSourceError as error:
        click.echo(f"warning: no prices yet: {error}", err=True)


def check_notify_urls(settings: Settings) -> None:
    """Have Apprise read the addresses of alerts; nothing is sent.

    Raises:
        SettingsError: it can't use one of them.
    """
    for position, target in enumerate(settings.notify_urls, 1):
        try:
            check_address(target)
        except UnusableAddressError as error:
            raise SettingsError(f"TSOBS_NOTIFY_URLS: entry {position} ({target}): {error}") from None


FORK_ENVIRONMENT = {
    # glibc gives many threads a heap each, needless where one runs at a time.
    "MALLOC_ARENA_MAX": "2",
    # It also keeps freed memory, the more the larger it was: 4 MB in the code server.
    "MALLOC_TRIM_THRESHOLD_": "131072",
    # numpy would start a thread for each core, which no fork has.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""Fewer threads and less memory, for the fork server and all that is forked from it."""


def banner(settings: Settings) -> str:
    """What the person at the terminal reads once everything answers; ``{}`` stands for the seconds."""
    first = settings.first_tailnet
    tailnet = f"{first.source} (set TSOBS_SIDECAR_URL for yours)" if first.demo else first.source
    further = [f"               {one.name} {one.sidecar_url}" for one in settings.further_tailnets]
    prices = source_label(masked(settings.price_source))
    if settings.demo_prices:
        prices += " (set TSOBS_PRICE_SOURCE for yours)"
    store = f"InfluxDB {settings.influx_url}" if settings.influx_url else "SQL"
    alerts = ", ".join(channel_names(settings)) or "outbox only (set TELEGRAM_BOT_TOKEN or TSOBS_NOTIFY_URLS)"
    return "\n".join(
        [
            "tsobs is up ({} s)",
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


def run_up(settings: Settings) -> NoReturn:
    """Start everything and stay until SIGINT or SIGTERM.

    Raises:
        SettingsError: a port is taken, the price source can't work, the state directory can't be used, or
            tsobs runs there already.
    """
    begun = time.monotonic()
    prepare_state(settings, datetime.now(UTC).date())
    _be_the_only_one(settings)
    check_models_dir(settings)
    check_ports(settings)
    check_prices(settings)
    check_notify_urls(settings)
    for name, similar in unknown_names().items():
        hint = f", did you mean {similar}?" if similar else ""
        click.echo(f"warning: {name} is not a setting of tsobs{hint}", err=True)
    if userspace_daemon_here():
        click.echo(f"warning: {WARNING}: {REMEDY}", err=True)
    home = write_home(settings)
    click.echo("starting tsobs …")
    check_whole(filter(None, [settings.database_file]))
    initialise_instance(settings)
    plan = Plan(
        tuple(parts(settings, home)), str(home.fork_socket), begun, banner(settings), "tsobs has ended"
    )
    show_filling()
    # The terminal shows a few lines only; logs go to the file of the day.
    become_supervisor(settings, plan, INTAKE_ENVIRONMENT)


def become_supervisor(settings: Settings, plan: Plan, more: Mapping[str, str]) -> NoReturn:
    """Replace this process, and all that it has imported, with the supervisor of this plan."""
    environment = {
        **FORK_ENVIRONMENT,
        **os.environ,
        **dagster_environment(settings),
        **more,
        **plan.environment(),
        "TSOBS_START_DATE": settings.start_date.isoformat(),
    }
    sys.stdout.flush()
    # multiprocessing warns that it removes what killed processes left in /dev/shm, which is harmless.
    quiet = "ignore::UserWarning:multiprocessing.resource_tracker"
    command = [sys.executable, "-W", quiet, "-m", "tsobs_pipelines.processes", "supervisor"]
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell


def _be_the_only_one(settings: Settings) -> None:
    """Hold the state directory's lock until this process, which becomes another program, has ended."""
    try:
        lock = os.open(settings.state_dir / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SettingsError(
            f"TSOBS_STATE_DIR={str(settings.state_dir)!r}: tsobs is already running on this directory"
        ) from None
    except OSError as error:
        raise SettingsError(f"{settings.state_dir / 'up.lock'}: can't be locked ({error.strerror})") from None
    os.set_inheritable(lock, True)  # noqa: FBT003 - the standard library's
