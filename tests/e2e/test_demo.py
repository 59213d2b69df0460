"""The demo's thirty days at the first start: forecasts issued and evaluated, alerts in the history."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd
import pytest

from tests.support import bot_api as api
from tests.support.running import ROOT, Running, eventually, running
from tsobs_pipelines.alerting import outbox
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.demo.tailnet import INCIDENTS
from tsobs_pipelines.forecasting.metrics_tracker import HISTORY_NAME

pytestmark = pytest.mark.long

KEYS = ("electricity_prices", "price_model", "price_forecast", "forecast_evaluation")
FILLED = """query($key: [String!]!) {assetNodeOrError(assetKey: {path: $key}) {
  ... on AssetNode {partitionStats {numMaterialized numFailed}}}}"""
METADATA = """{assetNodeOrError(assetKey: {path: ["forecast_evaluation"]}) {
  ... on AssetNode {assetMaterializations(limit: 60) {partition metadataEntries {label
    ... on MarkdownMetadataEntry {mdStr} ... on TextMetadataEntry {text}}}}}}"""

STATUS = """{assetNodes {assetKey {path} staleStatus
  assetMaterializations(limit: 1) {runId}}}"""

FILLING_S = 900
"""The first filling fits thirty models: two minutes on an idle machine, five beside three other tests."""

HIDDEN = timedelta(minutes=31)
"""What goes on at the first start, or ended just before, is news."""


@pytest.fixture(scope="module")
def bot() -> Iterator[api.BotApi]:
    with api.bot_api() as running_bot:
        yield running_bot


@pytest.fixture(scope="module")
def tsobs(tmp_path_factory: pytest.TempPathFactory, bot: api.BotApi) -> Iterator[Running]:
    with running(
        tmp_path_factory.mktemp("demo"),
        TELEGRAM_API_URL=bot.url,
        TELEGRAM_BOT_TOKEN=api.TOKEN,
        TELEGRAM_CHAT_ID=api.CHAT,
    ) as started:
        yield started


def filled(tsobs: Running, key: str) -> int:
    """How many delivery days of the asset are there; none may have failed."""
    node = tsobs.graphql(FILLED, key=[key])["assetNodeOrError"]
    assert isinstance(node, dict)
    assert node["partitionStats"]["numFailed"] == 0
    return int(node["partitionStats"]["numMaterialized"])


def alerts(tsobs: Running) -> dict[str, list[dict[str, str]]]:
    """What the API shows of all alerts."""
    answer = httpx.get(f"http://127.0.0.1:{tsobs.api_port}/alerts?limit=1000", timeout=30)
    known: dict[str, list[dict[str, str]]] = answer.json()
    return known


def incidents(tsobs: Running) -> list[dict[str, str]]:
    """What the API knows of the MAE's topic."""
    known = alerts(tsobs)
    every = [*known.get("firing", []), *known.get("recent", [])]
    return [each for each in every if each["topic"] == "mae_prophet_price_forecast"]


def history(tsobs: Running) -> list[dict[str, str]]:
    """The past incidents that the API shows."""
    return alerts(tsobs)["recent"]


def expected() -> set[str]:
    """The topics that the demo's incidents must have left, if they have been over for a while."""
    now = datetime.now(UTC)
    rules = {"slow": "latency", "relayed": "relay", "offline": "silence"}
    return {
        f"{rules[one.kind]}_{one.node}"
        for one in INCIDENTS
        if one.kind in rules and one.node is not None
        if now - HIDDEN
        > datetime.fromtimestamp(one.last_end(now.timestamp()), UTC)
        > now - timedelta(days=29)
    }


@pytest.mark.timeout(FILLING_S + 150)
def test_thirty_days_and_one_degradation(tsobs: Running) -> None:
    eventually(lambda: filled(tsobs, "forecast_evaluation") >= 31, FILLING_S, "31 days are evaluated")
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


def test_the_demos_incidents_are_history_and_nobody_was_told(tsobs: Running, bot: api.BotApi) -> None:
    assert expected()
    eventually(
        lambda: expected() <= {one["topic"] for one in history(tsobs)},
        180,
        "every incident is in the history",
    )
    past = [one for one in history(tsobs) if one["topic"] in expected()]
    assert {one["state"] for one in past} == {"historical"}
    assert len({(one["topic"], one["since"]) for one in past}) == len(past)
    told = outbox.newest(engine_for(f"sqlite:///{tsobs.state / 'tsobs.db'}"), 1000)
    assert [message.html for message in told if message.fate == "sent"] == bot.texts[::-1]
    assert not [text for text in bot.texts if any(topic.partition("_")[2] in text for topic in expected())]


def test_after_the_first_day_s_filling_nothing_looks_like_a_fault(tsobs: Running) -> None:
    def ill() -> dict[str, object]:
        nodes = tsobs.graphql(STATUS)["assetNodes"]
        assert isinstance(nodes, list)
        known = {"/".join(node["assetKey"]["path"]): node for node in nodes}
        return {
            name: node["staleStatus"]
            for name, node in known.items()
            if not node["assetMaterializations"] or node["staleStatus"] != "FRESH"
        }

    eventually(lambda: ill() == {}, 240, "every asset is materialised and in sync")


def test_the_command_shows_them_as_well(tsobs: Running) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tsobs_pipelines", "alerts", "--limit", "100"],
        cwd=Path(ROOT),
        env=dict(tsobs.environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    print(done.stdout)  # noqa: T201 - for the report
    lines = [line for line in done.stdout.splitlines() if "[historical DEMO]" in line]
    for topic in expected():
        assert any(f"  {topic}  " in line for line in lines), topic
