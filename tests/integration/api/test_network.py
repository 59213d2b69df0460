"""``/health-monitoring/network``: the netcheck, live and from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.api_world import NOW, api_of, demo_sidecar, parts_of, seed, settings_of
from tsobs_pipelines.api import views
from tsobs_pipelines.api.dependencies import Parts
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.errors import SidecarUnavailableError
from tsobs_pipelines.timeseries.schema import NETCHECK
from tsobs_pipelines.timeseries.store import Window

pytestmark = pytest.mark.usefixtures("_patient")

PATH = "/health-monitoring/network"


class Netchecks(TailscaleHealthService):
    """The client of the demo, whose netcheck is given; ``None``: it fails."""

    report: Mapping[str, object] | None = None
    asked = 0

    def get_network_diagnostics(self) -> dict[str, object]:
        """What was given."""
        self.asked += 1
        if self.report is None:
            raise SidecarUnavailableError("http://sidecar/netcheck", "no answer")
        return dict(self.report)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer waits for the status, also on a busy machine."""
    monkeypatch.setattr(views, "LIVE_PATIENCE_S", 10)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[Parts, Netchecks]]:
    with demo_sidecar() as url, Netchecks(url) as sidecar:
        parts = parts_of(settings_of(tmp_path), url)
        yield replace(parts, sidecars={parts.settings.first_tailnet.name: sidecar}), sidecar
        parts.store.close()


def asked(parts: Parts) -> dict[str, object]:
    with api_of(parts) as api:
        answer = api.get(PATH)
    assert answer.status_code == 200
    found: dict[str, object] = answer.json()
    return found


def test_the_demo_s_network_with_its_home_region(tmp_path: Path) -> None:
    with demo_sidecar() as url:
        parts = parts_of(settings_of(tmp_path), url)
        found = asked(parts)
        parts.store.close()
    regions = found["regions"]
    assert isinstance(regions, list)
    assert regions[0] | {"latency_ms": 0} == {"id": "4", "code": "fra", "latency_ms": 0, "home": True}
    assert [region["home"] for region in regions[1:]] == [False, False, False]
    assert {region["code"] for region in regions} == {"fra", "nue", "par", "lhr"}
    others = [region["latency_ms"] for region in regions[1:]]
    assert others == sorted(others)
    assert (found["udp"], found["ipv6"], found["nat"]) == (True, False, "easy")
    assert found["port_mapping"] is None
    assert found["measured_at"] == "2026-11-24T12:00:00Z"


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ({"MappingVariesByDestIP": True, "UPnP": True, "PMP": False, "PCP": None}, ("hard", ["UPnP"])),
        ({"MappingVariesByDestIP": False, "UPnP": False, "PMP": False, "PCP": False}, ("easy", [])),
        ({"MappingVariesByDestIP": None}, (None, None)),
        ({"MappingVariesByDestIP": "yes", "UPnP": 1}, (None, None)),
    ],
)
def test_nat_and_port_mapping(
    world: tuple[Parts, Netchecks], report: Mapping[str, object], expected: tuple[object, object]
) -> None:
    parts, sidecar = world
    sidecar.report = {"UDP": False, "RegionLatency": {}, "Now": "soon", **report}
    found = asked(parts)
    assert (found["nat"], found["port_mapping"]) == expected
    assert (found["udp"], found["regions"]) == (False, [])
    assert found["measured_at"] == "2026-11-24T12:00:30Z"


def test_a_sidecar_that_fails_leaves_the_netcheck_that_was_collected(world: tuple[Parts, Netchecks]) -> None:
    parts, _ = world
    seed(parts)
    found = asked(parts)
    sidecar, regions = found["sidecar"], found["regions"]
    assert isinstance(sidecar, dict)
    assert isinstance(regions, list)
    assert sidecar["ok"] is False
    assert "no answer" in sidecar["detail"]
    assert found["measured_at"] == "2026-11-24T12:00:00Z"
    assert [(region["id"], region["home"]) for region in regions][:1] == [("4", True)]
    assert len(regions) == 4


def test_nothing_is_known_is_an_answer(world: tuple[Parts, Netchecks]) -> None:
    parts, _ = world
    parts.store.delete(NETCHECK, Window(NOW.replace(year=2025), NOW))
    found = asked(parts)
    assert (found["measured_at"], found["udp"], found["regions"]) == (None, None, [])


def test_a_netcheck_is_taken_once_for_all_who_ask(world: tuple[Parts, Netchecks]) -> None:
    parts, sidecar = world
    sidecar.report = {"UDP": True}
    with api_of(parts) as api:
        for _ in range(5):
            assert api.get(PATH).status_code == 200
    assert sidecar.asked == 1
