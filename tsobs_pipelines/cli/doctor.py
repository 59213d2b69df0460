"""``tsobs doctor``: checks everything tsobs depends on, and says how to fix what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from tsobs_pipelines.doctor.delivery import look_at_links, look_at_outbox
from tsobs_pipelines.doctor.findings import Finding, Look, examine
from tsobs_pipelines.doctor.machine import (
    look_at_models,
    look_at_ports,
    look_at_settings,
    look_at_state,
)
from tsobs_pipelines.doctor.services import (
    look_at_influx,
    look_at_prices,
    look_at_sidecars,
    look_at_telegram,
)
from tsobs_pipelines.doctor.storage import look_at_dagster, look_at_database
from tsobs_pipelines.settings import load_settings

LOOKS: Sequence[tuple[str, Look]] = (
    ("settings", look_at_settings),
    ("state directory", look_at_state),
    ("sidecar", look_at_sidecars),
    ("InfluxDB", look_at_influx),
    ("database", look_at_database),
    ("Dagster storage", look_at_dagster),
    ("models", look_at_models),
    ("prices", look_at_prices),
    ("Telegram", look_at_telegram),
    ("links in alerts", look_at_links),
    ("outbox", look_at_outbox),
    ("ports", look_at_ports),
)

_MARKS = {"ok": "ok    ", "warning": "note  ", "failed": "FAILED"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Check everything tsobs depends on; exit status 1 if a check fails. Sends and writes nothing."""
    found = examine(load_settings(), LOOKS, lambda: datetime.now(UTC))
    failed = [finding for finding in found if finding.level == "failed"]
    if as_json:
        click.echo(
            json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in found]}, indent=2)
        )
    else:
        _print(found)
    sys.exit(1 if failed else 0)


def _print(found: Sequence[Finding]) -> None:
    width = max(len(finding.name) for finding in found)
    for finding in found:
        version = f" [{finding.version}]" if finding.version else ""
        click.echo(f"{_MARKS[finding.level]} {finding.name:<{width}}  {finding.detail}{version}")
        if finding.remedy:
            click.echo(f"{'':<{width + 7}}  → {finding.remedy}")
    failed = sum(finding.level == "failed" for finding in found)
    click.echo(f"{failed} of {len(found)} looks failed." if failed else "Nothing fails.")
