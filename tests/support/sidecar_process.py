"""The real sidecar as a process of a test, and raw HTTP to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
ENTRYPOINT = ROOT / "sidecar" / "entrypoint.sh"
FAKE_TAILSCALE = ROOT / "tests" / "support" / "fake_tailscale.sh"

Found = TypeVar("Found")


def poll(probe: Callable[[], Found | None], within_s: float, what: str) -> Found:
    """The first answer of ``probe`` that is neither None nor False; fails after ``within_s``."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        found = probe()
        if found is not None and found is not False:
            return found
        time.sleep(0.02)
    msg = f"waited {within_s:g} s for {what}"
    raise AssertionError(msg)


class Reply(NamedTuple):
    """One answer: status (0 when the connection was closed without one), headers in lower case, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        value = json.loads(self.body)
        assert isinstance(value, dict), value
        return value

    @property
    def error(self) -> str:
        """The reason that a refusal gives."""
        assert set(self.json) == {"error"}
        return str(self.json["error"])


def read_reply(connection: socket.socket) -> Reply:
    """Everything until the server closes, taken apart."""
    received = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(1 << 16):
            received += chunk
    head, found, body = bytes(received).partition(b"\r\n\r\n")
    if not found:
        return Reply(0, {}, bytes(received))
    first, *lines = head.decode("ascii").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert int(headers["content-length"]) == len(body)
    assert headers["connection"] == "close"
    return Reply(int(first.split(" ")[1]), headers, body)


@dataclass
class Sidecar:
    """One sidecar: its settings, its process while it runs, and its files in ``place``."""

    place: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    entrypoint: Path = ENTRYPOINT

    @property
    def journal(self) -> Path:
        """Where the day's files are."""
        return self.place / "journal"

    @property
    def log(self) -> list[dict[str, object]]:
        """Its log so far; every line must be a JSON object."""
        return [json.loads(line) for line in (self.place / "log").read_text("utf-8").splitlines()]

    @property
    def url(self) -> str:
        """What ``TSOBS_SIDECAR_URL`` would be."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the process; returns at once."""
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.place),
            "SIDECAR_PORT": str(self.port),
            "JOURNAL_DIR": str(self.journal),
            "SIDECAR_SHORTEST_INTERVAL": "1",
            **self.settings,
        }
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.entrypoint], env=environment, stdout=log, stderr=log, cwd=self.place
            )

    def wait_until_served(self) -> None:
        """Wait for the first answer."""

        def answered() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.place / "log").read_text()
            with contextlib.suppress(OSError):
                return self.get("/nothing").status > 0
            return False

        poll(answered, 10, "the sidecar to answer")

    def stop(self) -> int:
        """End it in order; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def get(self, target: str, *headers: str, host: str | None = None) -> Reply:
        """GET with these header lines more."""
        lines = [f"GET {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}", *headers, "", ""]
        return self.send("\r\n".join(lines).encode("latin-1"))

    def connect(self) -> socket.socket:
        """A connection on which nothing was sent yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def send(self, request: bytes) -> Reply:
        """These bytes, and what comes back."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            return read_reply(connection)

    def rounds(self) -> list[dict[str, object]]:
        """The journal's readable lines of all days."""
        lines = [
            line for path in sorted(self.journal.glob("*.ndjson")) for line in path.read_bytes().splitlines()
        ]
        found: list[dict[str, object]] = []
        for line in lines:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def wait_for_rounds(self, count: int, within_s: float = 30) -> list[dict[str, object]]:
        """The journal once it holds so many rounds."""
        return poll(
            lambda: rounds if len(rounds := self.rounds()) >= count else None, within_s, f"{count} rounds"
        )


@contextlib.contextmanager
def running(sidecar: Sidecar) -> Iterator[Sidecar]:
    """The sidecar answers while the block runs; whatever happens, it is gone afterwards."""
    sidecar.start()
    try:
        sidecar.wait_until_served()
        yield sidecar
    finally:
        if sidecar.process is not None and sidecar.process.poll() is None:
            sidecar.stop()


def today() -> str:
    """The UTC day, as the journal's files are called."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True)
class FakeTailscale:
    """What the fake CLI replays."""

    place: Path

    def say(self, name: str, out: str | Mapping[str, object], *, err: str = "", status: int = 0) -> None:
        """From now on ``name`` prints this."""
        text = out if isinstance(out, str) else json.dumps(out)
        # Replaced in one step: a call may be reading it.
        for suffix, content in (("out", text), ("err", err), ("exit", str(status))):
            new = self.place / f"{name}.new"
            new.write_text(content, "utf-8")
            new.replace(self.place / f"{name}.{suffix}")

    def hang(self, name: str, seconds: float = 60) -> None:
        """From now on ``name`` waits so long first."""
        (self.place / f"{name}.sleep").write_text(str(seconds))

    def linger(self, name: str, seconds: float = 60) -> None:
        """From now on ``name`` does not end for so long after what it printed."""
        (self.place / f"{name}.then").write_text(str(seconds))

    def heal(self, name: str) -> None:
        """Neither hang nor linger any more."""
        for suffix in ("sleep", "then"):
            (self.place / f"{name}.{suffix}").unlink(missing_ok=True)

    @property
    def calls(self) -> list[str]:
        """The arguments of every call so far, as a shell would quote them."""
        path = self.place / "calls"
        return [line.strip() for line in path.read_text().splitlines()] if path.exists() else []


GIT = "100.64.0.2"
DEV = "100.64.0.3"


def pong(ip: str, seconds: float = 0.000327) -> dict[str, object]:
    """A LocalAPI ping result over a direct path."""
    return {
        "IP": ip,
        "NodeIP": ip,
        "NodeName": "git",
        "Err": "",
        "LatencySeconds": seconds,
        "Endpoint": "10.88.2.2:41641",
        "PeerRelay": "",
        "DERPRegionID": 0,
        "DERPRegionCode": "",
    }


def node(name: str, ip: str, host_name: str | None = None) -> dict[str, object]:
    """A node of ``tailscale status --json`` with members that must not get out."""
    return {
        "ID": f"id-{name}",
        "PublicKey": "nodekey:SECRET",
        "HostName": host_name or name,
        "DNSName": f"{name}.tail1234.ts.net.",
        "OS": "linux",
        "UserID": 7,
        "TailscaleIPs": [ip, f"fd7a:115c:a1e0::{ip.rpartition('.')[2]}"],
        "AllowedIPs": [f"{ip}/32"],
        "Addrs": ["192.168.77.5:41641"],
        "CurAddr": "",
        "Relay": "fra",
        "PeerRelay": "",
        "RxBytes": 1234,
        "TxBytes": 5678,
        "Created": "2026-01-01T00:00:00Z",
        "LastHandshake": "2026-11-24T02:04:00Z",
        "Online": True,
        "Active": True,
        "PeerAPIURL": [f"http://{ip}:12345"],
        "CapMap": {"SECRET": None},
        "sshHostKeys": ["ssh-ed25519 SECRET"],
    }


def status(*peers: Mapping[str, object], state: str = "Running") -> dict[str, object]:
    """What ``tailscale status --json`` prints."""
    return {
        "Version": "1.102.5-tdeadbeef-g01234567",
        "TUN": True,
        "BackendState": state,
        "HaveNodeKey": True,
        "AuthURL": "https://login.example/a/SECRET",
        "TailscaleIPs": ["100.64.0.1"],
        "Self": node("observer", "100.64.0.1"),
        "Health": [],
        "MagicDNSSuffix": "tail1234.ts.net",
        "Peer": {f"nodekey:{number}": peer for number, peer in enumerate(peers)} or None,
        "User": {"7": {"ID": 7, "LoginName": "SECRET@example.com", "DisplayName": "SECRET"}},
    }


def fake_tailnet(place: Path) -> FakeTailscale:
    """A running daemon with the peers ``git`` and ``chocolate-factory-dev``, which answer pings."""
    place.mkdir()
    fake = FakeTailscale(place)
    fake.say("status", status(node("git", GIT), node("chocolate-factory-dev", DEV)))
    for ip in (GIT, DEV):
        fake.say(f"pong.{ip}", pong(ip), err=f"# doing request POST /localapi/v0/ping?ip={ip}&type=disco\n")
    fake.say(
        "netcheck",
        {"UDP": True, "RegionLatency": {"9": 12345678}, "PreferredDERP": 9},
        err="# Warning: beta\n",
    )
    fake.say("ping", f"pong from git ({GIT}) via 10.88.2.2:41641 in 1ms\n" * 5)
    return fake
