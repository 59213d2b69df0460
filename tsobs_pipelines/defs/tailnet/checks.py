"""The checks on the connection assets: which node is slow or relayed, is the journal fresh and complete.

What belongs here: thin shells that read rows and hand them to ``tailnet/health.py``. What does not: the
judgements themselves.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.network import NETWORK_RETRIES, over_network
from tsobs_pipelines.defs.common.resources import StoreResource
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.tailnet.health import (
    STALE_AFTER,
    Verdict,
    judge_freshness,
    judge_latency,
    judge_path,
    judge_rounds,
)
from tsobs_pipelines.tailnets import Tailnet
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window

ROUNDS_SPAN = timedelta(hours=1)
SAMPLE_INTERVAL = timedelta(minutes=1)


def check_connections(tailnet: Tailnet) -> dg.AssetChecksDefinition:
    """The checks on the tailnet's metrics."""
    metrics = TailnetKeys.of(tailnet).metrics
    latency = dg.AssetCheckSpec("latency_within_limit", asset=metrics, description="No node is slow.")
    path = dg.AssetCheckSpec("reached_directly", asset=metrics, description="No node is relayed.")
    fresh = dg.AssetCheckSpec("journal_is_fresh", asset=metrics, description="Rounds keep coming.")
    complete = dg.AssetCheckSpec(
        "rounds_complete", asset=metrics, description="The last hour lacks no rounds."
    )

    @dg.multi_asset_check(
        name=tailnet.suffixed("check_connections"),
        specs=[latency, path, fresh, complete],
        retry_policy=NETWORK_RETRIES,
    )
    def check(store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        """Judge the newest rows of the store, whichever partition the run is about."""
        now = utc_now()
        window = Window.trailing(now, ROUNDS_SPAN + STALE_AFTER)
        rows = over_network(store.get().read, CONNECTIONS, window, {"tailnet": tailnet.name})
        times = {row.time for row in rows}
        newest = max(times, default=None)
        judged_until = newest or now
        since = judged_until - ROUNDS_SPAN
        yield _result(latency, judge_latency(rows, tailnet.latency_threshold_of, judged_until))
        yield _result(path, judge_path(rows))
        yield _result(fresh, judge_freshness(newest, now))
        recent = sum(since < time <= judged_until for time in times)
        yield _result(complete, judge_rounds(recent, since, judged_until, SAMPLE_INTERVAL))

    return check


def _result(spec: dg.AssetCheckSpec, verdict: Verdict) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=spec.name,
        asset_key=spec.asset_key,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict.summary,
        metadata=dict(verdict.details),
    )
