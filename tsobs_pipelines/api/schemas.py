"""The responses of the routes as pydantic models: the JSON contract, and the source of the OpenAPI document.

Times are RFC 3339 in UTC, latencies ms, traffic bytes, shares 0 to 1; ``null`` means not known, never 0.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tsobs_pipelines.alerting.rule import Icon, Unit

ConnectionType = Literal["direct", "relay", "peer-relay", "unreachable", "offline", "unknown"]
NodeState = Literal["direct", "relay", "peer-relay", "unreachable", "offline", "unknown", "self"]
"""``self`` is the sidecar's own node, which is not pinged."""

StripState = Literal[
    "direct", "peer-relay", "relay", "unreachable", "offline", "absent", "unknown", "none", "awaited"
]
"""The path or state of a round. ``absent``: it was taken, and says nothing of the node; ``unknown``: it could
not be taken; ``none``: there was none; ``awaited``: it may not have been collected yet."""

AlertState = Literal["firing", "resolved", "historical"]


class ConnectionStats(BaseModel):
    """A peer as tailscaled sees it now."""

    hostname: str
    connection_type: NodeState
    relay_node: str = Field(description="region code of the relay in use, or `none`")
    tx_bytes: int | None = Field(description="bytes sent to the peer since tailscaled last reset the counter")
    rx_bytes: int | None = Field(description="bytes received from the peer, likewise")
    last_handshake: str | None = Field(description="last WireGuard handshake (RFC 3339); null: never")
    endpoint: str | None = Field(description="address of the path in use, or `DERP(<region>)`")


class PingStats(BaseModel):
    """Pings sent for this request; the three latencies are null without a pong."""

    min: float | None
    max: float | None
    avg: float | None
    count: int = Field(description="pongs received")


class ConnectionStatsAnswer(BaseModel):
    """The live state of one node."""

    hostname: str
    connection_stats: ConnectionStats
    ping_stats: PingStats


class LatencyPoint(BaseModel):
    """One round, or the rounds of one bucket when there are more than may be returned."""

    timestamp: datetime = Field(description="the round, or the start of the bucket")
    latency_ms: float | None = Field(description="mean of the warm pongs; null: no pong came back")
    latency_min: float | None
    latency_max: float | None
    loss: float | None = Field(description="share of the pings without a pong; null: offline or not probed")
    rounds: int
    connection_type: ConnectionType = Field(description="the path; of a bucket, the most frequent one")
    relayed: float = Field(description="share of the rounds that went over a relay")
    collected: bool = Field(description="false: from the sidecar's journal, not in the store yet")


class LatencyHistory(BaseModel):
    """Latency of one node, oldest first; where no round was taken there is no point."""

    hostname: str
    hours: int
    step_s: int = Field(description="usual distance between two points; a longer one is a gap")
    history: list[LatencyPoint]


class Spark(BaseModel):
    """One half hour of the day, for a small picture."""

    timestamp: datetime
    latency_ms: float | None
    relayed: float


class Day(BaseModel):
    """A node's trailing 24 hours."""

    rounds: int = Field(description="rounds with a row")
    availability: float | None = Field(
        description="share of the rounds with a pong among those that were taken; null: none was"
    )
    loss: float | None
    direct: float | None = Field(description="share of the rounds that went directly")
    relayed: float | None = Field(description="share of the rounds that went over a relay")
    tx_bytes: int
    rx_bytes: int
    spark: list[Spark]


class Node(BaseModel):
    """The latest known state of one node."""

    hostname: str
    critical: bool = Field(description="named in TSOBS_CRITICAL_NODES")
    state: NodeState
    evidence: str | None = Field(
        description="evidence if the state alone does not explain it: absent, ambiguous, not-sampled, "
        "not-probed, no-answer, no-path, key-expired, not-taken"
    )
    reason: str = Field(description="the same as a clause for a person; empty where there is nothing to say")
    relay_node: str
    measured_at: datetime | None = Field(description="time of the newest round; null: none yet")
    collected: bool = Field(description="false: that round is from the journal, not in the store yet")
    latency_ms: float | None
    latency_min: float | None
    latency_max: float | None
    loss: float | None
    threshold_ms: float
    online: bool | None = Field(description="as the control server says, live; null: sidecar down or unknown")
    last_handshake: str | None = Field(description="live; null: never, or sidecar down")
    tx_bytes: int | None = Field(description="total since tailscaled last reset it")
    rx_bytes: int | None
    day: Day


class PartState(BaseModel):
    """The health of one part of the system."""

    ok: bool
    detail: str = Field(description="one line: what it is, or what is wrong")


class NodesAnswer(BaseModel):
    """Every critical node of a tailnet, and every other node with rows in the last 30 days."""

    tailnet: str
    sidecar: PartState
    interval_s: int = Field(description="the sampler's interval, by the newest rounds")
    stale_after_s: int = Field(description="if the newest round is older, rounds have stopped")
    nodes: list[Node]


class StripRound(BaseModel):
    """One round that was due, or the worst one of a minute when they are closer together."""

    at: datetime
    state: StripState
    relay_node: str = Field(description="region code of the relay in use, or `none`")
    latency_ms: float | None = Field(description="mean of the warm pongs; null: no pong")
    loss: float | None = Field(description="share of the pings without a pong")
    collected: bool = Field(description="false: from the sidecar's journal, not in the store yet")
    reason: str = Field(
        description="why there is no path, as a clause for a person; empty where there is one"
    )


class StripDay(BaseModel):
    """One UTC day of a node."""

    day: date
    rounds: int = Field(description="rounds with a row")
    missing: int = Field(description="rounds that were due and have no row")
    states: dict[StripState, int] = Field(description="how many rounds had each state; absent: none")
    availability: float | None = Field(description="share of the rounds with a pong; null: no rounds")
    latency_ms: float | None = Field(description="mean of the warm pongs")
    loss: float | None


class Strip(BaseModel):
    """One node's last hour and last thirty days, oldest first."""

    hostname: str
    rounds: list[StripRound] = Field(description="the last hour, one for each round that was due")
    days: list[StripDay] = Field(description="the last 30 UTC days, including today")


class StripsAnswer(BaseModel):
    """The strip of every node of a tailnet except the sidecar's own."""

    tailnet: str
    step_s: int = Field(description="distance between two rounds in the strips, in seconds")
    nodes: list[Strip]


class DerpRegion(BaseModel):
    """One region of relay servers, as seen from the sidecar."""

    id: str = Field(description="the region's number")
    code: str | None = Field(description="its code, as in `relay_node`; null: not seen in use yet")
    latency_ms: float | None
    home: bool = Field(description="the sidecar's home region")


class NetworkAnswer(BaseModel):
    """The network around the sidecar: what explains a relay, or a slow path. Null: not known."""

    tailnet: str
    sidecar: PartState = Field(description="not ok: the netcheck is the newest one that was collected")
    measured_at: datetime | None
    udp: bool | None = Field(description="whether UDP works; false: every path is relayed")
    ipv4: bool | None
    ipv6: bool | None
    nat: Literal["easy", "hard"] | None = Field(
        description="`hard`: the port changes with the destination; a direct path depends on the other side"
    )
    port_mapping: list[str] | None = Field(
        description="which of UPnP, NAT-PMP and PCP the router offers; null: not tried"
    )
    captive_portal: bool | None
    regions: list[DerpRegion] = Field(description="the home region first, then the nearest ones")


class AlertMessage(BaseModel):
    """The message sent when an incident began, or the reason why none was sent."""

    id: int = Field(description="its number in the outbox, as `tsobs alerts` lists it")
    at: datetime
    text: str = Field(description="as it was sent, without its links")
    fate: str = Field(description="sent, pending, suppressed, …")
    reason: str = Field(description="why it was not sent; empty otherwise")


class Alert(BaseModel):
    """One incident: a topic that fires, or fired."""

    topic: str
    tailnet: str | None = Field(description="the tailnet of the node; null: a forecast")
    rule: str
    subject: str = Field(description="the node or model")
    severity: str
    state: AlertState = Field(description="`historical` was found by a backfill and never sent")
    since: datetime
    until: datetime | None
    value: float | None = Field(description="the newest while it fired")
    worst: float | None
    threshold: float | None
    detail: str
    fate: str = Field(description="of its first message: sent, suppressed, …; empty: there was none")
    title: str = Field(description="what the rule is called")
    unit: Unit = Field(description="of value, worst and threshold; empty: they are not shown")
    icon: Icon = Field(description="the shape that marks it on the page")
    message: AlertMessage | None = Field(description="null: found by a backfill, never sent")
    source_url: str | None = Field(
        description="in Dagster: the run that collected the data, or the partition of the asset"
    )


class AlertsAnswer(BaseModel):
    """What fires now, and the recent past, newest first."""

    firing: list[Alert]
    recent: list[Alert]


class LogEntry(BaseModel):
    """One record, with any extra fields."""

    model_config = ConfigDict(extra="allow")

    timestamp: str
    level: str
    logger: str
    message: str


class LogsAnswer(BaseModel):
    """Log records, newest first."""

    count: int
    entries: list[LogEntry]
    skipped: int = Field(description="lines passed over because they are no log record")
    unreadable: list[str] = Field(description="log files that could not be read; their records are missing")


class ModelMetrics(BaseModel):
    """One evaluation; the other keys are the metrics of the CSV's columns, absent where it has none."""

    model_config = ConfigDict(extra="allow")

    timestamp: datetime = Field(description="end of the window that was evaluated")
    window_start: datetime
    window_end: datetime
    version: str
    logged_at: datetime


class ModelVerdict(BaseModel):
    """What the newest evaluation means; null where there is too little to judge by. Errors in EUR/kWh."""

    mae: float
    baseline: float | None = Field(description="median MAE of the model's earlier days")
    days: int = Field(description="days in the baseline")
    degraded: bool | None = Field(description="MAE above twice the baseline")
    naive_mae: float | None = Field(description="error of the same hour of the day before")
    naive_failed: bool | None = Field(description="whether the naive forecast failed as well")
    skill_warning: bool | None
    window_end: datetime
    text: str


class MetricsHistory(BaseModel):
    """The last rows of a model's metrics history, oldest first."""

    model_name: str
    metrics: list[ModelMetrics]
    verdict: ModelVerdict | None


class ForecastHour(BaseModel):
    """One delivery hour; prices in EUR/kWh."""

    hour: datetime = Field(description="start of the delivery hour")
    price: float | None = Field(description="EUR/kWh; null: not published, or not collected yet")
    yhat: float | None = Field(description="the frozen forecast, EUR/kWh; null: none was issued")
    lower: float | None = Field(description="lower end of its 80 % interval, EUR/kWh")
    upper: float | None = Field(description="upper end of its 80 % interval, EUR/kWh")


class ForecastDay(BaseModel):
    """The 23, 24 or 25 hours of a delivery day, oldest first."""

    model_name: str
    day: date = Field(description="calendar day in the market's time zone")
    timezone: str = Field(description="the market's time zone")
    source: str = Field(description="where the prices are from; `demo`: simulated")
    issued_at: datetime | None = Field(description="when the forecast was issued; null: there is none")
    version: str | None = Field(description="the model's version")
    backfilled: bool | None = Field(description="made after the fact, from what was known at its due time")
    due_at: datetime = Field(description="when the day's forecast is due, the day before")
    published_at: datetime = Field(description="when the day's prices are usually published, the day before")
    hours: list[ForecastHour]


class Health(BaseModel):
    """The health of each part."""

    ok: bool
    parts: dict[str, PartState]


class About(BaseModel):
    """What a page needs to introduce itself."""

    version: str
    tailnet: str = Field(description="the first tailnet, the default of requests")
    tailnets: list[str] = Field(description="every tailnet that is watched")
    demo_tailnet: bool
    demo_prices: bool
    dagster_url: str
    model_name: str
    user: str | None = Field(description="Tailscale login of the caller")
