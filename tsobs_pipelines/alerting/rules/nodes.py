"""What rules over nodes share."""

from __future__ import annotations

from collections.abc import Sequence

from tsobs_pipelines.timeseries.schema import Row


def by_host(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each node, in their order."""
    hosts: dict[str, list[Row]] = {}
    for row in rows:
        hosts.setdefault(str(row["hostname"]), []).append(row)
    return hosts
