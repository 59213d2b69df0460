"""The run launchers for several machines are dagster-celery's and dagster-k8s', with their own settings."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster_celery.launcher import CeleryRunLauncher
from dagster_k8s import K8sRunLauncher

from tsobs_pipelines.dagster_storage.configuration import write_home
from tsobs_pipelines.dagster_storage.home import dagster_environment
from tsobs_pipelines.dagster_storage.initialise import initialise_instance
from tsobs_pipelines.settings import SettingsError, load_settings
from tsobs_pipelines.state_directory import prepare_state

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "none", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "nobody", "user": {}}],
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "nobody"}}],
    "current-context": "none",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_STATE_DIR", str(tmp_path / "var"))
    return tmp_path


def choose(monkeypatch: pytest.MonkeyPatch, launcher: str, config: object, place: Path) -> dg.DagsterInstance:
    """The instance that tsobs prepares for this launcher and this configuration file."""
    file = place / "launcher.yaml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    monkeypatch.setenv("TSOBS_RUN_LAUNCHER", launcher)
    monkeypatch.setenv("TSOBS_RUN_LAUNCHER_CONFIG", str(file))
    settings = load_settings()
    prepare_state(settings, settings.start_date)
    write_home(settings)
    initialise_instance(settings)
    for name, value in dagster_environment(settings).items():
        monkeypatch.setenv(name, value)
    return dg.DagsterInstance.get()


def test_the_launcher_of_dagster_k8s_takes_its_own_settings(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig = place / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG), "utf-8")
    monkeypatch.setenv("THE_CONFIG_MAP", "tsobs-instance")
    config = {
        "instance_config_map": {"env": "THE_CONFIG_MAP"},
        "service_account_name": "tsobs",
        "job_image": "tsobs:1",
        "job_namespace": "watching",
        "load_incluster_config": False,
        "kubeconfig_file": str(kubeconfig),
        "env_secrets": ["tsobs-secrets"],
        "run_k8s_config": {"pod_spec_config": {"securityContext": {"runAsUser": 8765}}},
    }
    with choose(monkeypatch, "k8s", config, place) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, K8sRunLauncher)
        assert (launcher.job_image, launcher.job_namespace) == ("tsobs:1", "watching")
        assert launcher.instance_config_map == "tsobs-instance"
        assert launcher.env_secrets == ["tsobs-secrets"]


def test_the_launcher_of_dagster_celery_takes_its_own_settings(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"default_queue": "mine", "config_source": {"task_acks_late": True}}
    with choose(monkeypatch, "celery", config, place) as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, CeleryRunLauncher)
        assert launcher.default_queue == "mine"
        assert launcher.celery.conf.task_acks_late is True


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, 'Missing required config entry "instance_config_map"'),
        ({"instance_config_map": "a", "image": "b"}, 'Received unexpected config entry "image"'),
        (["instance_config_map"], "expected a mapping of names to values"),
    ],
)
def test_settings_that_the_launcher_does_not_accept_end_the_start(
    place: Path, monkeypatch: pytest.MonkeyPatch, config: object, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        choose(monkeypatch, "k8s", config, place)


def test_a_configuration_that_is_not_there_ends_the_start(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSOBS_RUN_LAUNCHER_CONFIG", str(place / "missing.yaml"))
    with pytest.raises(SettingsError, match=r"TSOBS_RUN_LAUNCHER_CONFIG=.*missing\.yaml.*No such file"):
        write_home(load_settings())
