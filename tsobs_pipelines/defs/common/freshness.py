"""How old each asset may get before Dagster calls it stale.

What belongs here: one policy for each asset that something renews by itself. What does not: alerts about it;
those are the silence rule's, which does not depend on Dagster's daemon of freshness.

That daemon looks every 30 s whether or not there are policies: they cost nothing more.
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

    assets = [one for one in definitions.assets or () if isinstance(one, dg.AssetsDefinition | dg.AssetSpec)]
    return dg.Definitions(
        assets=list(dg.map_asset_specs(add, assets)),
        asset_checks=definitions.asset_checks,
        jobs=definitions.jobs,
        schedules=definitions.schedules,
        sensors=definitions.sensors,
        resources=definitions.resources,
        executor=definitions.executor,
        loggers=definitions.loggers,
    )
