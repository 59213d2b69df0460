"""Shared by rules about nodes."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.timeseries.schema import ConnectionRow


def by_host(rows: Sequence[ConnectionRow]) -> dict[str, list[ConnectionRow]]:
    """The rows of each node, in their order."""
    hosts: dict[str, list[ConnectionRow]] = {}
    for row in rows:
        hosts.setdefault(row.hostname, []).append(row)
    return hosts
