"""What a row of ``CONNECTIONS`` says about its node: whether it answered, and why there is no path.

A round that was taken and has no path for a watched node is evidence: the node is not in the tailnet, its
name means several nodes, or it could not be probed. Only a round that was not taken says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias

from tsobs_pipelines.timeseries.schema import ConnectionRow

Evidence: TypeAlias = Literal[
    "absent", "ambiguous", "not-sampled", "not-probed", "no-answer", "no-path", "key-expired", "not-taken"
]
"""The kinds of what is known where ``connection_type`` does not say it all."""

WITHOUT_VERDICT: Final[frozenset[Evidence]] = frozenset(
    {"absent", "ambiguous", "not-sampled", "not-probed", "no-answer"}
)
"""The round was taken, and nothing shows that the node can be reached."""

ENOUGH_ROUNDS: Final = 2
"""One round without a verdict may be of a node that has just changed its key or its name."""

_ON_A_PATH: Final = frozenset({"direct", "relay", "peer-relay"})
_CLAUSES: Final[Mapping[str, str]] = {
    "absent": "{name} is not in the tailnet",
    "ambiguous": "{name} is the name of several nodes: {reason}",
    "not-sampled": "{name} is not sampled: add it to SAMPLE_HOSTS of the sidecar",
    "not-probed": "{name} could not be probed: {reason}",
    "no-answer": "{name} answers no ping, and the control server does not say whether it is online",
    "no-path": "{name} answered, and no pong showed the path",
    "key-expired": "{name} answers no ping: {reason}",
    "not-taken": "the round could not be taken: {reason}",
}


def answered(row: ConnectionRow) -> bool | None:
    """Whether the node answered in the round of this row; ``None`` when the row does not say.

    This is what availability counts: rounds with a pong, whichever way it came, among those that were taken.
    A round that was taken and in which the node was absent, ambiguous or not probed was not answered. Rows
    from before ``answered`` was kept are judged by their type and pongs; unknown ones say nothing.
    """
    if row.answered is not None:
        return bool(row.answered)
    if row.pings_received or row.connection_type in _ON_A_PATH:
        return True
    return None if row.connection_type == "unknown" else False


def taken(row: ConnectionRow) -> bool:
    """Whether the round of this row was taken, so that it says something about the node."""
    return answered(row) is not None


def without_verdict(rows: Sequence[ConnectionRow]) -> dict[str, str]:
    """The nodes of which no round among these shows whether they can be reached, each with why, as a clause.

    ``rows`` are in the order of time; a node needs :data:`ENOUGH_ROUNDS` that were taken.
    """
    found: dict[str, list[ConnectionRow]] = {}
    for row in rows:
        if taken(row):
            found.setdefault(row.hostname, []).append(row)
    return {
        name: clause_of(mine[-1])
        for name, mine in sorted(found.items())
        if len(mine) >= ENOUGH_ROUNDS and all(row.evidence in WITHOUT_VERDICT for row in mine)
    }


def newest_taken(rows: Sequence[ConnectionRow]) -> tuple[datetime | None, str]:
    """The newest round that was taken, and why a later one was not, if there is one."""
    newest: datetime | None = None
    latest: ConnectionRow | None = None
    for row in rows:
        if taken(row):
            newest = row.time if newest is None else max(newest, row.time)
        elif latest is None or row.time >= latest.time:
            latest = row
    if latest is None or (newest is not None and latest.time < newest):
        return newest, ""
    return newest, (latest.reason or "is tailscaled running beside the sidecar?")


def clause_of(row: ConnectionRow) -> str:
    """What a row's evidence says of its node, for a person; empty where the path says it all."""
    return clause(row.hostname, row.evidence, row.reason)


def clause(hostname: str, evidence: str | None, reason: str | None) -> str:
    """The same of its parts."""
    text = _CLAUSES.get(evidence or "", "")
    return text.format(name=hostname, reason=reason or "no reason was given")
