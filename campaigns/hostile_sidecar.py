"""Generated hostile requests to the sidecar: nothing may be executed, and every request answered.

``python -m campaigns.hostile_sidecar [REQUESTS [SEED]]``: 10,000 by default, over the fake CLI, whose every
call is checked: an argument may only be what the sidecar chose, or an address from the status. Ends with 1
when a request ran something, was not answered, or left the sidecar without an answer to ``/status``.
"""

from __future__ import annotations

import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tests.support.sidecar_process import DEV, FAKE_TAILSCALE, GIT, Reply, Sidecar, fake_tailnet, running

FRAGMENTS: Final = [
    *(
        "$(touch CANARY)",
        "`touch CANARY`",
        ";touch CANARY",
        "|touch CANARY",
        "&&touch CANARY&",
        "\ntouch CANARY\n",
    ),
    *(
        "a[$(touch CANARY)]",
        "$((a[$(touch CANARY)]))",
        "${IFS}",
        "$IFS",
        "x=$(touch CANARY)",
        "<(touch CANARY)",
    ),
    *(
        "--socket=/tmp/x",
        "-c",
        "--",
        "-",
        "*",
        "?",
        "[a-z]",
        "~",
        "{a,b}",
        "\\",
        "'",
        '"',
        '\\"',
        "%",
        "%s",
        "%n",
    ),
    *(
        "..",
        ".",
        "../..",
        "/etc/passwd",
        "\0",
        "\r\n",
        "\r",
        "\t",
        "\x1b[2J",
        "\x7f",
        "é",
        "\u202e",
        "\x80\xff",
    ),
    *("git", "100.64.0.2", "fd7a:115c:a1e0::2", "8.8.8.8", "2026-11-20", "2026-02-30T25:61:61Z", "0" * 300),
    *(
        'include "tailnet"; env',
        '"|env|"',
        "\\(env)",
        "1 status - {}",
        "\n1 resolve git {}\n",
        "serve_answers",
    ),
    *(
        "@base64d",
        "$__loc__",
        "input_filename",
        "null",
        "NaN",
        "1e999",
        "{",
        "}",
        "[",
        "<",
        ">",
        "!",
        "#",
        ":",
        " ",
    ),
]
ROUTES: Final = [
    "status",
    "healthz",
    "netcheck",
    "samples",
    "whois",
    "ping",
    "debug",
    "samples/2026-11-20",
    "",
    "x",
]
HEADERS: Final = [
    "Host",
    "Origin",
    "Referer",
    "Authorization",
    "Accept-Encoding",
    "Content-Length",
    "X-A",
    "Cookie",
]
METHODS: Final = ["GET"] * 12 + ["POST", "HEAD", "get", "G$(id)", "OPTIONS", "CONNECT", "", "GET GET"]
ESCAPES: Final[list[Callable[[str], str]]] = [lambda word: quote(word, safe=""), quote, str, str.upper]
AT_ONCE: Final = 12


def text(chance: random.Random, most: int = 4) -> str:
    """Some fragments in a row."""
    return "".join(chance.choice(FRAGMENTS) for _ in range(chance.randrange(1, most)))


def target(chance: random.Random) -> str:
    """A path and a query, escaped, half escaped or not."""
    escape = chance.choice(ESCAPES)
    path = f"/{chance.choice(ROUTES)}"
    if chance.random() < 0.8:
        path += f"/{escape(text(chance))}"
    if chance.random() < 0.3:
        path += f"?{chance.choice(['format=', 'after=', 'x=', ''])}{escape(text(chance))}"
    return path


def request(chance: random.Random, port: int) -> bytes:
    """One request whose head ends, or bytes without any form."""
    if chance.random() < 0.03:
        return chance.randbytes(chance.randrange(1, 400)).replace(b"\n", b"") + b"\r\n\r\n"
    lines = [f"{chance.choice(METHODS)} {target(chance)} HTTP/1.{chance.choice('1110x')}"]
    if chance.random() < 0.9:
        lines.append(f"Host: 127.0.0.1:{port}")
    lines += [f"{chance.choice(HEADERS)}: {text(chance, 3)}" for _ in range(chance.randrange(3))]
    if chance.random() < 0.02:
        lines.append("X: " + "a" * 30_000)
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")


def judged(sidecar: Sidecar, raw: bytes) -> str:
    """The status of the answer, or what was wrong with it."""
    try:
        reply = sidecar.send(raw)
    except (OSError, AssertionError, ValueError) as error:
        return f"broken: {type(error).__name__}"
    return _judged(reply)


def _judged(reply: Reply) -> str:
    if reply.status == 0:
        return "unanswered"
    if "x-injected" in reply.headers or b"root:" in reply.body:
        return "leaked"
    if reply.status != 200:
        with contextlib.suppress(ValueError):
            if set(json.loads(reply.body)) == {"error"}:
                return str(reply.status)
        return f"{reply.status} without an error"
    return "200"


def executed(sidecar: Sidecar, place: Path, calls: list[str]) -> list[str]:
    """Traces of anything that a request made run."""
    found = [str(path) for path in place.rglob("*CANARY*")]
    found += [str(path) for path in Path.cwd().glob("*CANARY*")]
    allowed = {"status", "netcheck", "whois", "ping", "debug"}
    for call in calls:
        words = call.split()
        known = [word for word in words if word in {GIT, DEV} or word.startswith("ping\\?ip=100.64.0.")]
        if words[0] not in allowed or (words[0] == "ping" and not known) or "CANARY" in call:
            found.append(call)
    assert sidecar.get("/status").status == 200
    return found


def main(count: int, seed: int) -> int:
    """Send them and say what came of it."""
    chance = random.Random(seed)  # noqa: S311 - the same requests each time
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        fake = fake_tailnet(place / "fake")
        settings = {
            "TAILSCALE_BIN": str(FAKE_TAILSCALE),
            "FAKE_TAILSCALE": str(fake.place),
            "SAMPLE_INTERVAL": "3600",
            "SIDECAR_REQUEST_SECONDS": "30",
        }
        begun = time.monotonic()
        with running(Sidecar(place, settings)) as sidecar, ThreadPoolExecutor(AT_ONCE) as pool:
            requests = [request(chance, sidecar.port) for _ in range(count)]
            outcomes = Counter(pool.map(lambda raw: judged(sidecar, raw), requests))
            ran = executed(sidecar, place, fake.calls)
    bad = {name: number for name, number in outcomes.items() if not name.isdigit()}
    print(
        f"{count} requests in {time.monotonic() - begun:.0f} s, seed {seed}: {dict(sorted(outcomes.items()))}"
    )
    print(f"executed: {len(ran)}, unanswered or wrong: {sum(bad.values())}")
    for line in ran[:20]:
        print(f"  {line}")
    return 1 if ran or bad else 0


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*given, *(10_000, 20)[len(given) :]))
