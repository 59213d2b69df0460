"""What happens to a real tailnet arrives in the Bot API, through sidecar, journal, Dagster and its daemon.

One story of 25 minutes in which nodes die, freeze, become slow and are relayed, told in five by a journal
whose clock runs six times as fast (``timelapse.py``). A tick of the collection is launched every five of its
minutes, with the tag and the partition that the schedule gives; everything after it is the daemon's: sensors,
runs, messages. The tests look at what arrived.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import Engine

from tests.support import bot_api as api
from tests.support.lab.processes import poll_until
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import running_sidecar
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet
from tests.support.lab.timelapse import ROUND_S, Timelapse, quiet_interval, timelapse
from tests.support.running import LOCATION, Running, eventually, running
from tsobs_pipelines.alerting import history
from tsobs_pipelines.alerting.mutes import mute
from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.database import engine_for

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

TOLD_WITHIN_S = 60
"""From the tick that collects the evidence to the message."""

LAUNCH = f"""mutation($tags: [ExecutionTag!]) {{launchRun(executionParams: {{
  selector: {{{LOCATION}, jobName: "collect_connections"}},
  executionMetadata: {{tags: $tags}}}}) {{
  __typename ... on LaunchRunSuccess {{run {{runId}}}} ... on PythonError {{message}}}}}}"""
RUN = """query($id: ID!) {runOrError(runId: $id) {... on Run {status}}}"""
EVENTS = """{assetOrError(assetKey: {path: ["%s"]}) {... on Asset {assetMaterializations(limit: 5) {
  metadataEntries {label ... on TextMetadataEntry {text} ... on FloatMetadataEntry {floatValue}
  ... on UrlMetadataEntry {url} ... on PipelineRunMetadataEntry {runId}}}}}}"""


@dataclass
class Story:
    """What arrived, and when the ticks before it were launched."""

    tsobs: Running
    bot: api.BotApi
    ticks: list[float] = field(default_factory=list)

    def tick(self, lapse: Timelapse) -> None:
        """Collect what is new, as the schedule does."""
        self.ticks.append(time.time())
        stamp = datetime.now(UTC).isoformat()
        for day in lapse.days():
            tags = [{"key": "dagster/partition", "value": day}, {"key": "tsobs/scheduled_at", "value": stamp}]
            answer = self.tsobs.graphql(LAUNCH, tags=tags)["launchRun"]
            assert isinstance(answer, dict)
            assert answer["__typename"] == "LaunchRunSuccess", answer
            run = str(answer["run"]["runId"])
            eventually(lambda run=run: self.status(run) == "SUCCESS", 60, "the tick has collected")  # type: ignore[misc]

    def status(self, run: str) -> str:
        found = self.tsobs.graphql(RUN, id=run)["runOrError"]
        assert isinstance(found, dict)
        return str(found["status"])

    @property
    def engine(self) -> Engine:
        return engine_for(f"sqlite:///{self.tsobs.state / 'tsobs.db'}")

    def texts(self) -> list[str]:
        return [plain(text) for text in self.bot.texts]

    def delay(self, number: int) -> float:
        arrived = self.bot.arrived_at[number]
        return arrived - max(tick for tick in self.ticks if tick <= arrived)


def rounds_of(lapse: Timelapse) -> list[dict[str, dict[str, dict[str, object]]]]:
    lines = [
        line for day in lapse.days() for line in (lapse.target / f"{day}.ndjson").read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def silent(lapse: Timelapse, node: str) -> bool:
    """Whether the newest round had no pong of the node."""
    pings = rounds_of(lapse)[-1].get("nodes", {}).get(node, {}).get("pings")
    return isinstance(pings, list) and all(ping.get("Err") for ping in pings)


@pytest.fixture(scope="module")
def story(lab_run: Run, tailnet: Tailnet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    tailnet.direct()
    served = lab_run.place("served-journal")
    with contextlib.ExitStack() as parts:
        sampled = parts.enter_context(
            running_sidecar(lab_run, tailnet.observer, "sampling", {"SAMPLE_INTERVAL": str(ROUND_S)})
        )
        serving = parts.enter_context(
            running_sidecar(
                lab_run,
                tailnet.observer,
                "serving",
                {"SAMPLE_INTERVAL": str(quiet_interval()), "JOURNAL_DIR": str(served)},
            )
        )
        bot = parts.enter_context(api.bot_api())
        tsobs = parts.enter_context(
            running(
                tmp_path_factory.mktemp("alerts"),
                TSOBS_SIDECAR_URL=serving.url,
                TELEGRAM_API_URL=bot.url,
                TELEGRAM_BOT_TOKEN=api.TOKEN,
                TELEGRAM_CHAT_ID=api.CHAT,
            )
        )
        # Its ticks, at the machine's clock, would fall into the middle of the journal's five minutes.
        tsobs.stop_collecting()
        told = Story(tsobs, bot)
        # The journal is behind the machine's clock, and silence is about just that.
        mute(told.engine, "silence", datetime.now(UTC) + timedelta(hours=1))
        with timelapse(sampled.journal, served) as lapse:
            tell(told, lapse, tailnet)
        yield told
        tailnet.direct()


def tell(story: Story, lapse: Timelapse, tailnet: Tailnet) -> None:
    """The story, minute by minute of the journal's clock."""
    git, dev, factory = (tailnet.node(name) for name in CRITICAL_NODES)
    lapse.wait(1.5)
    story.tick(lapse)
    dev.kill()
    factory.stop()
    poll_until(lambda: silent(lapse, factory.name), within_s=40, what="a round without pongs")
    factory.cont()
    dev.start()
    lapse.wait(5)
    story.tick(lapse)
    with tailnet.slow(git):
        lapse.wait(10)
    story.tick(lapse)
    tailnet.set_forwarding(False)
    lapse.wait(15)
    story.tick(lapse)
    tailnet.set_forwarding(True)
    lapse.wait(20)
    story.tick(lapse)
    with contextlib.ExitStack() as slow:
        for node in (git, dev, factory):
            slow.enter_context(tailnet.slow(node))
        lapse.wait(25)
    story.tick(lapse)
    eventually(lambda: len(story.bot.accepted) >= 5, TOLD_WITHIN_S, f"a fifth message after {story.texts()}")
    # Whatever else a sensor might still have to say.
    time.sleep(40)
    for number, text in enumerate(story.texts()):
        print(f"{story.delay(number):5.1f} s after its tick: {text}")  # noqa: T201 - for the report


def test_the_story_has_five_messages(story: Story) -> None:
    assert len(story.texts()) == 5
    assert all("[DEMO" not in text for text in story.texts())


def test_idle_stopped_and_restarted_nodes_give_no_message(story: Story) -> None:
    quiet = min(story.bot.arrived_at)
    assert quiet > story.ticks[2], "the first message is about what came after they were back"


def test_a_slow_node_is_one_message_and_its_end_one_resolve(story: Story) -> None:
    (began,) = (text for text in story.texts() if "high latency to git" in text and "of 3 nodes" not in text)
    (ended,) = (text for text in story.texts() if "latency to git is back" in text)
    assert "⚠️ WARNING" in began
    assert "over 100 ms" in began
    assert "✅ RESOLVED" in ended
    assert story.texts().index(began) < story.texts().index(ended)


def test_without_forwarding_one_relay_message_and_with_it_one_resolve(story: Story) -> None:
    began, ended = (text for text in story.texts() if "DERP" in text)
    assert "3 of 3 nodes: most nodes are relayed at once" in began
    assert "RESOLVED" in ended
    for node in CRITICAL_NODES:
        assert f"{node} is reached through DERP relay fra" in began
        assert f"{node} is reached without DERP again" in ended


def test_three_of_three_slow_nodes_are_one_message_about_the_uplink(story: Story) -> None:
    last = story.texts()[-1]
    assert "🚨 CRITICAL 3 of 3 nodes: most nodes are slow at once" in last
    # The third has spoken twice in the last half hour.
    assert all(f"high latency to {node}" in last for node in CRITICAL_NODES if node != "git")


def test_each_is_told_within_a_minute_of_the_tick_that_saw_it(story: Story) -> None:
    assert [story.delay(number) < TOLD_WITHIN_S for number in range(5)] == [True] * 5


def test_the_materialisation_leads_back_to_the_run_that_collected_it(story: Story) -> None:
    found = story.tsobs.graphql(EVENTS % "latency_alerts")["assetOrError"]
    assert isinstance(found, dict)
    newest = found["assetMaterializations"][0]
    said = {entry["label"]: entry for entry in newest["metadataEntries"]}
    assert said["fate"]["text"] == "sent"
    assert said["text"]["text"] == story.texts()[-1]
    assert said["threshold"]["floatValue"] == 100
    assert said["value"]["floatValue"] > 100
    assert story.status(said["source_run"]["runId"]) == "SUCCESS"
    assert said["page"]["url"].endswith("/vpn.html")


def test_the_api_shows_what_fires_and_what_was(story: Story) -> None:
    shown = httpx.get(f"http://127.0.0.1:{story.tsobs.api_port}/alerts").json()
    assert {one["topic"] for one in shown["firing"]} == {f"latency_{node}" for node in CRITICAL_NODES}
    begin = datetime.fromtimestamp(story.ticks[0] - 3600, UTC)
    over = [
        one for one in history.recent(story.engine, begin) if one.until and one.rule in {"latency", "relay"}
    ]
    assert sorted(one.topic for one in over) == [
        "latency_git",
        *sorted(f"relay_{node}" for node in CRITICAL_NODES),
    ]
    assert {one.origin for one in over} == {"live"}
