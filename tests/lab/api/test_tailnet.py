"""The API on an address of a real tailnet: who asks is what the real daemon says, and nothing a client sends.

The observer gets a network interface of the tailnet for this (the lab's other nodes need none), so that the
API sees the addresses of its peers. A peer asks through its own daemon (``tailscale nc``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.lab.network import Host
from tests.support.lab.processes import LabError, Server, poll_until, run
from tests.support.lab.runs import Run
from tests.support.lab.sidecar import ENTRYPOINT
from tests.support.lab.tailnet import CRITICAL_NODES, Node, Tailnet
from tests.support.running import up_environment

USERSPACE, INTERFACE = "--tun=userspace-networking", "--tun=tsobs0"
API_PORT, SIDECAR_PORT = 8000, 8765
ANSWER_WITHIN_S = 30
FORGED = {"Tailscale-User-Login": "boss@example.com", "X-Forwarded-For": "100.64.0.1"}
ASK_FROM = """
import http.client, json, sys
host, port, source, path, headers = sys.argv[1:]
asking = http.client.HTTPConnection(host, int(port), timeout=20, source_address=(source, 0))
asking.request("GET", path, headers=json.loads(headers))
print(asking.getresponse().status)
"""
HEAD, BLANK = "GET {} HTTP/1.1\r\nHost: {}:{}\r\nConnection: close\r\n{}\r\n", "\r\n\r\n"


@contextmanager
def with_interface(node: Node) -> Iterator[None]:
    """The node has an interface while the block runs."""
    command = list(node.daemon.command)
    node.cli("set", "--netfilter-mode=off")
    restart(node, [INTERFACE if word == USERSPACE else word for word in command])
    try:
        yield
    finally:
        node.cli("set", "--netfilter-mode=on")
        restart(node, command)


def restart(node: Node, command: Sequence[str | Path]) -> None:
    """Start the daemon anew with another command line; it logs in as it was."""
    node.daemon.stop()
    node.daemon.command = command
    node.start_daemon()
    node.daemon.wait_until(lambda: _is_running(node), within_s=30)


def _is_running(node: Node) -> bool:
    try:
        return bool(json.loads(node.cli("status", "--json"))["BackendState"] == "Running")
    except LabError:
        return False


@dataclass
class OnTailnet:
    """The API of the observer, asked by its peers."""

    address: str
    host: Host
    state: Path

    def ask(self, node: Node, path: str, headers: str = "") -> tuple[int, str]:
        """Status and body that the node gets, over the tailnet."""
        request = HEAD.format(path, self.address, API_PORT, headers)
        command = [str(node.command), "nc", self.address, str(API_PORT)]
        # It ends with the first end of either side: its input stays open until the answer is whole.
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as asking:
            assert asking.stdin is not None
            assert asking.stdout is not None
            guard = threading.Timer(ANSWER_WITHIN_S, asking.kill)
            guard.start()
            asking.stdin.write(request.encode())
            asking.stdin.flush()
            done = asking.stdout.read().decode()
            guard.cancel()
        head, _, body = done.partition(BLANK)
        if not head:
            raise LabError(f"no answer over the tailnet to {node.name}")
        return int(head.split(" ")[1]), body

    def ask_beside(self, source: str, path: str, headers: Mapping[str, str]) -> int:
        """Status that a program of the observer's own host gets which asks from the address ``source``."""
        words = [self.address, str(API_PORT), source, path, json.dumps(headers)]
        return int(run(self.host.inside(sys.executable, "-c", ASK_FROM, *words)))

    def record_of(self, query: str) -> dict[str, object]:
        """The one access record of the request with this query."""

        def found() -> dict[str, object] | None:
            lines = [
                json.loads(line)
                for file in (self.state / "logs").glob("tsobs-*.jsonl")
                for line in file.read_text("utf-8").splitlines()
            ]
            mine = [one for one in lines if one.get("query") == query]
            assert len(mine) <= 1, mine
            return mine[0] if mine else None

        return poll_until(found, within_s=5, what=f"the access record of ?{query}")


@pytest.fixture(scope="module")
def api(lab_run: Run, tailnet: Tailnet) -> Iterator[OnTailnet]:
    tailnet.direct()
    observer = tailnet.observer
    place = lab_run.place("api-on-tailnet")
    with with_interface(observer), ExitStack() as running:
        sidecar = Server(
            name="sidecar",
            command=observer.host.inside(ENTRYPOINT),
            log=place / "sidecar.log",
            environment={
                "SIDECAR_PORT": str(SIDECAR_PORT),
                "SAMPLE_HOSTS": ",".join(CRITICAL_NODES),
                "JOURNAL_DIR": str(place / "journal"),
                "TAILSCALE_BIN": str(observer.command),
            },
        )
        environment = up_environment(
            place / "var",
            TSOBS_API_HOST=observer.ip,
            TSOBS_API_PORT=str(API_PORT),
            TSOBS_SIDECAR_URL=f"http://127.0.0.1:{SIDECAR_PORT}",
        )
        server = Server(
            name="api",
            command=observer.host.inside(sys.executable, "-m", "tsobs_pipelines.api"),
            log=place / "api.log",
            environment=environment,
        )
        for one, host, port in (
            (sidecar, "127.0.0.1", SIDECAR_PORT),
            (server, observer.ip, API_PORT),
        ):
            running.callback(one.stop)
            one.start()
            probe = observer.host.inside("bash", "-c", f"exec 3<>/dev/tcp/{host}/{port}")
            one.wait_until(lambda probe=probe: _succeeds(probe), within_s=30)  # type: ignore[misc]
        yield OnTailnet(observer.ip, observer.host, place / "var")


def _succeeds(command: list[str]) -> bool:
    try:
        run(command)
    except LabError:
        return False
    return True


def login_of(tailnet: Tailnet, node: Node) -> str:
    """Whose node it is, as the observer's daemon says."""
    known = json.loads(tailnet.observer.cli("whois", "--json", node.ip))
    login = str(known["UserProfile"]["LoginName"])
    assert "@" in login
    return login


def test_the_user_of_a_request_is_who_the_daemon_says(api: OnTailnet, tailnet: Tailnet) -> None:
    peer = tailnet.node("git")
    login = login_of(tailnet, peer)
    status, body = api.ask(peer, "/about?honest")
    assert status == 200, body
    assert json.loads(body)["user"] == login
    record = api.record_of("honest")
    assert (record["user"], record["client"], record["status"]) == (login, peer.ip, 200)


def test_a_forged_header_makes_no_other_user(api: OnTailnet, tailnet: Tailnet) -> None:
    peer = tailnet.node("chocolate-factory")
    login = login_of(tailnet, peer)
    lines = "".join(f"{name}: {value}\r\n" for name, value in FORGED.items())
    status, body = api.ask(peer, "/about?forged", lines)
    assert status == 200, body
    assert json.loads(body)["user"] == login
    record = api.record_of("forged")
    assert (record["user"], record["client"]) == (login, peer.ip)


def test_the_observer_itself_is_its_user(api: OnTailnet, tailnet: Tailnet) -> None:
    """What the node asks itself comes from its own address of the tailnet."""
    assert api.ask_beside(api.address, "/about?own", {}) == 200
    assert api.record_of("own")["user"] == login_of(tailnet, tailnet.observer)


def test_who_is_no_node_is_turned_away_whatever_it_claims(api: OnTailnet) -> None:
    """Loopback and the observer's address outside the tailnet reach the same socket, and are nobody's."""
    for number, source in enumerate(("127.0.0.1", api.host.address)):
        assert api.ask_beside(source, f"/about?stranger{number}", FORGED) == 403, source
        record = api.record_of(f"stranger{number}")
        assert (record.get("user"), record["client"], record["status"]) == (None, source, 403)
