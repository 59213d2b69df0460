"""``tsobs run PART``: one part of ``tsobs up`` in the foreground, for containers and systemd."""

from __future__ import annotations

import click

from tsobs_pipelines.settings import load_settings

_PARTS = ("code", "webserver", "daemon", "api")


@click.command()
@click.argument("part", type=click.Choice(_PARTS))
@click.option("--host", help="Address that the webserver listens on; it knows no users.")
def run(part: str, host: str | None) -> None:
    """Run one PART as a service of its own; `tsobs up` runs them all."""
    if host is not None and part != "webserver":
        raise click.UsageError("--host is the webserver's; the API has TSOBS_API_HOST")
    settings = load_settings()
    from tsobs_pipelines.processes.service import run_part  # noqa: PLC0415 - other commands start nothing

    run_part(settings, part, *([host] if host else []))
