"""What is said of a node's key: when it expires, that it has expired, or that it does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tsobs_pipelines.alerting.machine import Verdict
from tsobs_pipelines.alerting.rules.key_expiry import KEY_STAGES, key_signals
from tsobs_pipelines.tailnet.journal_lines import parse_round
from tsobs_pipelines.tailnet.localapi import NEVER
from tsobs_pipelines.tailnet.rows import collect

AT = datetime(2026, 11, 24, 2, 5, tzinfo=UTC)
ALL = len(KEY_STAGES)
SILENT = [{"Err": "no reply within 2 s", "times": 6}]


@pytest.mark.parametrize(
    ("expiry", "expired", "level", "said", "reason"),
    [
        (AT + timedelta(days=97), None, 0, "expires at 2027-03-01 02:05 UTC", None),
        (AT + timedelta(days=2), None, 2, "expires at 2026-11-26 02:05 UTC", None),
        (AT, None, ALL, "expired at 2026-11-24 02:05 UTC", "its key expired at 2026-11-24 02:05 UTC"),
        (
            AT - timedelta(days=1),
            True,
            ALL,
            "expired at 2026-11-23 02:05 UTC",
            "its key expired at 2026-11-23 02:05 UTC",
        ),
        (AT + timedelta(days=97), True, ALL, "expired", "its key expired"),
        (AT + timedelta(days=2), True, ALL, "expired", "its key expired"),
        ("garbage", True, ALL, "expired", "its key expired"),
        (None, True, ALL, "expired", "its key expired"),
        (NEVER, True, ALL, "expired", "its key expired"),
        ("garbage", None, 0, "does not expire", None),
        (None, None, 0, "does not expire", None),
    ],
)
def test_what_is_said_of_a_key(
    expiry: datetime | str | None, expired: bool | None, level: int, said: str, reason: str | None
) -> None:
    node: dict[str, object] = {"HostName": "git", "DNSName": "git.a.ts.net.", "Online": True, "pings": SILENT}
    if expiry is not None:
        node["KeyExpiry"] = expiry.isoformat() if isinstance(expiry, datetime) else expiry
    if expired is not None:
        node["Expired"] = expired
    line = {"v": 2, "at": AT.isoformat(), "state": "Running", "self": None, "nodes": {"git": node}}
    found = collect([parse_round(json.dumps(line).encode())], ["git"], "default")
    [signal] = key_signals(found.keys, AT)["git"]
    assert (signal.level, signal.detail) == (level, f"the key of git {said}")
    assert signal.verdict is (Verdict.BAD if level else Verdict.GOOD)
    assert [(row.evidence, row.reason) for row in found.connections] == [
        (None, None) if reason is None else ("key-expired", reason)
    ]
