"""Builds what no package registry has ready: tailscale, its control server, and InfluxDB 2 with its client.

Each is built once for each version into ``${XDG_CACHE_HOME:-~/.cache}/tsobs-lab/<name>-<version>``, from the
Go module beside this file that pins it. Callers at the same time wait for one another, and an interrupted
build leaves nothing that looks finished. ``python -m tests.support.lab.build`` builds them all: minutes on a
new machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from filelock import FileLock

from tests.support.lab.processes import LabError

HERE = Path(__file__).parent
CONTROL_MODULE = HERE / "controlserver"
OLD_TAILSCALE_MODULE = HERE / "oldtailscale"
INFLUX_MODULE = HERE / "influxd"
INFLUX_CLIENT_MODULE = HERE / "influxcli"


def tailscale_programs() -> Path:
    """The directory that holds ``tailscale`` and ``tailscaled``."""
    return _tailscale(CONTROL_MODULE)


def old_tailscale_programs() -> Path:
    """The same of the oldest version that the sidecar is tested with."""
    return _tailscale(OLD_TAILSCALE_MODULE)


def _tailscale(module: Path) -> Path:
    version = _pinned(module, "tailscale.com")

    def build(into: Path) -> None:
        packages = ("tailscale.com/cmd/tailscale", "tailscale.com/cmd/tailscaled")
        # Without a stamp a build from another module calls its version an error.
        stamps = [f"-X=tailscale.com/version.{name}={version}" for name in ("shortStamp", "longStamp")]
        _go_build(module, *packages, into=into, linker_flags=stamps)

    return _built(f"tailscale-{version}", build)


def control_server() -> Path:
    """The program of the control, DERP and STUN server."""
    sources = [*sorted(CONTROL_MODULE.glob("*.go")), CONTROL_MODULE / "go.mod", CONTROL_MODULE / "go.sum"]
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]

    def build(into: Path) -> None:
        _go_build(CONTROL_MODULE, ".", into=into)

    return _built(f"controlserver-{version}", build) / "controlserver"


def influxd() -> Path:
    """The program of InfluxDB 2."""
    version = _pinned(INFLUX_MODULE, "github.com/influxdata/influxdb/v2")

    def build(into: Path) -> None:
        # InfluxDB's pkg-config compiles its Rust part before it answers; it stays out of the result.
        with tempfile.TemporaryDirectory() as tools:
            _go_build(INFLUX_MODULE, "github.com/influxdata/pkg-config", into=Path(tools))
            _go_build(
                INFLUX_MODULE,
                "github.com/influxdata/influxdb/v2/cmd/influxd",
                into=into,
                tags="sqlite_foreign_keys,sqlite_json",
                environment={
                    "PKG_CONFIG": f"{tools}/pkg-config",
                    "RUSTC_WRAPPER": str(INFLUX_MODULE / "rustc-with-lenient-lints.sh"),
                    **_rust_toolchain(),
                },
            )

    return _built(f"influxd-{version}", build) / "influxd"


def influx_client() -> Path:
    """The program ``influx``, which backs InfluxDB up and restores it."""
    version = _pinned(INFLUX_CLIENT_MODULE, "github.com/influxdata/influx-cli/v2")

    def build(into: Path) -> None:
        _go_build(INFLUX_CLIENT_MODULE, "github.com/influxdata/influx-cli/v2/cmd/influx", into=into)

    return _built(f"influx-{version}", build) / "influx"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tsobs-lab"


def _built(name: str, build: Callable[[Path], None]) -> Path:
    """The cached directory called ``name``; ``build`` fills it when it is not there."""
    finished = _cache() / name
    if finished.is_dir():
        return finished
    _cache().mkdir(parents=True, exist_ok=True)
    with FileLock(_cache() / f"{name}.lock"):
        if finished.is_dir():
            return finished
        unfinished = _cache() / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        started = time.monotonic()
        _say(f"building {name}, once for this machine …")
        build(unfinished)
        unfinished.rename(finished)
        _say(f"built {name} in {time.monotonic() - started:.0f} s")
    return finished


def _go_build(
    module: Path,
    *packages: str,
    into: Path,
    tags: str = "",
    linker_flags: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    if shutil.which("go") is None:
        message = "Go is not on the path: the lab builds its servers with it (1.26 or later)"
        raise LabError(message)
    command = [
        *("go", "build", "-trimpath", "-buildvcs=false", "-mod=readonly", f"-tags={tags}"),
        *(f"-ldflags={' '.join(['-s', '-w', *linker_flags])}", "-o", f"{into}/", *packages),
    ]
    done = subprocess.run(
        command,
        cwd=module,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"{' '.join(command)} in {module.name}: {done.stderr[-4000:]}"
        raise LabError(message)


def _pinned(module: Path, dependency: str) -> str:
    """The version of ``dependency`` that the module's go.mod asks for, without the ``v``."""
    found = re.search(
        rf"^\s*(?:require )?{re.escape(dependency)} v(\S+)", (module / "go.mod").read_text(), re.MULTILINE
    )
    if found is None:
        message = f"{module.name}/go.mod does not require {dependency}"
        raise LabError(message)
    return found[1]


def _rust_toolchain() -> dict[str, str]:
    """Hold rustup to an installed toolchain: InfluxDB's sources ask for one that would have to be fetched."""
    if shutil.which("cargo") is None:
        message = "cargo is not on the path: InfluxDB's Rust part needs it (1.95 or later)"
        raise LabError(message)
    if shutil.which("rustup") is None:
        return {}
    shown = subprocess.run(
        ["rustup", "show", "active-toolchain"],
        cwd=tempfile.gettempdir(),
        capture_output=True,
        text=True,
        check=True,
    )
    return {"RUSTUP_TOOLCHAIN": shown.stdout.split()[0]}


def _say(line: str) -> None:
    sys.stderr.write(f"lab: {line}\n")


def main() -> None:
    """Build everything that is missing and print where it is."""
    for part in (tailscale_programs, old_tailscale_programs, control_server, influxd, influx_client):
        sys.stdout.write(f"{part()}\n")


if __name__ == "__main__":
    main()
