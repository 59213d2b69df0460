"""Names and keys of a tailnet's definitions in Dagster.

The first tailnet's assets have unprefixed names. Those of a further one have the tailnet's name as a prefix,
and a group of their own: each tailnet is a separate lineage in the UI, with partitions, jobs and runs that do
not depend on the others.
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
