"""Names and keys of a tailnet's definitions in Dagster.

The first tailnet's assets have the names of the design. Those of a further one are the same below its name,
in a group of their own: each tailnet is a lineage of its own in the UI, with partitions, jobs and runs that
nothing of the others can hold up or turn red.
"""

from dataclasses import dataclass

import dagster as dg

from tsobs_pipelines.tailnet_settings import Tailnet

GROUP = "tailnet"


@dataclass(frozen=True)
class TailnetKeys:
    """The assets of one tailnet, and their group."""

    journal: dg.AssetKey
    metrics: dg.AssetKey
    diagnostics: dg.AssetKey
    summary: dg.AssetKey
    group: str

    @classmethod
    def of(cls, tailnet: Tailnet) -> "TailnetKeys":
        """The keys for a tailnet: bare for the first one, else below its name."""
        prefix = [] if tailnet.first else [tailnet.name]
        return cls(
            dg.AssetKey([*prefix, "tailnet_journal"]),
            dg.AssetKey([*prefix, "connection_metrics"]),
            dg.AssetKey([*prefix, "network_diagnostics"]),
            dg.AssetKey([*prefix, "connection_summary"]),
            tailnet.suffixed(GROUP),
        )

    @property
    def collected(self) -> dg.AssetSelection:
        """What a collection makes."""
        return dg.AssetSelection.assets(self.metrics, self.diagnostics, self.summary)
