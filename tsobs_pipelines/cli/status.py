"""``tsobs status``: nodes, alerts, forecast and parts of a running tsobs, in the terminal."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime

import click
from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tsobs_pipelines.alerting.messages import duration
from tsobs_pipelines.api.schemas import Alert, Node
from tsobs_pipelines.cli.remote import NoAnswerError, State, TailnetState, ask_state, remote_address, since
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.terminal import console

UNHEALTHY = 1
NO_ANSWER = 3

_STYLES = {
    "direct": "green",
    "self": "green",
    "peer-relay": "cyan",
    "relay": "yellow",
    "unreachable": "bold red",
    "offline": "red",
    "absent": "bold red",
}


@click.command()
@click.option(
    "--url", help="Address of another tsobs, such as https://tsobs.tail1234.ts.net.  [default: this one]"
)
@click.option("--watch", is_flag=True, help="Refresh every few seconds, until Ctrl-C.")
@click.option(
    "--every",
    default=10,
    show_default=True,
    type=click.IntRange(1, 3600),
    help="Seconds between refreshes, with --watch.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, url: str | None, watch: bool, every: int, as_json: bool) -> None:
    """Show nodes, firing alerts, the forecast and the parts of a running tsobs.

    Exit status: 0 healthy, 1 an alert fires or a part is unhealthy, 2 wrong usage, 3 no answer.
    """
    if watch and as_json:
        raise click.UsageError("expected --watch or --json, not both")
    address = remote_address(url if url is not None else load_settings().api_url)
    if watch:
        _watch(address, every)
    try:
        state = ask_state(address)
    except NoAnswerError as error:
        click.echo(f"tsobs: {error}", err=True)
        sys.exit(NO_ANSWER)
    if as_json:
        click.echo(json.dumps(_plain(state), indent=2))
    else:
        console().print(render(state, datetime.now(UTC)))
    sys.exit(0 if state.ok else UNHEALTHY)


def _watch(address: SecretUrl, every: int) -> None:
    with Live(console=console(soft_wrap=False), auto_refresh=False, screen=False) as live:
        while True:
            now = datetime.now(UTC)
            try:
                shown = render(ask_state(address), now)
            except NoAnswerError as error:
                shown = Text(f"{now:%H:%M:%S} UTC  {error}", style="red")
            live.update(shown, refresh=True)
            time.sleep(every)


def _plain(state: State) -> object:
    """The state as JSON, with ``ok`` as the exit status has it."""

    def of_model(items: list[tuple[str, object]]) -> dict[str, object]:
        return {key: _dumped(value) for key, value in items}

    return {"ok": state.ok, **asdict(state, dict_factory=of_model)}


def _dumped(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_dumped(item) for item in value] if isinstance(value, list) else value


def render(state: State, now: datetime) -> RenderableType:
    """The tables that a person reads; ages are relative to ``now``."""
    parts: list[RenderableType] = [_head(state)]
    parts += [_nodes(tailnet, now) for tailnet in state.tailnets]
    parts += [_firing(state.firing, now), _forecast(state), _parts(state)]
    return Group(*parts)


def _age(now: datetime, then: datetime) -> str:
    """How long ago something was; a time without its zone, which only a stranger sends, counts as UTC."""
    return duration(now - (then if then.tzinfo else then.replace(tzinfo=UTC)))


def _head(state: State) -> Text:
    demo = " ".join(
        name
        for name, is_so in (("tailnet", state.about.demo_tailnet), ("prices", state.about.demo_prices))
        if is_so
    )
    text = Text(f"tsobs {state.about.version} at {state.url}", style="bold")
    return text.append(f"  DEMO {demo}", style="magenta") if demo else text


def _nodes(tailnet: TailnetState, now: datetime) -> Table:
    table = Table(title=f"tailnet {tailnet.nodes.tailnet}", title_justify="left", box=None, pad_edge=False)
    for name in ("node", "state", "path", "latency", "loss", "since", "newest round"):
        table.add_column(name, justify="right" if name in {"latency", "loss"} else "left", no_wrap=True)
    for node in tailnet.nodes.nodes:
        table.add_row(*_row(node, tailnet, now))
    if not tailnet.nodes.sidecar.ok:
        table.caption = f"sidecar: {tailnet.nodes.sidecar.detail}"
    return table


def _row(node: Node, tailnet: TailnetState, now: datetime) -> tuple[RenderableType, ...]:
    slow = node.latency_ms is not None and node.latency_ms > node.threshold_ms
    latency = "-" if node.latency_ms is None else f"{node.latency_ms:.1f} ms"
    begun = since(tailnet.strips, node.hostname)
    return (
        node.hostname,
        Text(node.state, style=_STYLES.get(node.state, "dim")),
        f"DERP {node.relay_node}" if node.state == "relay" else "",
        Text(latency, style="red" if slow else ""),
        "-" if node.loss is None else f"{node.loss:.0%}",
        _age(now, begun) if begun else "over an hour",
        f"{_age(now, node.measured_at)} ago" if node.measured_at else "none",
    )


def _firing(firing: list[Alert], now: datetime) -> RenderableType:
    if not firing:
        return Text("\nNothing fires.", style="green")
    table = Table(title="\nfires", title_justify="left", box=None, pad_edge=False, show_header=False)
    for alert in firing:
        worst = "" if alert.worst is None or not alert.unit else f"worst {alert.worst:g} {alert.unit}"
        age = _age(now, alert.since)
        table.add_row(Text(alert.severity, style="bold red"), alert.topic, age, worst, alert.detail)
    return table


def _forecast(state: State) -> Text:
    verdict = state.forecast
    if verdict is None:
        return Text(f"\nforecast {state.about.model_name}: no evaluation yet", style="dim")
    good = not verdict.degraded and not verdict.skill_warning
    return Text(f"\nforecast {verdict.text}", style="" if good else "yellow")


def _parts(state: State) -> Table:
    table = Table(title="\nparts", title_justify="left", box=None, pad_edge=False, show_header=False)
    for name, part in state.health.parts.items():
        mark = Text("ok", style="green") if part.ok else Text("FAILS", style="bold red")
        table.add_row(name, mark, part.detail)
    return table
