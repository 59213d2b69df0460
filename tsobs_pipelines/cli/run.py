"""``tsobs run PART``: one part of ``tsobs up`` in the foreground, for containers, systemd and more machines.

What belongs here: arguments. What does not: the parts (``engine/``).
"""

from __future__ import annotations

import click

from tsobs_pipelines.settings import load_settings

_WORKERS = ("ticks", "backfills")
_PARTS = ("code", "webserver", "daemon", *_WORKERS, "api")


@click.command()
@click.argument("part", type=click.Choice(_PARTS))
@click.option("--host", help="Address that the webserver listens on; it knows no users.")
@click.option("--processes", type=click.IntRange(1, 64), help="Runs at a time of a run worker; 1 by default.")
def run(part: str, host: str | None, processes: int | None) -> None:
    """Run one PART as a service of its own; `tsobs up` runs them all.

    The run workers `ticks` and `backfills` may run on other machines as well, beside those of `tsobs up`:
    with the same Redis and Postgres (TSOBS_BROKER_URL, TSOBS_DAGSTER_DATABASE_URL) and the same settings of
    sidecar and stores, TSOBS_START_DATE among them.
    """
    if host is not None and part != "webserver":
        raise click.UsageError("--host is the webserver's; the API has TSOBS_API_HOST")
    if processes is not None and part not in _WORKERS:
        raise click.UsageError("--processes is the run workers': ticks and backfills")
    options = {"--host": host, "--processes": processes}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    settings = load_settings()
    from tsobs_pipelines.engine.service import run_part  # noqa: PLC0415 - other commands need no engine

    run_part(settings, part, given)
