"""Queries the HTTP API of a running tsobs, here or elsewhere, for its current state."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

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
from tsobs_pipelines.secret_url import SecretUrl, masked
from tsobs_pipelines.setting_values import HttpUrl, shown_value
from tsobs_pipelines.settings import SettingsError
from tsobs_pipelines.terminal import printable

ANSWER_WITHIN_S = 10.0
"""Of one request, from the connection to the last byte of its answer."""
ALL_WITHIN_S = 30.0
"""Of all requests together: how many there are depends on the answers."""
MAX_ANSWER_BYTES = 8 * 2**20
"""The strips of a hundred nodes have about 1 MB."""
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


def remote_address(url: str) -> SecretUrl:
    """The address of a tsobs as a person gives it; a user and a password in it stay masked.

    Raises:
        SettingsError: it is none; the text holds nothing of it that may be a secret.
    """
    expected = "an http:// or https:// address without query and fragment"
    if "?" in url or "#" in url:
        raise SettingsError(f"--url {shown_value(masked(url))}: expected {expected}")
    try:
        address: SecretUrl = TypeAdapter(HttpUrl).validate_python(url)
    except ValidationError:
        raise SettingsError(f"--url {shown_value(url)}: expected {expected}") from None
    return address


def ask_state(address: SecretUrl) -> State:
    """The present state of the tsobs at ``address``, in a handful of requests.

    Texts in it are printable and on one line, whatever the other side sent.

    Raises:
        NoAnswerError: it can't be reached, refuses, takes too long, or is of a version whose answers differ.
    """
    return asyncio.run(_state(address))


async def _state(address: SecretUrl) -> State:
    try:
        async with (
            asyncio.timeout(ALL_WITHIN_S),
            httpx.AsyncClient(timeout=ANSWER_WITHIN_S, follow_redirects=False) as client,
        ):
            return await _ask_state(_Remote(client, address))
    except TimeoutError:
        raise NoAnswerError(f"{address}: not all answers came within {ALL_WITHIN_S:g} s") from None


async def _ask_state(remote: _Remote) -> State:
    about = await remote.ask("/about", About)
    tailnets = [
        TailnetState(
            await remote.ask("/health-monitoring/nodes", NodesAnswer, tailnet=name),
            await remote.ask("/health-monitoring/strips", StripsAnswer, tailnet=name),
        )
        for name in about.tailnets
    ]
    model = {"model_name": about.model_name, "limit": "1"}
    history = await remote.ask("/models/metrics-history", MetricsHistory, **model)
    firing = (await remote.ask("/alerts", AlertsAnswer)).firing
    health = await remote.ask("/healthz", Health)
    return State(remote.shown, about, tailnets, firing, history.verdict, health)


class _Remote:
    """A tsobs at an address, which may hold a password: what is shown of it is masked."""

    def __init__(self, client: httpx.AsyncClient, address: SecretUrl) -> None:
        self._client = client
        self._clear = address.get_secret_value()
        self.shown = str(address)

    async def ask(self, path: str, form: type[_Answer], **query: str) -> _Answer:
        """The answer of one route.

        Raises:
            NoAnswerError: there is none, or it is of another form.
        """
        where = f"{self.shown}{path}"
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                status, body = await self._get(path, query)
        except TimeoutError:
            raise NoAnswerError(f"{where}: no whole answer within {ANSWER_WITHIN_S:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, _UnusableError) as error:
            reason = printable(str(error)).replace(self._clear, self.shown)[:_SHOWN]
            raise NoAnswerError(f"{where}: {type(error).__name__.lstrip('_')}: {reason}") from None
        # An unhealthy part makes it 503, but the body is a complete answer.
        if status != 200 and not (form is Health and status == 503):
            said = printable(body[: 4 * _SHOWN].decode("utf-8", "replace"))[:_SHOWN]
            raise NoAnswerError(f"{where} answered {status}: {said}")
        return _understood(where, body, form)

    async def _get(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        # Not packed: a small body could be unpacked into a large one.
        headers = {"Accept-Encoding": "identity"}
        async with self._client.stream(
            "GET", f"{self._clear}{path}", params=query, headers=headers
        ) as answer:
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise _UnusableError("the answer is packed, which was not asked for")
            return answer.status_code, await _bounded(answer.aiter_raw())


class _UnusableError(Exception):
    """An answer that is not read to its end."""


_SHOWN = 200
"""Characters of what another server said that are repeated in an error."""


async def _bounded(chunks: AsyncIterator[bytes]) -> bytes:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) > MAX_ANSWER_BYTES:
            raise _UnusableError(f"the answer is over {MAX_ANSWER_BYTES} bytes")
    return bytes(held)


def _understood(where: str, body: bytes, form: type[_Answer]) -> _Answer:
    try:
        return form.model_validate(_printable(json.loads(body)))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        reason = f"{place}: {printable(first['msg'])}"
    except (ValueError, RecursionError):
        reason = "it is not JSON"
    raise NoAnswerError(f"{where}: not an answer of this version of tsobs ({reason[:_SHOWN]})")


def _printable(value: object) -> object:
    """A value of JSON with all its texts on one line, without control characters."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, list):
        return [_printable(item) for item in value]
    if isinstance(value, dict):
        return {printable(key): _printable(item) for key, item in value.items()}
    return value


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
