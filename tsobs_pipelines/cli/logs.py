"""``tsobs logs``: searches the logs, and follows them as they are written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import click

from tsobs_pipelines.logs.files import log_directory
from tsobs_pipelines.logs.following import LogFollower
from tsobs_pipelines.logs.formatter import visible
from tsobs_pipelines.logs.levels import NAMES
from tsobs_pipelines.logs.lines import Entry
from tsobs_pipelines.logs.matching import LogQuery
from tsobs_pipelines.logs.search import LogResult, search
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import SettingsError, load_settings

FOLLOW_EVERY_S = 0.5

_COLOURS = {
    "DEBUG": "bright_black",
    "INFO": "green",
    "WARNING": "yellow",
    "ERROR": "red",
    "CRITICAL": "magenta",
}
_SHOWN_FIRST = frozenset(
    {"timestamp", "level", "logger", "message", "module", "function", "line", "exception", "stack"}
)


@click.command()
@click.option(
    "--level",
    type=click.Choice(NAMES, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="This level and those above it.",
)
@click.option("--hours", type=float, default=24.0, show_default=True, help="How far back.")
@click.option(
    "--limit", type=int, default=100, show_default=True, help="Maximum number of entries, the newest."
)
@click.option("--q", "text", help="Plain text anywhere in the entry; case-sensitive.")
@click.option("--logger", help="A logger and its children.")
@click.option("--user", help="The Tailscale login of a request.")
@click.option("--run-id", help="Id of a run, or at least its first 8 characters.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the JSON of GET /logs/search; with --follow, JSON lines."
)
@click.option("--follow", "-f", is_flag=True, help="Keep printing new entries.")
def logs(  # noqa: PLR0913 - one argument for each option
    *,
    level: str,
    hours: float,
    limit: int,
    text: str | None,
    logger: str | None,
    user: str | None,
    run_id: str | None,
    as_json: bool,
    follow: bool,
) -> None:
    """Search the logs. In a terminal the newest entry is the last line; with --json it is the first."""
    try:
        query = LogQuery(level.upper(), hours, limit, text, logger, user, run_id)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    directory = log_directory(load_settings().state_dir)
    try:
        follower = LogFollower(directory, query, datetime.now(UTC)) if follow else None
        result = search(directory, query, datetime.now(UTC))
    except OSError as error:
        raise SettingsError(
            f"{shown_value(str(directory), 300)}: the logs can't be read ({error.strerror})"
        ) from None
    show = _line_of_json if as_json else _coloured
    if as_json and not follow:
        click.echo(json.dumps(result.as_answer()))
    else:
        for entry in reversed(result.entries):
            click.echo(show(entry))
    _say_what_is_missing(result)
    if follower is not None:
        for entry in new_entries(follower, result.entries):
            click.echo(show(entry))


def new_entries(follower: LogFollower, shown: Sequence[Entry]) -> Iterator[Entry]:
    """What is written from now on, each entry once; never ends.

    Between the follower's start and the search some lines were written that both see: ``shown`` has them.
    """
    known = {_identity(entry) for entry in shown}
    while True:
        for entry in follower.look(datetime.now(UTC)):
            if not known or _identity(entry) not in known:
                yield entry
        known = set()
        time.sleep(FOLLOW_EVERY_S)


def _identity(entry: Entry) -> str:
    return json.dumps(entry, sort_keys=True)


def _line_of_json(entry: Entry) -> str:
    return json.dumps(entry, separators=(",", ":"))


def _coloured(entry: Entry) -> str:
    level = str(entry["level"])
    stamp = click.style(str(entry["timestamp"])[:23] + "Z", dim=True)
    name = click.style(visible(str(entry["logger"])), fg="cyan")
    extras = " ".join(f"{key}={_short(value)}" for key, value in entry.items() if key not in _SHOWN_FIRST)
    badge = click.style(f"{level:<8}", fg=_COLOURS.get(level))
    line = f"{stamp} {badge} {name} {visible(str(entry['message']))}"
    if extras:
        line += " " + click.style(visible(extras), dim=True)
    for key in ("exception", "stack"):
        if entry.get(key):
            line += "\n" + click.style(visible(str(entry[key])).rstrip(), fg="bright_black")
    return line.replace("\n", "\n    ")


def _short(value: object) -> str:
    return value if isinstance(value, str) and value and " " not in value else json.dumps(value)


def _say_what_is_missing(result: LogResult) -> None:
    if result.skipped:
        click.echo(f"{result.skipped} broken or foreign lines were passed over", err=True)
    for name in result.unreadable:
        click.echo(f"could not be read: {name}", err=True)
