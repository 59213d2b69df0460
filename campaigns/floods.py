"""What a hostile client costs a running tsobs: floods of headers, abandoned questions, refusals, silence.

``python -m campaigns.floods [FLOOD …]`` starts ``tsobs up`` with its demo data, and prints a line for each
flood and server. The exit status is 1 when memory, log or the answers to others were not within bounds.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.running import Running, running

HEADER_BYTES = 100 * 10**6
QUESTIONS = 430
REFUSALS = 19_500
SILENT = 410
AT_ONCE = 50
LONGEST_S = 10.0
"""Of a page after the abandoned questions, on a machine that is busy with other work as well."""
PAGE = "/vpn.html"
HISTORY = "/health-monitoring/latency-history/git?hours="


def request(port: int, target: str, *headers: str, host: str | None = None) -> bytes:
    """A whole GET."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {host or f'127.0.0.1:{port}'}", *headers, "", ""]
    return "\r\n".join(lines).encode("ascii")


def ask(port: int, target: str, source: str = "127.0.0.1") -> tuple[int, float]:
    """The status of an answer (0: none), and the seconds it took, from an address of this machine."""
    begun = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), 60, source_address=(source, 0)) as client:
            client.sendall(request(port, target, "Connection: close"))
            answer = client.makefile("rb").read()
    except OSError:
        answer = b""
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(found[1]) if found else 0, time.monotonic() - begun


def memory_mb(pid: int, kind: str = "VmRSS") -> float:
    """The memory of a process now (``VmRSS``), or the most it ever had (``VmHWM``)."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    found = re.search(rf"{kind}:\s+(\d+)", text)
    assert found is not None
    return int(found[1]) / 1024


def header_flood(port: int) -> Counter[bytes]:
    """100 MB of small headers, in as many requests as it takes; their answers."""
    block = b"".join(b"X-%d: a\r\n" % number for number in range(10_000))
    sent, answers = 0, Counter[bytes]()
    while sent < HEADER_BYTES:
        said = b""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            with contextlib.suppress(OSError):
                for _ in range(20):
                    sent += client.send(block)
            said = client.recv(65536)
        answers[said[9:12] or b"closed"] += 1
    return answers


@dataclass(frozen=True)
class Target:
    """A server of a running tsobs; ``name`` is the part's."""

    name: str
    port: int
    page: str
    tsobs: Running


@dataclass(frozen=True)
class Outcome:
    """What a flood cost, in words, and whether that is within bounds."""

    text: str
    held: bool


def headers(target: Target) -> Outcome:
    """Memory of a server while four clients send it 100 MB of headers each."""
    pid = target.tsobs.part(target.name)
    before, begun = memory_mb(pid), time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        flooding = [pool.submit(header_flood, target.port) for _ in range(4)]
        pages = []
        while not all(flood.done() for flood in flooding):
            pages.append(ask(target.port, target.page))
            time.sleep(0.2)
    answers = sum((flood.result() for flood in flooding), Counter[bytes]())
    most = memory_mb(pid, "VmHWM")
    memory = f"memory {before:.0f} MB before, {memory_mb(pid):.0f} after, {most:.0f} at most"
    return Outcome(
        f"400 MB of headers in {time.monotonic() - begun:.0f} s, answers {_shown(answers)}; {memory}; "
        f"a page meanwhile {_worst(pages)}",
        most < before + 60 and all(status == 200 for status, _ in pages),
    )


def abandoned(target: Target) -> Outcome:
    """Different questions about the history whose clients go away at once, and pages after them."""
    for number in range(QUESTIONS):
        with socket.create_connection(("127.0.0.1", target.port), 30) as client:
            client.sendall(request(target.port, f"{HISTORY}{number + 1}"))
    pages = [ask(target.port, path) for path in (PAGE, "/about", "/health-monitoring/nodes", "/healthz")]
    last = ask(target.port, f"{HISTORY}700")
    return Outcome(
        f"{QUESTIONS} abandoned questions; then pages {_worst(pages)}, a new question {_worst([last])}",
        all(status == 200 and seconds < LONGEST_S for status, seconds in [*pages, last]),
    )


def refusals(target: Target) -> Outcome:
    """Refused requests on connections that are kept, and what they write to the log."""
    before, begun = _log_bytes(target.tsobs), time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asking = [pool.submit(_refused, target.port, REFUSALS // AT_ONCE) for _ in range(AT_ONCE)]
    answers = sum((one.result() for one in asking), Counter[bytes]())
    seconds = time.monotonic() - begun
    time.sleep(3)  # the log's writer is another process
    written = _log_bytes(target.tsobs) - before
    return Outcome(
        f"{sum(answers.values())} refused requests in {seconds:.0f} s, answers {_shown(answers)}; "
        f"{written / 1000:.0f} kB of log",
        written < 500_000,
    )


def _refused(port: int, count: int) -> Counter[bytes]:
    text, answers = request(port, "/x", host="evil.example"), Counter[bytes]()
    while (left := count - sum(answers.values())) > 0:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as client:
            reader = client.makefile("rb")
            for _ in range(left):
                client.sendall(text)
                status = reader.readline()
                length = 0
                while (line := reader.readline()) not in {b"\r\n", b""}:
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                reader.read(length)
                if not status:
                    break
                answers[status[9:12]] += 1
    return answers


def silence(target: Target) -> Outcome:
    """Connections that say nothing, and whether others are answered meanwhile."""
    with contextlib.ExitStack() as idle:
        for _ in range(SILENT):
            idle.enter_context(socket.create_connection(("127.0.0.1", target.port), 30))
        same = [ask(target.port, target.page) for _ in range(10)]
        other = [ask(target.port, target.page, "127.0.0.2") for _ in range(10)]
    return Outcome(
        f"{SILENT} silent connections; the same address {_worst(same)}, another {_worst(other)}",
        all(status == 200 for status, _ in [*same, *other]),
    )


def _shown(answers: Counter[bytes]) -> str:
    return ", ".join(f"{count} of {status.decode()}" for status, count in sorted(answers.items()))


def _worst(answers: list[tuple[int, float]]) -> str:
    statuses = Counter(str(status).encode() for status, _ in answers)
    return f"{_shown(statuses)}, {max(seconds for _, seconds in answers):.2f} s at worst"


def _log_bytes(tsobs: Running) -> int:
    return sum(path.stat().st_size for path in (tsobs.state / "logs").glob("*") if path.is_file())


FLOODS: Mapping[str, Callable[[Target], Outcome]] = {
    "headers": headers,
    "abandoned": abandoned,
    "refusals": refusals,
    "silence": silence,
}


def main(wanted: list[str]) -> int:
    """Run the floods that are named, or all."""
    missed = 0
    with tempfile.TemporaryDirectory(prefix="tsobs-floods-") as place, running(Path(place)) as tsobs:
        api = Target("api", tsobs.api_port, PAGE, tsobs)
        dagster = Target("webserver", tsobs.dagster_port, "/", tsobs)
        for name in wanted or FLOODS:
            for target in (api,) if name == "abandoned" else (api, dagster):
                outcome = FLOODS[name](target)
                load = f"load {os.getloadavg()[0]:.0f}"
                print(
                    f"{target.name}: {outcome.text} ({load}){'' if outcome.held else ' MISSED'}", flush=True
                )
                missed += not outcome.held
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
