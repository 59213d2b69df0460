"""A round of the sampler for 1 to 500 nodes, none, a third and all of them dead: CPU, wall and journal.

The nodes are a LocalAPI of this process, whose answers are copies of real ones and take as long: 1 to 80 ms,
and forever for a dead node; their work is not counted. Beside it a round of blackbox_exporter's ICMP probes
of as many addresses, one ping each, without the Prometheus that asks for them (Debian's package
prometheus-blackbox-exporter). ``real`` as an argument takes the lab's three nodes, ``named`` three nodes of
500 peers, ``status`` the time of /status beside a round; numbers are numbers of nodes. As root, for the
control groups that CPU is counted by, and the network namespace of the probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import ascii_letters

from bench.harness import machine, meter, table
from tests.support.lab.runs import new_run
from tests.support.lab.tailnet import CRITICAL_NODES, running_tailnet
from tests.support.localapi import Answer, Asked, served
from tests.support.sidecar_process import ENTRYPOINT, Sidecar, node, pong, running, status

COUNTS = (1, 3, 50, 200, 500)
SHARES = {"none": 0.0, "a third": 1 / 3, "all": 1.0}
ROUNDS = 2
TICKS_READ = 4
"""Each round is sent to tsobs four times: a tick every five minutes reads the fifteen before as well."""
ROUNDS_A_DAY = 1440
STATUS_COUNTS = (3, 50, 500)
IDLE_CONNECTIONS = 200
STATUS_REQUESTS = 200
EXPORTER = "prometheus-blackbox-exporter"


@dataclass
class Network:
    """So many nodes, the first of them dead."""

    count: int
    dead: int
    chance: random.Random = field(default_factory=lambda: random.Random(20))  # noqa: S311 - the same each time

    def __post_init__(self) -> None:
        """Their addresses, distances and counters."""
        names = {
            f"100.{64 + n // 250}.{n % 250}.{self.chance.randrange(1, 255)}": f"node-{n}"
            for n in range(self.count)
        }
        self.peers = {ip: self._peer(name, ip) for ip, name in names.items()}
        self.silent = set(list(self.peers)[: self.dead])
        self.seconds = {ip: self.chance.uniform(0.001, 0.08) for ip in self.peers}

    def _peer(self, name: str, ip: str) -> dict[str, object]:
        address = ".".join(str(self.chance.randrange(1, 255)) for _ in "1234")
        month, day, minute = (self.chance.randrange(1, 10) for _ in "123")
        expiry = f"2027-0{month}-1{day}T10:1{minute}"
        return node(name, ip) | {
            "ID": "".join(self.chance.choices(ascii_letters, k=16)),
            "CurAddr": f"{address}:{self.chance.randrange(1024, 65536)}",
            "KeyExpiry": f"{expiry}:00Z",
        }

    async def __call__(self, asked: Asked) -> Answer:
        """As the daemon answers."""
        if asked.path == "status":
            return Answer(self._status())
        ip = asked.query["ip"]
        if ip in self.silent:
            await asyncio.sleep(3600)
        seconds = self.seconds[ip] * self.chance.uniform(1, 1.3)
        await asyncio.sleep(seconds)
        result = pong(ip, seconds) | {"Endpoint": self.peers[ip]["CurAddr"]}
        return Answer(json.dumps(result, separators=(",", ":")).encode() + b"\n")

    def _status(self) -> bytes:
        now = time.strftime("%Y-%m-%dT%H:%M:%S.123456789Z", time.gmtime())
        for peer in self.peers.values():
            for counter in ("TxBytes", "RxBytes"):
                peer[counter] = int(str(peer[counter])) + self.chance.randrange(100_000)
            peer["LastWrite"] = peer["LastHandshake"] = now
        return json.dumps(status(*self.peers.values()), indent="\t").encode()


@contextlib.contextmanager
def sidecar_in(place: Path, group: Path, settings: Mapping[str, str]) -> Iterator[Sidecar]:
    """A sidecar whose CPU is counted in a control group."""
    start = place / "start"
    start.write_text(f'#!/bin/sh\necho $$ >{group}/cgroup.procs\nexec {ENTRYPOINT} "$@"\n')
    start.chmod(0o755)
    with running(Sidecar(place, dict(settings), entrypoint=start)) as sidecar:
        yield sidecar


def rounds_of(sidecar: Sidecar) -> list[bytes]:
    """The lines of the journal."""
    text = b"".join(path.read_bytes() for path in sorted(sidecar.journal.glob("*.ndjson")))
    return text.splitlines(keepends=True)


def measured(name: str, settings: Mapping[str, str], interval_s: int) -> list[object]:
    """CPU and wall seconds of a round, rounds taken, nodes without a whole verdict, MB of a day."""
    with (
        meter(name) as group,
        tempfile.TemporaryDirectory() as directory,
        sidecar_in(Path(directory), group.group, settings) as sidecar,
    ):
        # The first round is asked twice: it does not know the addresses yet.
        sidecar.wait_for_rounds(1, 3 * interval_s)
        time.sleep(interval_s / 2)
        before, known = group.seconds(), len(rounds_of(sidecar))
        time.sleep(ROUNDS * interval_s)
        lines = rounds_of(sidecar)[known:]
        cpu_s = (group.seconds() - before) / ROUNDS
    rounds = [json.loads(line) for line in lines]
    taken = [this for this in rounds if "error" not in this]
    lacking = sum("unprobed" in found for this in taken for found in this["nodes"].values())
    day = len(b"".join(lines)) / len(lines) * ROUNDS_A_DAY / 1e6
    wire = len(gzip.compress(b"".join(lines), 6)) / len(lines) * ROUNDS_A_DAY * TICKS_READ / 1e6
    took = statistics.median(this["took"] for this in taken) if taken else float("nan")
    return [f"{cpu_s:.2f}", f"{took:.1f}", f"{len(taken)} of {ROUNDS}", lacking, f"{day:.1f}", f"{wire:.1f}"]


def interval_for(count: int) -> int:
    """Seconds between rounds: those of many nodes are measured at the default."""
    return 60 if count > 200 else 30 if count > 50 else 15


def stood_in(count: int, dead: int, place: Path) -> list[object]:
    """A round over so many nodes of this process."""
    socket, interval_s = place / f"{count}-{dead}.sock", interval_for(count)
    settings = {"TS_SOCKET": str(socket), "TAILSCALE_BIN": "true", "SAMPLE_INTERVAL": str(interval_s)}
    with served(socket, Network(count, dead)):
        return measured(f"{count}-{dead}", settings, interval_s)


def named(place: Path) -> list[object]:
    """A round over the three nodes that are named, of 500 peers."""
    socket = place / "named.sock"
    settings = {
        "TS_SOCKET": str(socket),
        "TAILSCALE_BIN": "true",
        "SAMPLE_INTERVAL": "15",
        "SAMPLE_HOSTS": "node-0,node-1,node-2",
    }
    with served(socket, Network(500, 0)):
        return measured("named", settings, 15)


@contextlib.contextmanager
def exporter_in(group: Path, place: Path) -> Iterator[list[str]]:
    """blackbox_exporter in a network of its own, and the words that run a program there.

    There 127.0.0.0/8 answers pings, and 10.99.0.0/16 swallows them.
    """
    name = f"tsobs-bench-{place.name}"
    inside = ["nsenter", f"--net=/run/netns/{name}", "--"]
    (place / "blackbox.yml").write_text(
        "modules: {icmp: {prober: icmp, timeout: 2s, icmp: {preferred_ip_protocol: ip4}}}\n"
    )
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        for words in (
            "link set lo up",
            "link add sink type veth peer name end",
            "addr add 10.99.0.1/16 dev sink",
            "link set sink arp off up",
            "link set end up",
        ):
            subprocess.run([*inside, "ip", *words.split()], check=True)
        start = f"echo $$ >{group}/cgroup.procs; exec {EXPORTER} --config.file={place}/blackbox.yml"
        command = [*inside, "sh", "-c", f"{start} --web.listen-address=127.0.0.1:9115 --log.level=error"]
        with (place / "exporter.log").open("wb") as log:
            exporter = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield inside
        finally:
            exporter.terminate()
            exporter.wait()
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


ASK = """
import sys, time, urllib.request
from concurrent.futures import ThreadPoolExecutor

def ask(target):
    url = f"http://127.0.0.1:9115/probe?module=icmp&target={target}"
    return b"probe_success 1" in urllib.request.urlopen(url, timeout=10).read()

def once():
    with ThreadPoolExecutor(64) as pool:
        return sum(pool.map(ask, sys.argv[1:]))

deadline = time.monotonic() + 20
while True:
    try:
        ask("127.0.0.1")
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
begun = time.monotonic()
print(once(), time.monotonic() - begun)
"""


def probed(count: int, dead: int) -> list[object]:
    """CPU and wall seconds of a round of blackbox_exporter over so many addresses."""
    if shutil.which(EXPORTER) is None:
        return ["not installed", ""]
    silent = [f"10.99.{n // 250 + 1}.{n % 250 + 1}" for n in range(dead)]
    targets = silent + [f"127.{n // 250 + 1}.{n % 250}.1" for n in range(count - dead)]
    with (
        meter(f"icmp-{count}-{dead}") as group,
        tempfile.TemporaryDirectory() as directory,
        exporter_in(group.group, Path(directory)) as inside,
    ):
        command = [*inside, sys.executable, "-c", ASK]
        subprocess.run([*command, "127.0.0.1"], check=True, capture_output=True)
        before = group.seconds()
        done = subprocess.run([*command, *targets], check=True, capture_output=True, text=True)
        cpu_s = group.seconds() - before
    answered, wall_s = done.stdout.split()
    assert int(answered) == count - dead, done.stdout
    return [f"{cpu_s:.2f}", f"{float(wall_s):.1f}"]


def real() -> list[object]:
    """A round over the lab's three nodes."""
    with new_run() as lab_run, running_tailnet(lab_run) as tailnet:
        observer = tailnet.observer
        settings = {
            "TS_SOCKET": str(observer.socket),
            "TAILSCALE_BIN": str(observer.program),
            "SAMPLE_INTERVAL": "10",
            "SAMPLE_HOSTS": ",".join(CRITICAL_NODES),
        }
        return measured("real", settings, 10)


def status_beside_a_round(count: int, place: Path) -> list[object]:
    """Seconds of /status while 200 connections are idle and a round runs, a third of its nodes dead."""
    socket = place / f"status-{count}.sock"
    settings = {
        "TS_SOCKET": str(socket),
        "TAILSCALE_BIN": "true",
        "SAMPLE_INTERVAL": "30" if count > 50 else "10",
        "SIDECAR_REQUEST_SECONDS": "60",
    }
    with contextlib.ExitStack() as idle:
        idle.enter_context(served(socket, Network(count, count // 3)))
        directory = idle.enter_context(tempfile.TemporaryDirectory())
        with running(Sidecar(Path(directory), settings)) as sidecar:
            for _ in range(IDLE_CONNECTIONS):
                idle.enter_context(sidecar.connect())
            time.sleep(5)
            seconds = []
            for _ in range(STATUS_REQUESTS):
                begun = time.perf_counter()
                assert sidecar.get("/status").status == 200
                seconds.append(time.perf_counter() - begun)
    seconds.sort()
    p50, p99 = statistics.median(seconds), seconds[int(0.99 * len(seconds)) - 1]
    return [count, f"{p50:.3f}", f"{p99:.3f}", f"{os.getloadavg()[0]:.1f}"]


def main(wanted: list[str]) -> None:
    """Print the figures."""
    print(machine())
    subprocess.run(["jq", "--version"], check=True)
    rows: list[list[object]] = []
    if "real" in wanted or not wanted:
        rows.append(["3 real ones", "none", *real(), "", ""])
    with tempfile.TemporaryDirectory() as directory:
        for count in [int(word) for word in wanted if word.isdigit()] or ([] if wanted else COUNTS):
            for name, share in SHARES.items():
                dead = round(count * share)
                if name == "a third" and not dead:
                    continue
                rows.append([count, name, *stood_in(count, dead, Path(directory)), *probed(count, dead)])
                print(rows[-1], flush=True)
        if "named" in wanted or not wanted:
            rows.append(["3 named of 500", "none", *named(Path(directory)), *probed(3, 0)])
        header = [
            "nodes",
            "dead",
            "CPU s",
            "pings s",
            "taken",
            "lacking",
            "journal MB a day",
            "wire MB a day",
        ]
        print(table([*header, "ICMP: CPU s", "ICMP: s"], rows))
        if "status" in wanted or not wanted:
            rows = [status_beside_a_round(count, Path(directory)) for count in STATUS_COUNTS]
            print(table(["nodes", "/status p50 s", "p99 s", "load"], rows))


if __name__ == "__main__":
    main(sys.argv[1:])
