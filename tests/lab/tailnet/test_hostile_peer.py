"""A hostile peer at a node whose daemon runs in userspace mode."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lab.processes import Server, poll_until
from tests.support.lab.tailnet import Node, Tailnet
from tests.support.ports import free_port
from tests.support.running import Running, running
from tests.support.sidecar_process import ENTRYPOINT
from tsobs_pipelines.tailnet.userspace import WARNING

PORT = 28765
SECRET = "only for this machine"
SERVER = (
    "import socket\n"
    f"listener = socket.create_server(('127.0.0.1', {PORT}))\n"
    "while True:\n"
    "    client, address = listener.accept()\n"
    f"    client.sendall(b'{SECRET} ' + address[0].encode())\n"
    "    client.close()\n"
)


@contextmanager
def loopback_service(node: Node) -> Iterator[None]:
    """Something that listens on the loopback of the node's host alone."""
    process = subprocess.Popen(["ip", "netns", "exec", node.netns, "python3", "-c", SERVER])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def reached(peer: Node, node: Node) -> str:
    """What the peer reads from that port of the node's Tailscale address."""
    # Its input stays open for a moment: nc ends with it, be there an answer or not.
    command = ["sh", "-c", f"sleep 2 | {peer.command} nc {node.ip} {PORT}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=6, check=False).stdout
    except subprocess.TimeoutExpired:
        return ""  # the connection does not come about


def test_shields_up_keep_a_peer_from_the_loopback_of_an_observer(direct_tailnet: Tailnet) -> None:
    observer, peer = direct_tailnet.observer, direct_tailnet.node("git")
    with loopback_service(observer):
        said = poll_until(lambda: reached(peer, observer) or None, within_s=30, what="the peer reads")
        assert said == f"{SECRET} 127.0.0.1"
        observer.cli("set", "--shields-up=true")
        try:
            poll_until(lambda: not reached(peer, observer) or None, within_s=30, what="the peer is kept out")
            assert observer.ping(peer) is not None
            assert peer.ping(observer) is not None
        finally:
            observer.cli("set", "--shields-up=false")


@dataclass
class Exposed:
    """What listens on the loopback of the observer's host."""

    observer: Node
    tsobs: Running
    sidecar: int
    """Port of a sidecar without a token."""
    guarded: int
    """Port of one with a token."""
    log: Path
    """Of the first."""

    @property
    def ports(self) -> tuple[int, ...]:
        """All of them."""
        return (self.tsobs.dagster_port, self.tsobs.api_port, self.sidecar, self.guarded)

    def answer(self, peer: Node, port: int, request: str, *headers: str) -> str:
        """The first line that the peer gets; empty when it does not get through."""
        text = "\r\n".join([f"{request} HTTP/1.1", *headers, "Connection: close", "", ""])
        command = ["sh", "-c", f"(cat; sleep 3) | {peer.command} nc {self.observer.ip} {port}"]
        try:
            done = subprocess.run(
                command, input=text, stdout=subprocess.PIPE, text=True, timeout=20, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout.partition("\r\n")[0]


@contextmanager
def sidecar_beside(node: Node, place: Path, port: int, **settings: str) -> Iterator[Path]:
    """A sidecar on the loopback of the node's host; its log."""
    place.mkdir()
    environment = {
        "SIDECAR_PORT": str(port),
        "SAMPLE_INTERVAL": "10",
        "JOURNAL_DIR": str(place / "journal"),
        "TAILSCALE_BIN": str(node.program),
        "TS_SOCKET": str(node.socket),
        **settings,
    }
    server = Server("sidecar", node.host.inside(ENTRYPOINT), place / "log", environment=environment)
    server.start()
    try:
        yield place / "log"
    finally:
        server.stop()


@pytest.fixture
def exposed(direct_tailnet: Tailnet, tmp_path: Path) -> Iterator[Exposed]:
    observer = direct_tailnet.observer
    token = tmp_path / "token"
    token.write_text("a-token-of-this-test-0123456789")
    token.chmod(0o600)
    bare, guarded = free_port(), free_port()
    settings = {
        "TSOBS_SIDECAR_URL": f"http://127.0.0.1:{bare}",
        "TSOBS_TRUSTED_PROXY": "127.0.0.1",
        "TSOBS_REQUIRE_TAILSCALE_USER": "true",
    }
    with ExitStack() as stack:
        log = stack.enter_context(sidecar_beside(observer, tmp_path / "bare", bare))
        stack.enter_context(
            sidecar_beside(observer, tmp_path / "guarded", guarded, SIDECAR_TOKEN_FILE=str(token))
        )
        tsobs = stack.enter_context(running(tmp_path, observer.host.inside(), **settings))
        yield Exposed(observer, tsobs, bare, guarded, log)


LAUNCH = "POST /graphql?query=mutation%7BwipeAssets%28assetPartitionRanges%3A%5B%5D%29%7B__typename%7D%7D"


def test_a_peer_is_refused_or_kept_out_of_loopback(direct_tailnet: Tailnet, exposed: Exposed) -> None:
    observer, peer = direct_tailnet.observer, direct_tailnet.node("git")
    dagster, api, bare, guarded = exposed.ports
    ask, ours = exposed.answer, "Host: 127.0.0.1:{}"

    # It is said at the start, by tsobs and by a sidecar that asks for no token.
    assert WARNING in exposed.tsobs.printed()
    poll_until(lambda: "userspace mode" in exposed.log.read_text() or None, within_s=40, what="the warning")

    # By the name that the node has for its peers, nothing is answered.
    for port in exposed.ports:
        refused = ask(peer, port, "GET /", f"Host: {observer.ip}:{port}")
        assert refused.split(" ")[1] in {"400", "401", "403"}, (port, refused)
    assert " 400 " in ask(peer, dagster, LAUNCH, f"Host: {observer.ip}:{dagster}")
    # A forged one makes the peer a user of the machine. What it claims to be besides is not believed.
    for header in ("Tailscale-User-Login: eva@example.com", "X-Forwarded-For: 127.0.0.1", "X-A: 1"):
        assert " 403 " in ask(peer, api, "GET /about", ours.format(api), header)
    assert " 401 " in ask(peer, guarded, "GET /status", ours.format(guarded))
    assert " 415 " in ask(peer, dagster, LAUNCH, ours.format(dagster))

    observer.cli("set", "--shields-up=true")
    try:
        poll_until(
            lambda: not ask(peer, bare, "GET /status", ours.format(bare)) or None, within_s=60, what="shields"
        )
        for port in exposed.ports:
            assert ask(peer, port, "GET /", ours.format(port)) == ""
        assert observer.ping(peer) is not None
        assert peer.ping(observer) is not None
    finally:
        observer.cli("set", "--shields-up=false")
