"""Detects a tailscaled in userspace mode, beside which this machine's loopback is not private.

Without a TUN device tailscaled makes the connections of its peers itself: whoever reaches a port of the
node's Tailscale address arrives at 127.0.0.1 from 127.0.0.1, and what listens on loopback alone is open to
every peer that the tailnet's policy lets in.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tsobs_pipelines.secret_url import SecretUrl

WARNING: Final = (
    "tailscaled runs in userspace mode here: every peer that the tailnet's policy lets in reaches Dagster "
    "and the API on loopback, as 127.0.0.1"
)
REMEDY: Final = "tailscale set --shields-up, or a policy that lets nobody reach this node (SECURITY.md)"


def on_loopback(url: SecretUrl) -> bool:
    """Whether the address is this machine's own."""
    host = urlsplit(url.get_secret_value()).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_userspace(status: Mapping[str, object]) -> bool:
    """Whether the daemon of a status has no TUN device."""
    return status.get("TUN") is False


def userspace_daemon_here(processes: Path = Path("/proc")) -> bool:
    """Whether a tailscaled of this machine was started in userspace mode, as far as this user can see."""
    for entry in processes.glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        is_daemon = Path(words[0].decode(errors="replace")).name == "tailscaled"
        if is_daemon and any(b"userspace-networking" in word for word in words) and _shares_network(entry):
            return True
    return False


def _shares_network(process: Path) -> bool:
    """Whether a process has this one's loopback; one that can't be asked may have it."""
    try:
        return (process / "ns" / "net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:
        return True
