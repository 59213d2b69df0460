"""How old each asset may get before Dagster calls it stale.

Only what renews itself has a policy. Dagster's daemon looks every 30 s whether or not there are policies:
they cost nothing more. No alert hangs on them: those of silence do not depend on that daemon.
"""

from datetime import timedelta

import dagster as dg

POLICIES = {
    # Every 5 minutes: three ticks may be missed before it fails, as the silence alert has it.
    "connection_metrics": dg.FreshnessPolicy.time_window(timedelta(minutes=20), timedelta(minutes=12)),
    "network_diagnostics": dg.FreshnessPolicy.time_window(timedelta(minutes=20), timedelta(minutes=12)),
    "connection_summary": dg.FreshnessPolicy.time_window(timedelta(minutes=20), timedelta(minutes=12)),
    "forecast_evaluation": dg.FreshnessPolicy.time_window(timedelta(minutes=30), timedelta(minutes=15)),
    # Once a day, at an hour that depends on when others publish.
    "electricity_prices": dg.FreshnessPolicy.time_window(timedelta(hours=36), timedelta(hours=28)),
    "price_model": dg.FreshnessPolicy.time_window(timedelta(hours=36), timedelta(hours=28)),
    "price_forecast": dg.FreshnessPolicy.time_window(timedelta(hours=36), timedelta(hours=28)),
    "disk_use": dg.FreshnessPolicy.time_window(timedelta(hours=3), timedelta(minutes=90)),
    "housekeeping": dg.FreshnessPolicy.time_window(timedelta(hours=50), timedelta(hours=26)),
}


def with_freshness(definitions: dg.Definitions) -> dg.Definitions:
    """The definitions, each asset with its policy."""

    def add(spec: dg.AssetSpec) -> dg.AssetSpec:
        # The assets of further tailnets and models have a prefix.
        policy = POLICIES.get(spec.key.path[-1])
        return spec if policy is None else spec.replace_attributes(freshness_policy=policy)

    return definitions.map_asset_specs(func=add)
