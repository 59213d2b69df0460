"""Between two ticks: requests a tick at once when uncollected rounds would change an alert.

The schedule stays as it is. This only looks: what is told comes from the usual run, with its data and
lineage.
"""

from collections.abc import Callable, MutableMapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from tsobs_pipelines.alerting.evaluation import step_topics
from tsobs_pipelines.alerting.evidence import RowEvidence
from tsobs_pipelines.alerting.machine import Change, Voice
from tsobs_pipelines.alerting.rules import rules_by
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.defs.alerts.scopes import tailnet_alert_store
from tsobs_pipelines.defs.tailnet.assets import SCHEDULED_TAG, tick_job
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.newest import RecentJournal, rounds_after
from tsobs_pipelines.tailnet.rows import connection_rows
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.sampling import Sampling, sampling_at
from tsobs_pipelines.timeseries.schema import CONNECTIONS, ConnectionRow
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

REASON_TAG = "tsobs/early"

_INSTANT = timedelta(microseconds=1)
_SEEN = "seen/"
"""How the cursors name the newest round that was looked at, one for each tailnet."""


def early_requests(
    settings: Settings,
    store: TimeSeriesStore,
    journal_of: Callable[[Tailnet], RecentJournal],
    cursors: MutableMapping[str, str],
    now: datetime,
) -> list[dg.RunRequest]:
    """The ticks to request now. A sidecar that does not answer is queried again at the next evaluation."""
    requests: list[dg.RunRequest] = []
    for tailnet in settings.tailnets:
        sampling = sampling_at(store, tailnet.name, now)
        where = {"tailnet": tailnet.name}
        stored = store.latest(CONNECTIONS, Window.trailing(now, sampling.fresh_for), where)
        seen = _time(cursors.get(f"{_SEEN}{tailnet}"))
        if not stored or (seen is not None and seen <= now < seen + sampling.interval):
            continue
        newest = max(row.time for row in stored)
        try:
            found = rounds_after(journal_of(tailnet), newest, now)
        except SidecarError:
            continue
        if not found:
            continue
        cursors[f"{_SEEN}{tailnet}"] = max(this.at for this in found).isoformat()
        rows = connection_rows(found, tailnet.critical_nodes, tailnet.name)
        change = first_change(tailnet_alert_store(settings, tailnet), store, tailnet, rows, sampling)
        if change is not None:
            requests.append(_request(tailnet, change, {row.time.date().isoformat() for row in rows}, now))
    return requests


def first_change(
    alert_store: AlertStore,
    store: TimeSeriesStore,
    tailnet: Tailnet,
    rows: Sequence[ConnectionRow],
    sampling: Sampling,
) -> Change | None:
    """What would be told first if ``rows``, which are newer than any in the store, were collected.

    Rules with evidence on a grid are left out: a span is closed when the schedule's tick collects it.
    """
    for rule, evidence in rules_by(RowEvidence):
        before = alert_store.progress(rule)
        if before is None or rule.align is not None or evidence.measurement is not CONNECTIONS or not rows:
            continue
        known: list[Any] = []
        if before.evaluated_until < rows[0].time:
            window = Window(before.evaluated_until, rows[0].time)
            known = store.read(CONNECTIONS, window, {"tailnet": tailnet.name})
        signals = evidence.signals([*known, *rows], tailnet)
        _, changes = step_topics(rule.at_pace(sampling), alert_store.states(rule), signals)
        told = next((change for change in changes if change.voice is not Voice.HELD), None)
        if told is not None:
            return told
    return None


def _request(tailnet: Tailnet, change: Change, days: set[str], now: datetime) -> dg.RunRequest:
    """The tick of the newest day; asked for twice because of one change, it is run once."""
    stamp = now.astimezone(UTC).isoformat()
    return dg.RunRequest(
        run_key=f"early/{tailnet}/{change.topic}/{change.kind}/{change.at.isoformat()}",
        job_name=tick_job(tailnet).name,
        partition_key=max(days),
        tags={SCHEDULED_TAG: stamp, REASON_TAG: f"{change.topic} {change.kind}"},
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
