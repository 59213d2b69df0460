"""Results of a ping: the text of ``tailscale ping`` and the JSON of the LocalAPI, as one pair of types.

Nothing here raises on unexpected output: any text that is not a pong counts as none. The forms are those of
``cmd/tailscale/cli/ping.go`` and ``ipnstate.PingResult`` in Tailscale 1.102, and the ``[direct]`` of older
documents.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypedDict

from tsobs_pipelines.tailnet.localapi import MALFORMED, ApiPing, read_ping

Via: TypeAlias = Literal["direct", "derp", "peer-relay", "tsmp", "icmp", "unknown"]
Reason: TypeAlias = Literal["no-reply", "no-peer", "key-expired", "local", "unreadable", "probe-failed"]

MAX_LATENCY_MS: Final = 3_600_000.0
"""Longer than any ping can take; a larger figure is not a latency."""

MAX_NAME: Final = 64
"""Characters kept of a name, an address or a message that somebody else chose."""


@dataclass(frozen=True, slots=True)
class Pong:
    """An answer: how long it took (ms) and which way it came."""

    latency_ms: float
    via: Via
    endpoint: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class NoPong:
    """A ping without an answer, and why.

    ``probe-failed`` means that the ping may never have been sent, ``unreadable`` that the answer to it could
    not be read.
    """

    reason: Reason
    text: str = ""


PingResult: TypeAlias = Pong | NoPong


class PingStats(TypedDict):
    """Latency over the pongs of one burst, in ms; ``None`` without a pong."""

    min: float | None
    max: float | None
    avg: float | None
    count: int


_DURATION = re.compile(r"(-)?((?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+", re.ASCII)
_DURATION_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_UNIT_MS: Final[Mapping[str, float]] = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,  # micro sign, which Go prints
    "μs": 1e-3,  # Greek mu, which Go also reads
    "ms": 1.0,
    "s": 1e3,
    "m": 6e4,
    "h": 3.6e6,
}

# The name can hold anything a control server lets through, so the end of the line is read first: ` in
# <duration>` closes it, ` via <way>` stands before it, and neither an address nor a region code has a
# blank.
_PONG = re.compile(r"pong from .*\) via (?P<via>\S+) in (?P<latency>\S+)", re.DOTALL)
_WAY = re.compile(r"(?P<kind>DERP|peer-relay)\((?P<inner>[^()]*)\)")
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}", re.ASCII)


def clean(text: str, longest: int = MAX_NAME) -> str:
    """The text with what can't be printed replaced by ``?``, cut to so many characters."""
    short = text[:longest]
    return short if short.isprintable() else "".join(c if c.isprintable() else "?" for c in short)


def parse_go_duration(text: str) -> float | None:
    """Milliseconds of a Go duration such as ``0s``, ``23ms`` or ``1m1.2s``; ``None`` if it is none.

    Format: https://pkg.go.dev/time#Duration.String and ParseDuration. A negative one is no latency: ``None``.
    """
    if len(text) > MAX_NAME:
        return None
    if text == "0":
        return 0.0
    match = _DURATION.fullmatch(text)
    if match is None or match.group(1):
        return None
    total = sum(float(number) * _UNIT_MS[unit] for number, unit in _DURATION_PART.findall(text))
    return total if total <= MAX_LATENCY_MS else None


def _pong(way: str, latency_ms: float) -> Pong:
    if way == "[direct]":
        return Pong(latency_ms, "direct")
    if way in {"TSMP", "ICMP"}:
        return Pong(latency_ms, "tsmp" if way == "TSMP" else "icmp")
    named = _WAY.fullmatch(way)
    if named is not None and named["kind"] == "DERP":
        return Pong(latency_ms, "derp", None, clean(named["inner"]) or "unknown")
    if named is not None:
        return Pong(latency_ms, "peer-relay", clean(named["inner"]))
    if _ADDRESS.fullmatch(way):
        return Pong(latency_ms, "direct", clean(way))
    return Pong(latency_ms, "unknown", clean(way))


_REASONS: Final[Sequence[tuple[str, Reason]]] = (
    ("is local tailscale ip", "local"),
    ("node key has expired", "key-expired"),
    ("no matching peer", "no-peer"),
    ("unknown peer", "no-peer"),
    ("peer not found", "no-peer"),
    ("timed out", "no-reply"),
    ("timeout", "no-reply"),
    ("deadline exceeded", "no-reply"),
    ("no reply", "no-reply"),
    ("no answer", "no-reply"),
    ("unreadable answer", "unreadable"),
    (MALFORMED, "unreadable"),
)


def _no_pong(text: str) -> NoPong:
    lowered = text[:1000].lower()
    reason: Reason = next((reason for mark, reason in _REASONS if mark in lowered), "probe-failed")
    return NoPong(reason, clean(text.strip()))


def parse_ping_line(line: str) -> PingResult | None:
    """One line of ``tailscale ping``: a pong, a ping that had none, or ``None`` for a line about neither."""
    text = line.strip()
    if text.startswith("pong from "):
        match = _PONG.fullmatch(text)
        latency = parse_go_duration(match["latency"]) if match else None
        return None if match is None or latency is None else _pong(match["via"], latency)
    result = _no_pong(text)
    # `no reply` sums up time-outs that each had a line, and `direct connection not established` is a verdict
    # over pongs: neither is another ping.
    if text in {"no reply", "direct connection not established"}:
        return None
    return None if result.reason in {"probe-failed", "unreadable"} else result


def parse_ping_text(text: str) -> list[PingResult]:
    """Every ping in the output of ``tailscale ping``, in order; exit status and other lines don't matter.

    Output that only says ``no reply`` is one unanswered ping.
    """
    results = [result for line in text.split("\n") if (result := parse_ping_line(line)) is not None]
    if not results and any(line.strip() == "no reply" for line in text.split("\n")):
        return [NoPong("no-reply", "no reply")]
    return results


def is_local(answer: ApiPing) -> bool:
    """Whether the ping was to the very node that it was to be sent from."""
    return answer.is_local or "is local Tailscale IP" in answer.err


def ping_result(answer: ApiPing) -> PingResult:
    """What a LocalAPI ping result says."""
    if is_local(answer):
        return NoPong("local", clean(answer.err))
    if answer.err or answer.seconds is None:
        return _no_pong(answer.err or "no latency")
    latency_ms = round(answer.seconds * 1e3, 3)
    if answer.peer_relay:
        return Pong(latency_ms, "peer-relay", clean(answer.peer_relay))
    if answer.region_id:
        return Pong(latency_ms, "derp", None, clean(answer.region_code) or "unknown")
    if answer.endpoint:
        return Pong(latency_ms, "direct", clean(answer.endpoint))
    return Pong(latency_ms, "unknown")


def parse_ping_results(value: object) -> list[PingResult]:
    """A list of LocalAPI ping results, bare or as ``{"pings": […]}``; anything else is a failed probe."""
    if isinstance(value, dict):
        value = value.get("pings", value.get("results"))
    if not isinstance(value, list):
        return [NoPong("probe-failed", "not a list of pings")]
    return [ping_result(read_ping(item)) for item in value]


def ping_stats(results: Iterable[PingResult]) -> PingStats:
    """Least, greatest and mean latency (ms) and the number of pongs."""
    latencies = [result.latency_ms for result in results if isinstance(result, Pong)]
    if not latencies:
        return {"min": None, "max": None, "avg": None, "count": 0}
    mean = round(math.fsum(latencies) / len(latencies), 3)
    return {"min": min(latencies), "max": max(latencies), "avg": mean, "count": len(latencies)}
