"""The checks on the connection assets: which node is slow or relayed, is the journal fresh and complete.

What belongs here: thin shells that read rows and hand them to ``tailnet/health.py``. What does not: the
judgements themselves.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg

from tsobs_pipelines.defs.clock import utc_now
from tsobs_pipelines.defs.connections import METRICS, NETWORK_RETRIES, over_network
from tsobs_pipelines.defs.resources import SettingsResource, StoreResource
from tsobs_pipelines.tailnet.health import (
    STALE_AFTER,
    Verdict,
    judge_freshness,
    judge_latency,
    judge_path,
    judge_rounds,
)
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

LATENCY = dg.AssetCheckSpec("latency_within_limit", asset=METRICS, description="No node is slow.")
PATH = dg.AssetCheckSpec("reached_directly", asset=METRICS, description="No node is relayed.")
FRESH = dg.AssetCheckSpec("journal_is_fresh", asset=METRICS, description="Rounds keep coming.")
COMPLETE = dg.AssetCheckSpec("rounds_complete", asset=METRICS, description="The last hour lacks no rounds.")

ROUNDS_SPAN = timedelta(hours=1)
SAMPLE_INTERVAL = timedelta(minutes=1)


def _result(spec: dg.AssetCheckSpec, verdict: Verdict) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=spec.name,
        asset_key=spec.asset_key,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict.summary,
        metadata=dict(verdict.details),
    )


@dg.multi_asset_check(
    name="check_connections", specs=[LATENCY, PATH, FRESH, COMPLETE], retry_policy=NETWORK_RETRIES
)
def check_connections(settings: SettingsResource, store: StoreResource) -> Iterator[dg.AssetCheckResult]:
    """Judge the newest rows of the store, whichever partition the run is about."""
    config = settings.get()
    now = utc_now()
    where = {"tailnet": config.tailnet}
    window = Window.trailing(now, ROUNDS_SPAN + STALE_AFTER)
    rows = over_network(store.get().read, CONNECTIONS, window, where)
    times = {time for row in rows if isinstance(time := row["time"], datetime)}
    newest = max(times, default=None)
    judged_until = newest or now
    since = judged_until - ROUNDS_SPAN
    yield _result(LATENCY, judge_latency(rows, config.latency_threshold_of, judged_until))
    yield _result(PATH, judge_path(rows))
    yield _result(FRESH, judge_freshness(newest, now))
    recent = sum(since < time <= judged_until for time in times)
    yield _result(COMPLETE, judge_rounds(recent, since, judged_until, SAMPLE_INTERVAL))
