"""``tsobs alerts`` and ``tsobs mute``: list and mute alerts, and send a test message."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta

import click

from tsobs_pipelines.alerting import history, mutes, outbox
from tsobs_pipelines.alerting.channels import channel_names, channels_of
from tsobs_pipelines.alerting.depth import Depth, depth
from tsobs_pipelines.alerting.history import Incident
from tsobs_pipelines.alerting.messages import EMOJI, duration
from tsobs_pipelines.alerting.outbox import Delivery
from tsobs_pipelines.alerting.reference import rules_messages, rules_table
from tsobs_pipelines.alerting.rule import Severity, Unit
from tsobs_pipelines.alerting.text import clean, link
from tsobs_pipelines.database import DatabaseError, engine_for
from tsobs_pipelines.settings import load_settings

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST_MUTE = timedelta(days=90)


class Span(click.ParamType[timedelta]):
    """A span such as ``90m``, ``2h`` or ``1d``."""

    name = "span"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The span."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,5})([mhd])", str(value))
        span = int(found[1]) * _UNITS[found[2]] if found else None
        if span is None or span > _LONGEST_MUTE:
            self.fail(
                f"{value!r}: expected minutes, hours or days up to 90 d, such as 90m, 2h or 1d", param, ctx
            )
        return span


@click.group(invoke_without_command=True)
@click.option("--days", default=30, show_default=True, help="How far back.", type=click.IntRange(1, 3650))
@click.option(
    "--limit", default=20, show_default=True, help="How many past incidents.", type=click.IntRange(1)
)
@click.pass_context
def alerts(context: click.Context, days: int, limit: int) -> None:
    """Show firing alerts and recent incidents; the sub-command `test` sends a test message."""
    if context.invoked_subcommand is not None:
        return
    now = datetime.now(UTC)
    try:
        settings = load_settings()
        engine = engine_for(settings.database_url)
        firing = history.firing(engine)
        past = history.recent(engine, now - timedelta(days=days), limit + len(firing))
        muted = history.muted(engine, now)
        unsent = depth(engine, channel_names(settings))
    except DatabaseError as error:
        raise click.ClickException(str(error)) from error
    further = {tailnet.name for tailnet in settings.further_tailnets}
    click.echo("Firing now:" if firing else "Nothing fires.")
    _print(firing, further, now)
    over = [incident for incident in past if incident not in firing][:limit]
    click.echo(f"\nThe last {days} days:" if over else f"\nNothing else in the last {days} days.")
    _print(over, further, now)
    for topic, until in muted.items():
        click.echo(f"Muted until {until:%Y-%m-%d %H:%M} UTC: {clean(topic)}")
    if unsent.pending:
        click.echo(f"{unsent.pending} messages wait to be sent.")
    _print_channels(unsent)


def _print_channels(unsent: Depth) -> None:
    for name, one in unsent.channels.items():
        if one.refused is not None:
            click.echo(f"{name}: the newest message was refused: {clean(one.refused)}")
        elif one.waits_for:
            click.echo(f"{name}: {one.pending} wait, the oldest: {clean(one.waits_for)}")


def _print(incidents: Sequence[Incident], further: Set[str], now: datetime) -> None:
    for incident in incidents:
        if incident.until is not None:
            span = f"{duration(incident.until - incident.since)}"
        else:
            span = (
                f"{duration(now - incident.since)}, goes on" if incident.origin == "live" else "end unknown"
            )
        state = (
            incident.origin if incident.origin == "historical" else incident.first_message.fate or "not told"
        )
        demo = " DEMO" if incident.scope.endswith("demo") else ""
        tailnet = f" {incident.scope}" if incident.scope in further else ""
        click.echo(
            f"  {incident.since:%Y-%m-%d %H:%M} UTC  {clean(incident.topic)}  {span}{_worst(incident)}"
            f"  [{state}{demo}{tailnet}]{'  ' + clean(incident.detail) if incident.detail else ''}"
        )


def _worst(incident: Incident) -> str:
    if incident.worst is None or incident.unit is Unit.NONE:
        return ""
    return f", worst {incident.unit.text(incident.worst)}"


@alerts.command()
def test() -> None:
    """Send a test message through every channel and print the answer of each.

    Exit status 1 when one did not accept it.
    """
    settings, now = load_settings(), datetime.now(UTC)
    head = f"{EMOJI[Severity.RESOLVED]} <b>TEST</b> tsobs can reach you here. A link to try:"
    text = f"{head}\n{link('page', settings.page_url)}"
    try:
        engine = engine_for(settings.database_url)
        number = outbox.enqueue_test(engine, text, now)
        outbox.deliver(engine, channels_of(settings), lambda: datetime.now(UTC))
        sent = outbox.message(engine, number)
    except DatabaseError as error:
        raise click.ClickException(str(error)) from error
    assert sent is not None  # noqa: S101 - it was just written
    for delivery in sent.deliveries:
        click.echo(f"{delivery.channel}: {_answer(delivery)}")
    if not sent.deliveries:
        click.echo(f"{sent.fate}: {sent.reason}")
    sys.exit(0 if sent.fate == "sent" else 1)


def _answer(delivery: Delivery) -> str:
    number = f", message {delivery.receipt}" if delivery.receipt is not None else ""
    reason = delivery.reason or ("earlier messages go first" if delivery.fate == "pending" else "")
    return f"{delivery.fate}{number}{': ' + reason if reason else ''}"


@alerts.command()
def rules() -> None:
    """Print the rules and an example of their messages, as Markdown."""
    click.echo(f"{rules_table()}\n\n```\n{rules_messages()}\n```")


@click.command()
@click.argument("topic")
@click.argument("span", type=Span(), required=False)
@click.option("--off", is_flag=True, help="End the mute.")
def mute(topic: str, span: timedelta | None, *, off: bool) -> None:
    """Mute TOPIC for SPAN: tsobs mute latency_git 2h, or 'relay_*' for all topics of a rule.

    An alert that is still firing when the mute ends is sent then; the history keeps all incidents.
    """
    if off == (span is not None):
        raise click.UsageError("expected a span such as 2h, or --off")
    try:
        engine = engine_for(load_settings().database_url)
        if span is None:
            click.echo(f"{topic} {'is no longer muted' if mutes.unmute(engine, topic) else 'was not muted'}.")
            return
        until = datetime.now(UTC) + span
        mutes.mute(engine, topic, until)
    except DatabaseError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{topic} is muted until {until:%Y-%m-%d %H:%M} UTC.")
