"""Every alert rule. To add one: a module here, and its rule in :data:`RULES`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tsobs_pipelines.alerting.evidence import Evidence
from tsobs_pipelines.alerting.rule import AlertAsset, Rule
from tsobs_pipelines.alerting.rules.collection import COLLECTION_SILENCE
from tsobs_pipelines.alerting.rules.key_expiry import KEY_EXPIRY
from tsobs_pipelines.alerting.rules.latency import LATENCY
from tsobs_pipelines.alerting.rules.mae import MAE
from tsobs_pipelines.alerting.rules.node_silence import NODE_SILENCE
from tsobs_pipelines.alerting.rules.relay import RELAY
from tsobs_pipelines.alerting.rules.runs import FAILED_RUNS
from tsobs_pipelines.alerting.rules.skill import SKILL
from tsobs_pipelines.registry import Registry

E = TypeVar("E", bound=Evidence)

RULES: Registry[Rule] = Registry(
    "alert rule", (LATENCY, RELAY, NODE_SILENCE, KEY_EXPIRY, COLLECTION_SILENCE, FAILED_RUNS, MAE, SKILL)
)


def rules_by(kind: type[E]) -> list[tuple[Rule, E]]:
    """The rules that are judged by one kind of evidence, each with its own."""
    return [(rule, rule.evidence) for rule in RULES.values() if isinstance(rule.evidence, kind)]


def alert_assets() -> list[AlertAsset]:
    """Every asset that shows alerts, in the order of the rules."""
    return list(dict.fromkeys(rule.asset for rule in RULES.values() if rule.asset is not None))


def rules_of(asset: AlertAsset) -> Sequence[Rule]:
    """The rules whose alerts an asset shows."""
    return [rule for rule in RULES.values() if rule.asset == asset]
