"""``make up`` in a fresh clone, Ctrl-C, and once more: no process is left, and no file in ``/tmp``.

In the lab because it needs root: it has a ``/tmp`` and a ``/dev/shm`` of its own, so that nobody else leaves
files there. The packages are those of the checkout: installing them is not part of it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.lab.processes import run
from tests.support.running import ROOT, Running, eventually, processes_with, up_environment
from tests.support.watching import runs

pytestmark = pytest.mark.timeout(900)

TMP = Path("/tmp")  # noqa: S108 - the folder that is looked at
FOLDERS = ("tmp", "dev/shm")
MOUNTS = """mount --bind /tmp "$1" && mount -t tmpfs tmpfs /tmp && mount -t tmpfs tmpfs /dev/shm || exit
for name in $2; do mkdir "/tmp/$name" && mount --bind "$1/$name" "/tmp/$name" || exit; done
umount "$1" && echo ready && exec cat"""
"""In a mount namespace of its own: empty folders, but for what is needed of the old ``/tmp``."""

NEEDED = {
    path.relative_to(TMP).parts[0]
    for path in (ROOT, Path(sys.prefix), Path(sys.base_prefix))
    if path.is_relative_to(TMP)
}
"""Where the checkout or its packages are below ``/tmp``."""


@dataclass
class Clone:
    """A clone of the checkout, and a mount namespace with empty temporary folders, held by a process."""

    place: Path
    holder: int

    def left(self) -> set[str]:
        """What is in the temporary folders."""
        root = Path(f"/proc/{self.holder}/root")
        found = {str(path) for folder in FOLDERS for path in (root / folder).iterdir()}
        return found - {str(root / "tmp" / name) for name in NEEDED}

    @contextlib.contextmanager
    def up(self, output: Path) -> Iterator[tuple[Running, str]]:
        """``make up`` on free ports, and a text that is in the environment of all that it starts."""
        marker = f"tsobs-test-{uuid.uuid4()}"
        environment = up_environment(self.place / "var", PYTHONPATH=str(self.place), TSOBS_TEST=marker)
        # As a newcomer has it: no setting but the first day, which makes the first filling short.
        del environment["TSOBS_STATE_DIR"], environment["TSOBS_MODELS_DIR"]
        environment.pop("TMPDIR", None)
        environment["TSOBS_START_DATE"] = f"{datetime.now(UTC).date() - timedelta(days=1)}"
        make = ["make", "-o", ".venv/.installed", "up", f"BIN={Path(sys.executable).parent}"]
        entered = ["nsenter", f"--mount=/proc/{self.holder}/ns/mnt", f"--wd={self.place}", "--", *make]
        with output.open("wb") as sink:
            process = subprocess.Popen(
                entered,
                env=environment,
                stdout=sink,
                stderr=sink,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        ports = (int(environment["TSOBS_DAGSTER_PORT"]), int(environment["TSOBS_API_PORT"]))
        try:
            yield Running(self.place / "var", *ports, environment, process, output), marker
        finally:
            for pid in processes_with(marker):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def clone() -> Iterator[Clone]:
    # Not below /tmp, which is hidden by an empty one.
    place = Path(tempfile.mkdtemp(prefix="tsobs-clone-", dir="/var/tmp"))
    old = place / "old-tmp"
    old.mkdir()
    mounted = ["sh", "-c", MOUNTS, "sh", str(old), " ".join(NEEDED)]
    unshared = ["unshare", "--mount", "--propagation", "private", "--", *mounted]
    holder = subprocess.Popen(unshared, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        run(["git", "clone", "--quiet", ROOT, place / "tsobs"], timeout_s=120)
        yield Clone(place / "tsobs", holder.pid)
    finally:
        holder.communicate()
        shutil.rmtree(place)


def test_ctrl_c_leaves_nothing_the_first_and_the_second_time(clone: Clone) -> None:
    for number in (1, 2):
        start_and_end(clone, clone.place.parent / f"up-{number}.out")
        assert clone.left() == set()


def start_and_end(clone: Clone, output: Path) -> None:
    """``make up``, a run, Ctrl-C while others may be under way."""
    with clone.up(output) as (tsobs, marker):
        eventually(lambda: "tsobs is up" in tsobs.printed(), 240, "tsobs is up")
        eventually(lambda: "SUCCESS" in {run["status"] for run in runs(tsobs)}, 240, "a run succeeds")
        os.killpg(tsobs.process.pid, signal.SIGINT)
        tsobs.process.wait(20)
        assert "tsobs has ended" in tsobs.printed()
        eventually(lambda: not processes_with(marker), 5, "no process is left")
