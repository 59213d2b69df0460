"""Every asset that updates automatically has a freshness policy that Dagster can evaluate; no other has."""

from __future__ import annotations

from tsobs_pipelines.definitions import build_defs
from tsobs_pipelines.defs.common.freshness import POLICIES

BY_HAND_OR_RARE = {"tailnet_journal", "latency_alerts", "relay_alerts", "silence_alerts", "mae_alerts"}
"""External, or only when there is something to tell."""


def test_every_asset_that_renews_itself_has_a_policy() -> None:
    specs = {spec.key.to_user_string(): spec for spec in build_defs().resolve_all_asset_specs()}
    with_policy = {name for name, spec in specs.items() if spec.freshness_policy is not None}
    assert with_policy == set(POLICIES)
    assert set(specs) - with_policy == BY_HAND_OR_RARE
