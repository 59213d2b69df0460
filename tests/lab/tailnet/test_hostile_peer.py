"""A hostile peer at a node whose daemon runs in userspace mode."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.lab.processes import poll_until
from tests.support.lab.tailnet import Node, Tailnet

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
