"""Colours, progress and completion at a real terminal, and nothing of them where there is none."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.running import ROOT, up_environment

COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7]|38;[0-9;]+)[0-9;]*m")
COMMANDS = (
    ["doctor"],
    ["alerts"],
    ["logs", "--limit", "3"],
    ["settings"],
    ["status", "--url", "http://127.0.0.1:1"],
    ["status", "--help"],
    ["alerts", "rules"],
)


def run(environment: Mapping[str, str], *arguments: str) -> str:
    """What a command prints into a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def at_a_terminal(environment: Mapping[str, str], *arguments: str) -> str:
    """What it prints at a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # the program under test, with arguments of our own
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    text = b"".join(_blocks(ours)).decode("utf-8", "replace")
    process.wait(timeout=60)
    os.close(ours)
    return text


def _blocks(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            block = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            return
        if not block:
            return
        yield block


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    found = up_environment(tmp_path / "var")
    return {name: value for name, value in found.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_no_colours_in_a_pipe_nor_where_they_are_unwanted(
    environment: dict[str, str], command: Sequence[str]
) -> None:
    assert "\x1b" not in run(environment, "tsobs_pipelines", *command)
    plain = at_a_terminal({**environment, "NO_COLOR": "1"}, "tsobs_pipelines", *command)
    assert COLOUR.search(plain) is None


def test_the_doctor_s_marks_are_coloured_at_a_terminal(environment: dict[str, str]) -> None:
    assert COLOUR.search(at_a_terminal(environment, "tsobs_pipelines", "doctor"))


def _state(environment: Mapping[str, str], size: int) -> Path:
    state = Path(environment["TSOBS_STATE_DIR"])
    (state / "logs").mkdir(parents=True)
    state.chmod(0o700)
    for day in range(1, 6):
        (state / "logs" / f"tsobs-2026-11-0{day}.jsonl").write_bytes(b"x" * (size // 5))
    return state


def test_backup_and_restore_show_how_far_they_are(environment: dict[str, str], tmp_path: Path) -> None:
    _state(environment, 50_000_000)
    kept = tmp_path / "kept"
    shown = at_a_terminal(environment, "tsobs_pipelines", "backup", str(kept))
    assert re.search(r"copying.*%.*/50\.0 MB.*\d:\d\d:\d\d", shown.replace("\r", "\n"), re.DOTALL)
    assert "5 files, 50.0 MB" in shown
    elsewhere = {**environment, "TSOBS_STATE_DIR": str(tmp_path / "other")}
    shown = at_a_terminal(elsewhere, "tsobs_pipelines", "restore", str(kept))
    assert re.search(r"restoring.*%.*/50\.0 MB", shown, re.DOTALL)
    said = run(
        {**environment, "TSOBS_STATE_DIR": str(tmp_path / "third")}, "tsobs_pipelines", "restore", str(kept)
    )
    assert "%" not in said


@pytest.mark.parametrize(
    "command",
    [
        *(
            ["settings"],
            ["settings", "--markdown"],
            ["doctor"],
            ["doctor", "--json"],
            ["--help"],
            ["--version"],
        ),
        *(["completion", "bash"], ["logs", "--json"], ["alerts", "rules"], ["status", "--help"], ["nothing"]),
    ],
    ids=" ".join,
)
def test_output_that_can_not_be_written_is_one_line(environment: dict[str, str], command: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        words = [sys.executable, "-m", "tsobs_pipelines", *command]
        wrong = command == ["nothing"]
        done = subprocess.run(
            words, cwd=ROOT, env=environment, timeout=60, check=False, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == (2 if wrong else 1), done.stderr
    if not wrong:
        assert done.stderr == b"tsobs: the output can't be written (No space left on device)\n"


class Filling(BaseHTTPRequestHandler):
    """Dagster's webserver, of which each asset has more partitions at each look."""

    looks = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        done = min(5 + 10 * type(self).looks, 31)
        type(self).looks += 1
        names = ("connection_metrics", "price_forecast", "forecast_evaluation")
        stats = {"numMaterialized": done, "numPartitions": 33}
        nodes = [{"assetKey": {"path": [name]}, "partitionStats": stats} for name in names]
        body = json.dumps({"data": {"assetNodes": nodes}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def filling() -> Iterator[int]:
    Filling.looks = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Filling) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_the_first_filling_shows_its_days_and_what_is_left(environment: dict[str, str]) -> None:
    with filling() as port:
        owned = {**environment, "TSOBS_DAGSTER_PORT": str(port), "_TSOBS_FILLING_OF": str(os.getpid())}
        shown = at_a_terminal(owned, "tsobs_pipelines.processes.filling")
    assert re.search(r"filling the history.*\d+/93.*days", shown, re.DOTALL)
    assert "The history is filled" in shown


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("tsobs st", "status"), ("tsobs run we", "webserver"), ("tsobs doctor --j", "--json")],
)
def test_the_shell_completes_commands_parts_and_options(
    environment: dict[str, str], typed: str, offered: str
) -> None:
    words = typed.split()
    asked = {
        **environment,
        "_TSOBS_COMPLETE": "bash_complete",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    program = Path(sys.executable).with_name("tsobs")
    done = subprocess.run([program], env=asked, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"plain,{offered}" in done.stdout.splitlines()


def test_the_script_is_one_that_bash_takes(environment: dict[str, str]) -> None:
    script = run(environment, "tsobs_pipelines", "completion", "bash")
    asked = f"{script}\ncomplete -p tsobs"
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=False)
    assert "tsobs" in done.stdout
