"""Prometheus metrics, in a registry of the API's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from tsobs_pipelines.api.schemas import Node, NodesAnswer, NodeState
from tsobs_pipelines.api.self_metrics import SelfMetrics

CONTENT_TYPE = CONTENT_TYPE_LATEST

_BOUNDS = (0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)


class Metrics:
    """The counters of the API, the gauges of the nodes, and those of tsobs' own work (``own``)."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter(
            "tsobs_http_requests_total",
            "Requests answered, by route and status",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tsobs_http_request_duration_seconds",
            "Time from the request's first byte to the answer's last",
            ["route"],
            buckets=_BOUNDS,
            registry=self._registry,
        )
        self.own = SelfMetrics(self._registry)
        self._up = Gauge("tsobs_part_up", "Whether a part is well", ["part"], registry=self._registry)
        gauges = {
            "latency": (
                "tsobs_node_latency_seconds",
                "Mean latency of the newest round; absent without a pong",
            ),
            "threshold": ("tsobs_node_latency_threshold_seconds", "Latency above which the node is slow"),
            "loss": ("tsobs_node_loss_ratio", "Share of the newest round's pings without a pong"),
            "availability": ("tsobs_node_availability_24h_ratio", "Share of the day's rounds with a pong"),
            "measured": ("tsobs_node_measured_timestamp_seconds", "Time of the newest round"),
            "latency_ms": (
                "tsobs_node_latency_ms",
                "Deprecated, gone after 2027-11: use tsobs_node_latency_seconds",
            ),
            "direct": (
                "tsobs_node_direct",
                'Deprecated, gone after 2027-11: use tsobs_node_path{path="direct"}',
            ),
        }
        self._path = Gauge(
            "tsobs_node_path",
            "1 for the path or state of the newest round, 0 for the others",
            ["tailnet", "hostname", "path"],
            registry=self._registry,
        )
        self._nodes = {
            key: Gauge(name, text, ["tailnet", "hostname"], registry=self._registry)
            for key, (name, text) in gauges.items()
        }

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def set_part(self, part: str, up: int) -> None:
        """Set whether a part is healthy: 1 or 0."""
        self._up.labels(part).set(up)

    def set_nodes(self, answers: Sequence[NodesAnswer]) -> None:
        """Set the latest state of each tailnet's nodes; unknown values have no sample."""
        for gauge in (*self._nodes.values(), self._path):
            gauge.clear()
        for answer in answers:
            for node in answer.nodes:
                for path in get_args(NodeState):
                    self._path.labels(answer.tailnet, node.hostname, path).set(path == node.state)
                for key, value in _values(node).items():
                    if value is not None:
                        self._nodes[key].labels(answer.tailnet, node.hostname).set(value)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)


def _values(node: Node) -> dict[str, float | None]:
    return {
        "latency": None if node.latency_ms is None else node.latency_ms / 1000,
        "threshold": node.threshold_ms / 1000,
        "latency_ms": node.latency_ms,
        "loss": node.loss,
        "direct": None if node.state in {"unknown", "self"} else float(node.state == "direct"),
        "availability": node.day.availability,
        "measured": None if node.measured_at is None else node.measured_at.timestamp(),
    }
