"""The file of further tailnets: valid and invalid ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.api_world import settings_of
from tsobs_pipelines.secret_url import clear
from tsobs_pipelines.settings import SettingsError, load_settings
from tsobs_pipelines.tailnet_settings import Tailnet

WHOLE = """
[office]
sidecar_url = "http://office:8765/"
sidecar_token_file = "office.token"
critical_nodes = ["git", "printer"]
latency_threshold_ms = 150
latency_thresholds_ms = { printer = 400 }

[plant]
sidecar_url = "https://plant.example:8765"
critical_nodes = ["plc"]
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Put this into the file that the settings name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_TAILNETS_FILE", "tailnets.toml")

    def put(text: str) -> Path:
        (tmp_path / "tailnets.toml").write_text(text)
        return tmp_path

    return put


def test_without_a_file_there_is_one_tailnet() -> None:
    settings = settings_of(Path("var"))
    assert [one.name for one in settings.tailnets] == ["demo"]
    assert settings.first_tailnet.demo
    assert settings.first_tailnet.suffixed("healing_sensor") == "healing_sensor"


def test_further_tailnets_come_after_the_first_in_the_order_of_the_file(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(WHOLE)
    monkeypatch.setenv("TSOBS_SIDECAR_URL", "http://home:8765")
    monkeypatch.setenv("TSOBS_LATENCY_THRESHOLD_MS", "80")
    home, office, plant = load_settings().tailnets
    assert (home.name, clear(home.sidecar_url or ""), home.latency_threshold_of("git")) == (
        "default",
        "http://home:8765",
        80,
    )
    assert (office.name, clear(office.sidecar_url or "")) == ("office", "http://office:8765")
    assert office.critical_nodes == ("git", "printer")
    assert office.sidecar_token_file == Path("office.token")
    # Its limits are its own: nothing of the first tailnet holds for it.
    assert (office.latency_threshold_of("git"), office.latency_threshold_of("printer")) == (150, 400)
    assert (plant.latency_threshold_of("plc"), plant.demo, plant.first) == (100, False, False)
    assert office.suffixed("collect_connections") == "collect_connections_office"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[office]\ncritical_nodes = ['git']", "[office] sidecar_url: Field required"),
        ("[office]\nsidecar_url = 'http://o:1'", "[office] critical_nodes: Field required"),
        ("[office]\nsidecar_url = 'http://o:1'\ncritical_nodes = []", "[office] critical_nodes=[]"),
        (
            "[office]\nsidecar_url = 'office'\ncritical_nodes = ['git']",
            "[office] sidecar_url: expected an http",
        ),
        (WHOLE + "latency_threshold_ms = true", "[plant] latency_threshold_ms=True: expected a number"),
        (
            WHOLE + "latency_thresholds_ms = { plc = false }",
            "[plant] latency_thresholds_ms.plc=False: expected",
        ),
        (WHOLE + 'sidecar_token_file = "~/t"', "[plant] sidecar_token_file='~/t': expected a path without ~"),
        (WHOLE + "latency_threshold_ms = -1", "[plant] latency_threshold_ms=-1: "),
        (WHOLE + "nodes = ['git']", "[plant] nodes: no such setting, expected sidecar_url, "),
        ("[default]\nsidecar_url = 'http://o:1'", "[default]: expected a name of a-z"),
        ("[demo]\nsidecar_url = 'http://o:1'", "[demo]: expected a name of a-z"),
        ("['a b']\nsidecar_url = 'http://o:1'", "[a b]: expected a name of a-z"),
        ("office = 'http://o:1'", "office: expected a table [office]"),
        ("[office", "expected TOML: "),
        (WHOLE + "[office]\n", "expected TOML: "),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_the_value(write: Write, text: str, said: str) -> None:
    write(text)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert str(refused.value).startswith("TSOBS_TAILNETS_FILE='tailnets.toml': ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            'sidecar_token = "CANARY"',
            "[plant] sidecar_token: no such setting, did you mean sidecar_token_file?",
        ),
        ('secret = "CANARY"', "[plant] secret: no such setting, expected sidecar_url, "),
        (
            'latency_thresholds_ms = { printer = { token = "CANARY" } }',
            "[plant] latency_thresholds_ms.printer: ",
        ),
        ('"a\\nb" = "CANARY"', "[plant] 'a\\nb': no such setting"),
        ('sidecar_url = ["http://u:CANARY@h"]', "[plant] sidecar_url: "),
        ('sidecar_url = "http:/u:CANARY/h"', "[plant] sidecar_url: expected an http"),
    ],
)
def test_of_a_wrong_key_the_value_is_not_shown(write: Write, line: str, said: str) -> None:
    text = (
        WHOLE.replace('sidecar_url = "https://plant.example:8765"\n', "") if "sidecar_url" in line else WHOLE
    )
    write(text + line)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert said in str(refused.value)
    assert "CANARY" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSOBS_TAILNETS_FILE", "gone.toml")
    with pytest.raises(SettingsError, match=r"='gone.toml': expected a TOML file that can be read \(No such"):
        load_settings()


def test_tailnets_are_keys_by_their_name() -> None:
    one = Tailnet(name="office", sidecar_url="http://o:1", critical_nodes=("git",))
    assert len({one, one.model_copy()}) == 1
