"""Each look of an alert sensor at new evidence, as a materialisation of the alert asset that needs no run.

It says up to when the rules are evaluated, how many topics fire, and the newest value of each. Its tags name
the upstream materialisations that were looked at, so that Dagster knows whether the asset is in sync.
Housekeeping deletes old ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg

from tsobs_pipelines.alerting.machine import Status, TopicState
from tsobs_pipelines.alerting.rule import AlertAsset, Rule, Unit
from tsobs_pipelines.alerting.rules import rules_of
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.alerting.text import clean
from tsobs_pipelines.defs.common.dagster_names import (
    CODE_VERSION_TAG,
    INPUT_EVENT_POINTER_TAG_PREFIX,
    NULL_EVENT_POINTER,
    get_input_data_version_tag,
    get_input_event_pointer_tag,
)

LOOK_TAG = "tsobs/look"
"""Marks the materialisations of looks; those of alerts have no such tag."""

_METADATA_OF = {
    Unit.MILLISECONDS: "latency_ms",
    Unit.PRICE: "error_eur_per_kwh",
    Unit.TIMES: "error_ratio",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """The alert state of a tailnet or model, and its name in the metadata; empty for the first one."""

    name: str
    store: AlertStore


def seen_tags(cursors: Mapping[dg.AssetKey, str | None]) -> dict[str, str]:
    """Tags by which Dagster knows up to which materialisation of each upstream asset was looked at.

    Upstream assets are partitioned: Dagster compares the pointers (storage ids), and not the versions.
    """
    tags = {CODE_VERSION_TAG: LOOK_TAG}
    for key, cursor in cursors.items():
        tags[get_input_event_pointer_tag(key)] = cursor or NULL_EVENT_POINTER
        tags[get_input_data_version_tag(key)] = cursor or NULL_EVENT_POINTER
    return tags


def seen_before(instance: dg.DagsterInstance, alert: AlertAsset) -> dict[dg.AssetKey, str | None]:
    """Up to where the newest materialisation of an alert asset had looked at each upstream asset."""
    entry = instance.get_latest_materialization_event(dg.AssetKey(alert.name))
    prefix = f"{INPUT_EVENT_POINTER_TAG_PREFIX}/"
    tags = (entry.tags if entry is not None else None) or {}
    return {
        dg.AssetKey.from_user_string(name.removeprefix(prefix)): None
        if value == NULL_EVENT_POINTER
        else value
        for name, value in tags.items()
        if name.startswith(prefix)
    }


def look_event(
    alert: AlertAsset, scopes: Sequence[Scope], cursors: Mapping[dg.AssetKey, str | None]
) -> dg.AssetMaterialization:
    """The materialisation that is recorded after an evaluation: the state of all rules of the asset."""
    until: list[datetime] = []
    firing: list[str] = []
    values: dict[str, dg.MetadataValue] = {}
    for scope in scopes:
        for rule in rules_of(alert):
            if (progress := scope.store.progress(rule)) is not None:
                until.append(progress.evaluated_until)
            states = scope.store.states(rule).values()
            firing += [_named(scope, state.topic) for state in states if state.status is Status.FIRING]
            values |= dict(_value(scope, rule, state) for state in states)
    metadata: dict[str, dg.MetadataValue] = {"firing": dg.MetadataValue.int(len(firing))}
    if firing:
        metadata["firing_topics"] = dg.MetadataValue.text(", ".join(firing))
    if until:
        metadata["evaluated_until"] = dg.MetadataValue.timestamp(min(until))
    return dg.AssetMaterialization(
        asset_key=alert.name,
        description=f"{len(firing)} firing: {', '.join(firing)}" if firing else "Nothing fires.",
        metadata=metadata | values,
        tags={**seen_tags(cursors), LOOK_TAG: "1"},
    )


def _value(scope: Scope, rule: Rule, state: TopicState) -> tuple[str, dg.MetadataValue]:
    """The newest value of a topic; of a rule without values, whether the topic fires, as 1 or 0."""
    name = _METADATA_OF.get(rule.unit)
    if name is None or state.value is None:
        return f"firing/{_named(scope, state.topic)}", dg.MetadataValue.int(state.status is Status.FIRING)
    return f"{name}/{_named(scope, state.subject)}", dg.MetadataValue.float(state.value)


def _named(scope: Scope, name: str) -> str:
    return clean(f"{scope.name}/{name}" if scope.name else name)
