"""What the doctor says of the critical nodes of a status."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tsobs_pipelines.doctor.nodes import node_findings
from tsobs_pipelines.tailnet.journal_lines import parse_round
from tsobs_pipelines.tailnet_settings import Tailnet

NOW = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)
OWN = {"HostName": "observer", "DNSName": "observer.a.ts.net.", "TailscaleIPs": ["100.64.0.1"]}
GIT = {"HostName": "git", "DNSName": "git.a.ts.net.", "TailscaleIPs": ["100.64.0.2"], "Online": True}


def said(name: str, peer: dict[str, object], nodes: dict[str, object]) -> tuple[str, str]:
    """The level and the detail of the finding about a node."""
    tailnet = Tailnet.model_validate(
        {"name": "default", "sidecar_url": "http://sidecar:8765", "critical_nodes": [name]}
    )
    status = {"BackendState": "Running", "Self": OWN, "Peer": {"k": peer}}
    line = {"v": 2, "at": NOW.isoformat(), "state": "Running", "self": OWN, "nodes": nodes}
    found, *_ = node_findings(tailnet, status, [parse_round(json.dumps(line).encode())], NOW)
    return found.level, found.detail


@pytest.mark.parametrize(
    ("expiry", "detail"),
    [
        (NOW + timedelta(days=97), "its key expired"),
        ("garbage", "its key expired"),
        (NOW - timedelta(days=1), "its key expired at 2026-11-23 02:05 UTC"),
    ],
)
def test_an_expired_key_has_no_time_that_is_still_to_come(expiry: datetime | str, detail: str) -> None:
    when = expiry.isoformat() if isinstance(expiry, datetime) else expiry
    assert said("git", {**GIT, "Expired": True, "KeyExpiry": when}, {}) == ("failed", detail)


def test_the_own_node_is_known_by_its_address() -> None:
    assert said("100.64.0.1", GIT, {})[0] == "ok"
