"""Queries the HTTP API of a running tsobs, here or elsewhere, for its current state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from tsobs_pipelines.api.schemas import (
    About,
    Alert,
    AlertsAnswer,
    Health,
    MetricsHistory,
    ModelVerdict,
    NodesAnswer,
    StripsAnswer,
)

TIMEOUT_S = 10.0
_Answer = TypeVar("_Answer", bound=BaseModel)


class NoAnswerError(Exception):
    """Nothing that could be understood came back; the text is one line that names the address."""


@dataclass(frozen=True, slots=True)
class TailnetState:
    """The nodes of one tailnet, and their last hour."""

    nodes: NodesAnswer
    strips: StripsAnswer


@dataclass(frozen=True, slots=True)
class State:
    """What a tsobs reports about itself and about what it watches."""

    url: str
    about: About
    tailnets: list[TailnetState]
    firing: list[Alert]
    forecast: ModelVerdict | None
    health: Health

    @property
    def ok(self) -> bool:
        """Whether nothing fires, every part is well and every critical node answered in its newest round."""
        nodes = [node for tailnet in self.tailnets for node in tailnet.nodes.nodes if node.critical]
        reached = all(node.state in REACHED for node in nodes)
        return reached and self.health.ok and not self.firing


REACHED = frozenset({"direct", "peer-relay", "relay", "self"})
"""States in which a ping was answered, or in which none is needed."""


def ask_state(url: str, client: httpx.Client) -> State:
    """The present state of the tsobs at ``url``, in a handful of requests.

    Raises:
        NoAnswerError: it can't be reached, refuses, or is of a version whose answers differ.
    """
    about = _ask(client, f"{url}/about", About)
    tailnets = [
        TailnetState(
            _ask(client, f"{url}/health-monitoring/nodes", NodesAnswer, tailnet=name),
            _ask(client, f"{url}/health-monitoring/strips", StripsAnswer, tailnet=name),
        )
        for name in about.tailnets
    ]
    model = {"model_name": about.model_name, "limit": "1"}
    history = _ask(client, f"{url}/models/metrics-history", MetricsHistory, **model)
    firing = _ask(client, f"{url}/alerts", AlertsAnswer).firing
    health = _ask(client, f"{url}/healthz", Health)
    return State(url, about, tailnets, firing, history.verdict, health)


def _ask(client: httpx.Client, url: str, form: type[_Answer], **query: str) -> _Answer:
    try:
        answer = client.get(url, params=query)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NoAnswerError(f"{url}: {type(error).__name__}: {error}") from error
    # An unhealthy part makes it 503, but the body is a complete answer.
    if answer.status_code != 200 and not (form is Health and answer.status_code == 503):
        raise NoAnswerError(f"{url} answered {answer.status_code}: {' '.join(answer.text.split())[:200]}")
    try:
        return form.model_validate_json(answer.content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise NoAnswerError(
            f"{url}: not an answer of this version of tsobs ({place}: {first['msg']})"
        ) from error


def since(strips: StripsAnswer, hostname: str) -> datetime | None:
    """The round since which a node has had its newest state; ``None``: since before the strip begins."""
    rounds = next((strip.rounds for strip in strips.nodes if strip.hostname == hostname), [])
    seen = [one for one in rounds if one.state not in {"none", "awaited"}]
    begun = None
    for one in reversed(seen):
        if one.state != seen[-1].state:
            return begun
        begun = one.at
    return None
