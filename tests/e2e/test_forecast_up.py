"""The forecast as a newcomer meets it: filled, judged and drawn, without a hand laid on."""

from __future__ import annotations

from pathlib import Path

import httpx
import pandas as pd
import pytest

from tests.e2e.running import Running, eventually, running
from tsobs_pipelines.forecasting.metrics_tracker import HISTORY_NAME

KEYS = ("electricity_prices", "price_model", "price_forecast", "forecast_evaluation")
FILLED = """query($key: [String!]!) {assetNodeOrError(assetKey: {path: $key}) {
  ... on AssetNode {partitionStats {numMaterialized numFailed}}}}"""
METADATA = """{assetNodeOrError(assetKey: {path: ["forecast_evaluation"]}) {
  ... on AssetNode {assetMaterializations(limit: 60) {partition metadataEntries {label
    ... on MarkdownMetadataEntry {mdStr} ... on TextMetadataEntry {text}}}}}}"""


def filled(tsobs: Running, key: str) -> int:
    """How many delivery days of the asset are there; none may have failed."""
    node = tsobs.graphql(FILLED, key=[key])["assetNodeOrError"]
    assert isinstance(node, dict)
    assert node["partitionStats"]["numFailed"] == 0
    return int(node["partitionStats"]["numMaterialized"])


def incidents(tsobs: Running) -> list[dict[str, object]]:
    """What the API knows of the MAE's topic."""
    answer = httpx.get(f"http://127.0.0.1:{tsobs.api_port}/alerts", timeout=30).json()
    known = [*answer.get("firing", []), *answer.get("recent", [])]
    return [each for each in known if each["topic"] == "mae_prophet_price_forecast"]


@pytest.mark.timeout(450)
def test_thirty_days_and_one_degradation(tmp_path: Path) -> None:
    with running(tmp_path) as tsobs:
        eventually(lambda: filled(tsobs, "forecast_evaluation") >= 31, 300, "31 days are evaluated")
        assert all(filled(tsobs, key) >= 31 for key in KEYS)
        frame = pd.read_csv(tsobs.state / "models" / HISTORY_NAME)
        assert frame.duplicated(["model_name", "version", "window_start", "window_end"]).sum() == 0
        degraded = frame[frame["mae"] > 2 * frame["baseline_mae"]]
        assert 1 <= len(degraded) <= 6
        node = tsobs.graphql(METADATA)["assetNodeOrError"]
        assert isinstance(node, dict)
        text = str(node["assetMaterializations"])
        assert "data:image/png;base64," in text
        assert "DEMO market" in text
        assert "x the baseline" in text
        (one,) = eventually(lambda: incidents(tsobs), 120, "the degradation is in the alert history")
        assert one["state"] == "historical"
