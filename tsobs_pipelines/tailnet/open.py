"""Opens the client of a tailnet's sidecar."""

from __future__ import annotations

from collections.abc import Callable

from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet_settings import Tailnet


def open_sidecar(tailnet: Tailnet, simulated_url: Callable[[], str]) -> TailscaleHealthService:
    """The client, of the simulated tailnet where no sidecar is set; nothing is asked of it yet."""
    url = tailnet.sidecar_url or simulated_url()
    return TailscaleHealthService(url, tailnet.sidecar_token_file, tailnet.critical_nodes)
