"""The checks on the connection assets: slow, relayed or unseen nodes, and completeness of the journal.

They read rows and leave the judgement to ``tailnet/health.py``.
"""

from collections.abc import Iterator

import dagster as dg

from tsobs_pipelines.defs.common.clock import utc_now
from tsobs_pipelines.defs.common.network import NETWORK_RETRIES, over_network
from tsobs_pipelines.defs.common.resources import StoreResource
from tsobs_pipelines.defs.common.shown import described
from tsobs_pipelines.defs.tailnet.keys import TailnetKeys
from tsobs_pipelines.tailnet.health import (
    LATENCY_SPAN,
    HealthVerdict,
    judge_evidence,
    judge_freshness,
    judge_latency,
    judge_path,
    judge_rounds,
)
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.evidence import newest_taken, taken
from tsobs_pipelines.timeseries.sampling import sampling_at
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.store import Window


def check_connections(tailnet: Tailnet) -> dg.AssetChecksDefinition:
    """The checks on the tailnet's metrics."""
    latency = _spec(tailnet, "latency_within_limit", "No node is slow.")
    path = _spec(tailnet, "reached_directly", "No node is relayed.")
    fresh = _spec(tailnet, "journal_is_fresh", "The newest round is recent.")
    complete = _spec(tailnet, "rounds_complete", "At least 95 % of the last hour's rounds were taken.")
    seen = _spec(tailnet, "nodes_are_seen", "Each critical node is in the tailnet and can be probed.")

    @dg.multi_asset_check(
        name=tailnet.suffixed("check_connections"),
        specs=[latency, path, fresh, complete, seen],
        retry_policy=NETWORK_RETRIES,
    )
    def check(store: StoreResource) -> Iterator[dg.AssetCheckResult]:
        """Judge the newest rows of the store, whichever partition the run is about."""
        now = utc_now()
        pace = over_network(sampling_at, store.get(), tailnet.name, now)
        window = Window.trailing(now, pace.judged_span + pace.stale_after)
        rows = over_network(store.get().read, CONNECTIONS, window, {"tailnet": tailnet.name})
        newest, reason = newest_taken(rows)
        judged_until = max((row.time for row in rows), default=now)
        since = judged_until - pace.judged_span
        span = max(LATENCY_SPAN, pace.interval)
        yield _result(latency, judge_latency(rows, tailnet.latency_threshold_of, judged_until, span))
        yield _result(path, judge_path(rows))
        yield _result(fresh, judge_freshness(newest, now, pace.stale_after, reason))
        recent = {row.time for row in rows if taken(row) and since < row.time <= judged_until}
        yield _result(complete, judge_rounds(len(recent), since, judged_until, pace.interval))
        yield _result(seen, judge_evidence(rows))

    return check


def _spec(tailnet: Tailnet, name: str, text: str) -> dg.AssetCheckSpec:
    metrics = TailnetKeys.of(tailnet).metrics
    return dg.AssetCheckSpec(name, asset=metrics, description=described("tailnet", text))


def _result(spec: dg.AssetCheckSpec, verdict: HealthVerdict) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=spec.name,
        asset_key=spec.asset_key,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=verdict.summary,
        metadata=dict(verdict.details),
    )
