"""``tsobs doctor``: checks everything tsobs depends on, and says how to fix what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click
from rich.text import Text

from tsobs_pipelines.doctor.delivery import check_links, check_notify_urls, check_outbox
from tsobs_pipelines.doctor.findings import Check, Finding, examine
from tsobs_pipelines.doctor.machine import (
    check_models,
    check_ports,
    check_settings,
    check_state,
)
from tsobs_pipelines.doctor.services import (
    check_influx,
    check_prices,
    check_sidecars,
    check_telegram,
)
from tsobs_pipelines.doctor.storage import check_dagster, check_database
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.terminal import console, printable

CHECKS: Sequence[tuple[str, Check]] = (
    ("settings", check_settings),
    ("state directory", check_state),
    ("sidecar", check_sidecars),
    ("InfluxDB", check_influx),
    ("database", check_database),
    ("Dagster storage", check_dagster),
    ("models", check_models),
    ("prices", check_prices),
    ("Telegram", check_telegram),
    ("channels", check_notify_urls),
    ("links in alerts", check_links),
    ("outbox", check_outbox),
    ("ports", check_ports),
)

_MARKS = {"ok": "ok    ", "warning": "note  ", "failed": "FAILED"}
_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Check everything tsobs depends on; exit status 1 if a check fails. Sends and writes nothing."""
    found = examine(load_settings(), CHECKS, lambda: datetime.now(UTC))
    failed = [finding for finding in found if finding.level == "failed"]
    if as_json:
        click.echo(
            json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in found]}, indent=2)
        )
    else:
        _print(found)
    sys.exit(1 if failed else 0)


def _print(found: Sequence[Finding]) -> None:
    screen = console()
    width = max(len(finding.name) for finding in found)
    for finding in found:
        version = f" [{finding.version}]" if finding.version else ""
        mark = Text(_MARKS[finding.level], style=_STYLES[finding.level])
        screen.print(
            mark.append(f" {finding.name:<{width}}  {printable(finding.detail + version)}", style="default")
        )
        if finding.remedy:
            screen.print(Text(f"{'':<{width + 7}}  → {finding.remedy}"))
    failed = sum(finding.level == "failed" for finding in found)
    last = f"{failed} of {len(found)} looks failed." if failed else "Nothing fails."
    screen.print(Text(last, style=_STYLES["failed" if failed else "ok"]))
