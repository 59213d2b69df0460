"""The configuration of Dagster's instance and workspace, written into its home.

The repository's ``dagster.yaml`` is what plain ``dagster dev`` uses; this module adds what only ``make up``
has, lasting storage, a queue of runs and the chosen launcher, so that both share every other choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import yaml

from tsobs_pipelines.dagster_storage.home import Home, dagster_home
from tsobs_pipelines.run_tags import BACKFILLS, QUEUE_TAG
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import Settings, SettingsError

BASE = Path(__file__).parents[2] / "dagster.yaml"
"""The configuration that ``dagster dev`` reads from the checkout."""

_LAUNCHERS: Mapping[str, Mapping[str, object]] = {
    "default": {"module": "dagster", "class": "DefaultRunLauncher"},
    # Broker and results by Celery's own variables, for launcher and workers alike.
    "celery": {"module": "dagster_celery.launcher", "class": "CeleryRunLauncher"},
    "k8s": {"module": "dagster_k8s", "class": "K8sRunLauncher"},
}


def write_home(settings: Settings) -> Home:
    """Write the configuration of instance and workspace; both are replaced whole."""
    home = dagster_home(settings)
    _replace(home.root / "dagster.yaml", instance_configuration(settings))
    workspace = {"load_from": [{"grpc_server": {"socket": str(home.socket), "location_name": "tsobs"}}]}
    _replace(home.workspace, workspace)
    return home


def _replace(path: Path, content: Mapping[str, object]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    temporary.replace(path)


def base_configuration() -> dict[str, object]:
    """What the project's ``dagster.yaml`` says."""
    loaded: dict[str, object] = yaml.safe_load(BASE.read_text("utf-8"))
    return loaded


def instance_configuration(settings: Settings) -> dict[str, object]:
    """The content of ``dagster.yaml`` in Dagster's home.

    Raises:
        SettingsError: the run launcher's package is not installed, or its configuration can't be read.
    """
    base = base_configuration()
    return {
        **base,
        "python_logs": _at_level(base["python_logs"], settings.log_level),
        "storage": _storage(settings),
        # Runs log as JSON; capturing stdout would start two processes a step.
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "run_monitoring": _run_monitoring(settings, base),
        **_run_queue(settings),
        "run_launcher": _launcher(settings),
    }


def _run_queue(settings: Settings) -> Mapping[str, object]:
    """The queue of runs: one backfill at a time leaves room for everything else, on one machine."""
    backfills = 1 if settings.run_launcher == "default" else 4
    one_of_each = {"applyLimitPerUniqueValue": True}
    limits: list[dict[str, object]] = [
        {"key": "dagster/backfill", "limit": backfills},
        {"key": QUEUE_TAG, "value": BACKFILLS, "limit": backfills},
        # Runs of one schedule are executed in order, and so are those of one sensor.
        {"key": "dagster/schedule_name", "value": one_of_each, "limit": 1},
        {"key": "dagster/sensor_name", "value": one_of_each, "limit": backfills},
    ]
    queue = {
        "dequeue_interval_seconds": 1,
        # A code server that died serves again within seconds; its runs wait instead of failing.
        "max_user_code_failure_retries": 100,
        "user_code_failure_retry_delay": 2,
    }
    coordinator = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator", "config": queue}
    runs = {"max_concurrent_runs": 10, "tag_concurrency_limits": limits}
    return {"run_coordinator": coordinator, "concurrency": {"runs": runs}}


def _launcher(settings: Settings) -> Mapping[str, object]:
    launcher = _LAUNCHERS[settings.run_launcher]
    if find_spec(str(launcher["module"]).partition(".")[0]) is None:
        name = settings.run_launcher
        raise SettingsError(f"TSOBS_RUN_LAUNCHER={name}: expected tsobs[{name}] to be installed")
    return {**launcher, "config": _launcher_config(settings.run_launcher_config)}


def _launcher_config(file: Path | None) -> Mapping[str, object]:
    """What the file says; the launcher itself knows which names there are."""
    if file is None:
        return {}
    shown = f"TSOBS_RUN_LAUNCHER_CONFIG={shown_value(str(file), 300)}"
    try:
        loaded = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"{shown}: expected a YAML file that can be read ({reason})") from error
    if not isinstance(loaded, dict):
        raise SettingsError(f"{shown}: expected a mapping of names to values, not {shown_value(str(loaded))}")
    return loaded


def _at_level(value: object, level: str) -> object:
    """The configuration with ``level`` wherever it names a level of a logger or handler."""
    if not isinstance(value, dict):
        return value
    names = {"python_log_level", "threshold"}
    return {key: level if key in names else _at_level(item, level) for key, item in value.items()}


def _run_monitoring(settings: Settings, base: Mapping[str, object]) -> object:
    configured = base["run_monitoring"]
    if settings.run_launcher != "default" or not isinstance(configured, dict):
        return configured
    # A run that is launched starts within seconds, unless the daemon was killed while launching it.
    return {**configured, "start_timeout_seconds": 45}


def _storage(settings: Settings) -> dict[str, object]:
    if settings.dagster_database_url is not None:
        # By its name in the environment: the configuration file holds no password.
        return {"postgres": {"postgres_url": {"env": "TSOBS_DAGSTER_DATABASE_URL"}}}
    place = {"base_dir": str(dagster_home(settings).storage)}
    if settings.dagster_patches == "off":
        return {"sqlite": place}
    kept = {"module": "tsobs_pipelines.dagster_storage.sqlite", "class": "SqliteStorage", "config": place}
    return {"custom": kept}
