"""DNS fails for sidecar, Telegram and prices, and recovers: error messages, and that nothing is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.support import bot_api as api
from tests.support.growing_sidecar import GrowingSidecar
from tests.support.journals import minutes
from tests.support.lab.names import Names
from tests.support.redata_api import redata_api
from tests.support.running import ROOT
from tests.support.sidecars import served
from tsobs_pipelines.timeseries.store import Window

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]

DAY = date(2026, 11, 20)
HOSTS = {name: f"{name}.tsobs.test" for name in ("sidecar", "telegram", "prices")}

Ask = Callable[[], dict[str, str]]


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names(tmp_path, set(HOSTS.values()))


@pytest.fixture
def sidecar() -> Iterator[GrowingSidecar]:
    made = GrowingSidecar()
    with served(made):
        yield made


@pytest.fixture
def bot() -> Iterator[api.BotApi]:
    with api.bot_api() as started:
        yield started


@pytest.fixture
def ask(tmp_path: Path, names: Names, sidecar: GrowingSidecar, bot: api.BotApi) -> Iterator[Ask]:
    with redata_api() as prices:
        urls = {"sidecar": sidecar.url, "telegram": bot.url, "prices": prices.url}
        arguments = [url.replace("127.0.0.1", HOSTS[name]) for name, url in urls.items()]
        with subprocess.Popen(
            [
                *(*names.command, sys.executable, "-m", "tests.support.lab.asker"),
                *(*arguments, f"sqlite:///{tmp_path}/tsobs.db", DAY.isoformat()),
            ],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as asker:

            def once() -> dict[str, str]:
                assert asker.stdin is not None
                assert asker.stdout is not None
                asker.stdin.write("\n")
                asker.stdin.flush()
                answers: dict[str, str] = json.loads(asker.stdout.readline())
                return answers

            yield once


def test_names_that_do_not_resolve_for_a_while(
    names: Names, sidecar: GrowingSidecar, bot: api.BotApi, ask: Ask
) -> None:
    start = Window.of_day(DAY).start
    sidecar.take(minutes(start, 3))
    names.forget(*HOSTS.values())
    for _ in range(2):
        gone = ask()
        assert gone["sidecar"].startswith("unavailable: ")
        assert gone["telegram"].startswith("pending ")
        assert gone["prices"].startswith("unavailable: ")
        assert all("name resolution" in answer or "not known" in answer for answer in gone.values()), gone
    assert not bot.requests
    sidecar.take(minutes(start, 6)[3:])
    names.learn(*HOSTS.values())
    assert ask() == {"sidecar": "6", "telegram": "sent", "prices": "24"}
    assert bot.texts == ["a message"]
