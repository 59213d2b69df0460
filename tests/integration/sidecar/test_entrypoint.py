"""The entrypoint: invalid settings, and two processes that start and end together."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.sidecar_process import FakeTailscale, Sidecar, poll, running


def refusal(sidecar: Sidecar) -> str:
    """What a start that can't work says."""
    sidecar.start()
    assert sidecar.process is not None
    assert sidecar.process.wait(10) == 1
    (line,) = sidecar.log
    assert line["level"] == "ERROR"
    return str(line["message"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIDECAR_PORT", "0"),
        ("SIDECAR_PORT", "65536"),
        ("SIDECAR_PORT", "8765; id"),
        ("SIDECAR_PORT", "a[$(touch canary)]"),
        ("SAMPLE_INTERVAL", "0"),
        ("SAMPLE_INTERVAL", "1m"),
        ("SAMPLE_INTERVAL", "3601"),
        ("SIDECAR_SHORTEST_INTERVAL", "11"),
        ("SAMPLE_HOSTS", "git,10.0.0.5"),
        ("SAMPLE_HOSTS", "192.168.1.1"),
        ("SAMPLE_HOSTS", "100.63.255.255"),
        ("SAMPLE_HOSTS", "100.128.0.1"),
        ("SAMPLE_HOSTS", "100.64.0.256"),
        ("SAMPLE_HOSTS", "fd00::5"),
        ("SAMPLE_HOSTS", "10.0.0.0/24"),
        ("JOURNAL_RETENTION_DAYS", "-1"),
        ("SIDECAR_DEBUG", "maybe"),
        ("SIDECAR_BIND", "example.com"),
        ("SIDECAR_BIND", "0.0.0.0"),  # noqa: S104 - without a token
        ("SIDECAR_BIND", "127.0.0.1,reuseport"),
        ("SAMPLE_HOSTS", "git -c"),
        ("SAMPLE_HOSTS", "git,$(id)"),
        ("TAILSCALE_BIN", "/nowhere/tailscale"),
        ("SIDECAR_TOKEN_FILE", "/nowhere/token"),
        ("JOURNAL_DIR", "/proc/journal"),
        ("SIDECAR_RUN_DIR", "/proc/run"),
        ("SIDECAR_LOG", "/proc/log"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(new_sidecar: Sidecar, name: str, value: str) -> None:
    new_sidecar.settings[name] = value
    message = refusal(new_sidecar)
    assert name in message
    assert not (new_sidecar.place / "canary").exists()


@pytest.mark.parametrize(
    "name",
    [
        "100.064.0.2",
        "100.64.0.300",
        "fd7a:115c:a1e0::1::2",
        "fd7a:115c:a1e0:0:0:0:0",
        "fd7a:115c:a1e0::12345",
        "git:80",
    ],
)
def test_what_is_no_address_is_said_to_be_none(new_sidecar: Sidecar, name: str) -> None:
    new_sidecar.settings["SAMPLE_HOSTS"] = name
    assert refusal(new_sidecar).startswith(f"SAMPLE_HOSTS: {name} is no IP address: expected")


def test_names_of_digits_and_addresses_in_any_form_are_sampled(new_sidecar: Sidecar) -> None:
    names = "42 1.2.3 FD7A:115C:A1E0::2 fd7a:115c:a1e0:0:0:0:0:2 fd7a:115c:a1e0:: 100.64.0.2"
    new_sidecar.settings["SAMPLE_HOSTS"] = names
    with running(new_sidecar) as sidecar:
        assert sidecar.get("/healthz").status in {200, 503}


def test_a_machine_behind_a_subnet_router_is_refused_with_what_to_name_instead(new_sidecar: Sidecar) -> None:
    new_sidecar.settings["SAMPLE_HOSTS"] = "git 10.0.0.5"
    message = refusal(new_sidecar)
    assert message.startswith("SAMPLE_HOSTS: 10.0.0.5 is no address of a node")
    assert "name the router" in message


@pytest.mark.parametrize("seconds", ["1", "9"])
def test_an_interval_shorter_than_a_round_is_refused(new_sidecar: Sidecar, seconds: str) -> None:
    new_sidecar.settings |= {"SAMPLE_INTERVAL": seconds, "SIDECAR_SHORTEST_INTERVAL": "10"}
    assert refusal(new_sidecar) == f"SAMPLE_INTERVAL={seconds}: expected a whole number from 10 to 3600"


@pytest.mark.parametrize(
    ("content", "mode"), [("short", 0o600), ("", 0o600), ("two\nlines of it all", 0o600), ("x" * 32, 0o622)]
)
def test_a_token_file_that_is_none(new_sidecar: Sidecar, content: str, mode: int) -> None:
    token = new_sidecar.place / "token"
    token.write_text(content)
    token.chmod(mode)
    new_sidecar.settings["SIDECAR_TOKEN_FILE"] = str(token)
    assert "SIDECAR_TOKEN_FILE" in refusal(new_sidecar)


def test_one_journal_has_one_sidecar(sidecar: Sidecar, tmp_path: Path) -> None:
    place = tmp_path / "second"
    place.mkdir()
    settings = {**sidecar.settings, "JOURNAL_DIR": str(sidecar.journal)}
    second = Sidecar(place, settings, free_port())
    assert "another sidecar writes this journal" in refusal(second)


def processes(sidecar: Sidecar) -> dict[int, str]:
    """Every process of this sidecar, by its temporary directory, with its command line."""
    mine = f"TMPDIR={sidecar.place}".encode()
    found: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mine in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def part(sidecar: Sidecar, words: str) -> int:
    return min(pid for pid, command in processes(sidecar).items() if words in command)


def test_sigterm_ends_all_of_it_in_order(sidecar: Sidecar) -> None:
    assert len(processes(sidecar)) >= 3
    assert sidecar.stop() == 0
    assert processes(sidecar) == {}
    assert not list(sidecar.place.glob("tsobs-sidecar.*"))


@pytest.mark.parametrize(
    ("words", "name"), [("socat TCP", "the HTTP server"), ("bash ./sampler.sh", "the sampler")]
)
def test_when_one_part_ends_the_other_does_too(sidecar: Sidecar, words: str, name: str) -> None:
    os.kill(part(sidecar, words), signal.SIGKILL)
    assert sidecar.process is not None
    assert sidecar.process.wait(10) == 1
    poll(lambda: processes(sidecar) == {}, 5, "every process to be gone")
    assert any(str(line["message"]).startswith(f"{name} ended") for line in sidecar.log)


def test_a_killed_entrypoint_leaves_nothing_that_writes(
    new_sidecar: Sidecar, tailscale: FakeTailscale
) -> None:
    new_sidecar.settings["SAMPLE_INTERVAL"] = "1"
    with running(new_sidecar) as sidecar:
        sidecar.wait_for_rounds(1)
        assert sidecar.process is not None
        sidecar.process.kill()
        sidecar.process.wait()
        poll(lambda: processes(sidecar) == {}, 10, "sampler and server to notice")
