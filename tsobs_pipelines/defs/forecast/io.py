"""Shared by the forecast assets: the metrics history, opened once per process, and files of fitted models."""

import os
from datetime import date
from functools import lru_cache
from pathlib import Path

import dagster as dg

from tsobs_pipelines.defs.common.failures import permanent_failures_at_once
from tsobs_pipelines.defs.common.resources import SettingsResource
from tsobs_pipelines.forecasting.metrics_tracker import ModelMetricsTracker
from tsobs_pipelines.forecasting.model_files import open_files
from tsobs_pipelines.forecasting.model_retention import model_file
from tsobs_pipelines.forecasting.models.interface import FittedModel
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.settings import Settings


@lru_cache(maxsize=4)
def _tracker(models_dir: SecretUrl, locks: Path, _pid: int) -> ModelMetricsTracker:
    return ModelMetricsTracker(models_dir, locks=locks)


def tracker_of(settings: Settings) -> ModelMetricsTracker:
    """The metrics history of this process, which remembers what it has read."""
    return _tracker(settings.models_dir, settings.state_dir / "locks", os.getpid())


class ModelFilesIOManager(dg.ConfigurableIOManager):
    """Keeps fitted models as JSON, a file for each delivery day, on the disk or any file system of fsspec."""

    settings: dg.ResourceDependency[SettingsResource]
    model_name: str

    @permanent_failures_at_once()
    def handle_output(self, context: dg.OutputContext, obj: dict[str, FittedModel]) -> None:
        """Write the models by partition; a day that could not be fitted has none."""
        config = self.settings.get()
        files, source = open_files(config.models_dir), open_price_source(config).name
        for key, fitted in obj.items():
            name = model_file(self.model_name, source, date.fromisoformat(key))
            files.replace(name, fitted.to_json().encode())
        first = next(iter(obj), None)
        if first is not None:
            place = files.describe(model_file(self.model_name, source, date.fromisoformat(first)))
            context.add_output_metadata({"file": place, "files": len(obj)})

    @permanent_failures_at_once()
    def load_input(self, context: dg.InputContext) -> dict[str, FittedModel]:
        """The models of the partitions, as far as there are any."""
        config = self.settings.get()
        files, source = open_files(config.models_dir), open_price_source(config).name
        found: dict[str, FittedModel] = {}
        for key in context.asset_partition_keys:
            try:
                text = files.read(model_file(self.model_name, source, date.fromisoformat(key)))
            except FileNotFoundError:
                continue
            found[key] = FittedModel.from_json(text.decode())
        return found
