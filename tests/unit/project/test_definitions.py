"""The names under which Dagster knows tsobs: keys, jobs, schedules and sensors are a public interface."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.support.api_world import settings_of
from tsobs_pipelines.definitions import build_defs
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.tailnet_settings import Tailnet

ASSETS = {
    *("connection_metrics", "connection_summary", "network_diagnostics", "tailnet_journal"),
    *("electricity_prices", "price_model", "price_forecast", "forecast_evaluation"),
    *("latency_alerts", "relay_alerts", "silence_alerts", "mae_alerts"),
    *("disk_use", "housekeeping"),
}
CHECKS = {
    "connection_metrics:journal_is_fresh",
    "connection_metrics:latency_within_limit",
    "connection_metrics:nodes_are_seen",
    "connection_metrics:reached_directly",
    "connection_metrics:rounds_complete",
    "disk_use:free_disk",
    "electricity_prices:prices_complete",
    "forecast_evaluation:mae_within_twice_baseline",
    "forecast_evaluation:skill_above_naive",
}
JOBS = {
    *("collect_connections", "heal_connections"),
    *(
        "fetch_prices",
        "issue_forecast",
        "evaluate_forecast",
        "fill_prices",
        "fill_forecasts",
        "fill_evaluations",
    ),
    *("tell_latency_alerts", "tell_relay_alerts", "tell_silence_alerts", "tell_mae_alerts"),
    *("keep_house", "measure_disk"),
}
SCHEDULES = {
    "collect_every_5_minutes": "*/5 * * * * collect_connections",
    "evaluate_forecast_every_5_minutes": "*/5 * * * * evaluate_forecast",
    "fetch_prices_when_due": "*/15 * * * * fetch_prices",
    "issue_forecast_at_9_utc": "0 9 * * * issue_forecast",
    "keep_house_every_night": "40 3 * * * keep_house",
    "measure_disk_every_hour": "25 * * * * measure_disk",
}
SENSORS = {
    "alert_delivery_sensor": 60,
    "first_upkeep_sensor": 120,
    "forecast_healing_sensor": 45,
    "healing_sensor": 60,
    "latency_alert_sensor": 15,
    "mae_degradation_sensor": 60,
    "node_silence_sensor": 30,
    "relay_alert_sensor": 30,
    "run_failure_sensor": 60,
    "silence_sensor": 60,
}
"""The shortest interval of each, in seconds."""

DOMAINS = {"tailnet", "forecast", "alerts", "operations"}
ROOT = Path(__file__).parents[3]

OFFICE = Tailnet(name="office", sidecar_url="http://office:8765", critical_nodes=("printer",))
STALE_NEVER = {"latency_alerts", "relay_alerts", "silence_alerts", "mae_alerts", "tailnet_journal"}
"""What has no freshness policy: nothing renews it by itself."""


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_defs(settings_of(tmp_path_factory.mktemp("one")))


def asset_keys(defs: dg.Definitions) -> set[str]:
    return {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}


def test_assets_and_their_checks(defs: dg.Definitions) -> None:
    checks = defs.resolve_asset_graph().asset_check_keys
    assert asset_keys(defs) == ASSETS
    assert {f"{check.asset_key.to_user_string()}:{check.name}" for check in checks} == CHECKS


def test_jobs_schedules_and_sensors(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    assert {name for name in repository.job_names if not name.startswith("__")} == JOBS
    assert {one.name: f"{one.cron_schedule} {one.job_name}" for one in repository.schedule_defs} == SCHEDULES
    assert {one.execution_timezone for one in repository.schedule_defs} == {"UTC"}
    assert {one.name: one.minimum_interval_seconds for one in repository.sensor_defs} == SENSORS
    stopped = [one.name for one in repository.schedule_defs if one.default_status.value != "RUNNING"]
    stopped += [one.name for one in repository.sensor_defs if one.default_status.value != "RUNNING"]
    assert stopped == []


def test_a_further_tailnet_has_names_of_its_own(tmp_path: Path, defs: dg.Definitions) -> None:
    two = build_defs(settings_of(tmp_path, further_tailnets=(OFFICE,)))
    new = asset_keys(two) - asset_keys(defs)
    assert new == {
        f"office/{name}"
        for name in ("connection_metrics", "connection_summary", "network_diagnostics", "tailnet_journal")
    }
    jobs = set(two.get_repository_def().job_names) - set(defs.get_repository_def().job_names)
    assert jobs == {"collect_connections_office", "heal_connections_office"}
    schedules = {one.name for one in two.get_repository_def().schedule_defs} - SCHEDULES.keys()
    assert schedules == {"collect_every_5_minutes_office"}


def test_what_renews_itself_has_a_freshness_policy(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).freshness_policy is not None
    }
    assert found == ASSETS - STALE_NEVER


def test_every_definition_says_what_it_is_whose_it_is_and_where_to_read_on(defs: dg.Definitions) -> None:
    repository, graph = defs.get_repository_def(), defs.resolve_asset_graph()
    assets = [graph.get(key) for key in graph.get_all_asset_keys()]
    jobs = [repository.get_job(name) for name in repository.job_names if not name.startswith("__")]
    owned: dict[str, Any] = {asset.key.to_user_string(): asset for asset in assets}
    owned |= {one.name: one for one in jobs}
    owned |= {one.name: one for one in repository.schedule_defs}
    owned |= {one.name: one for one in repository.sensor_defs}
    assert [name for name, one in owned.items() if list(one.owners or ()) != ["team:tsobs"]] == []
    assert [name for name, one in owned.items() if one.tags.get("tsobs/domain") not in DOMAINS] == []
    described = owned | {spec.name: spec for asset in graph.assets_defs for spec in asset.check_specs}
    assert len(described) == len(ASSETS) + len(CHECKS) + len(JOBS) + len(SCHEDULES) + len(SENSORS)
    for name, one in described.items():
        text, _, links = (one.description or "").partition("\n\n")
        assert len(text) > 10, name
        assert "/vpn.html)" in links, name
        (document,) = re.findall(r"`(docs/[A-Z_]+\.md)`", links)
        assert (ROOT / document).is_file(), name


def test_every_asset_says_where_its_data_are(tmp_path: Path) -> None:
    secret = "hunter2hunter2"
    settings = settings_of(
        tmp_path,
        further_tailnets=(OFFICE,),
        database_url_override=SecretUrl(f"postgresql://tsobs:{secret}@db/tsobs"),
    )
    graph = build_defs(settings).resolve_asset_graph()
    places = {
        key.to_user_string(): str(graph.get(key).metadata.get("dagster/uri"))
        for key in graph.get_all_asset_keys()
    }
    assert [name for name, place in places.items() if "://" not in place and place != "demo:tailnet"] == []
    assert places["connection_metrics"].endswith("db/tsobs#tailscale_connections")
    assert places["office/tailnet_journal"] == "http://office:8765/samples"
    assert places["forecast_evaluation"].endswith("/metrics_history.csv")
    assert secret not in str(places)
