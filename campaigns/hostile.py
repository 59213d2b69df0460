"""What a hostile tester sends: settings, index, journal, history, price files, API, sidecar, log lines.

``python -m campaigns.hostile [AREA …] [--seed N] [--tries N] [--keep DIRECTORY]``

Each area makes its inputs out of good ones and of those in ``tests/data/hostile/<area>/``, by a seed, and
counts what was tried, what raised something else than the area's own error (raw), what was lost without a
word, and where a canary of a secret was seen. An input that fails is kept in the corpus with ``--keep``. The
exit status is 1 when anything was found.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import Random

import httpx

from tests.support.api_world import NOW, Api, demo_sidecar, parts_of, settings_of
from tests.support.journals import NODES, round_line
from tests.support.sidecar_process import FAKE_TAILSCALE, Sidecar, fake_tailnet
from tests.support.sidecar_process import running as running_sidecar
from tsobs_pipelines.api.app import create_app
from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.history_file import HistoryError, encoded
from tsobs_pipelines.forecasting.metrics_tracker import HISTORY_NAME, ModelMetricsTracker
from tsobs_pipelines.forecasting.prices import csv_source
from tsobs_pipelines.forecasting.prices.source import PriceSourceError
from tsobs_pipelines.logs.lines import parse_line
from tsobs_pipelines.logs.tailscaled import parse as parse_daemon_line
from tsobs_pipelines.settings import Settings, SettingsError, known_names, load_settings
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.collection import Collector
from tsobs_pipelines.tailnet.completeness import IncompleteDayError
from tsobs_pipelines.tailnet.errors import SidecarError
from tsobs_pipelines.tailnet.peers import AmbiguousPeerError, UnknownPeerError
from tsobs_pipelines.tailnet.ping import parse_ping_text
from tsobs_pipelines.timeseries.schema import CONNECTIONS
from tsobs_pipelines.timeseries.sql import SqlStore
from tsobs_pipelines.timeseries.store import Window

CORPUS = Path(__file__).parents[1] / "tests" / "data" / "hostile"
CANARY = "cAnArY"
DAY = date(2026, 11, 20)
START = datetime(2026, 11, 20, tzinfo=UTC)
_TOKENS = (
    *(b"\x00", b"\r", b"\r\n", b"\xff\xfe", b"{", b"[" * 2000, b'"', b",", b"NaN", b"1e400", b"-1", b"null"),
    *(b"9999-12-31T23:59:59-23:59", b"0001-01-01T00:00:00+23:59", b"x" * 140_000, b"\\ud800", b"true", b"\n"),
)


_ADDRESSES = (
    *(b"TSOBS_SIDECAR_URL=", b"INFLUXDB_V2_URL=", b"TELEGRAM_API_URL=", b"TSOBS_HEARTBEAT_URL="),
    *(b"TSOBS_DATABASE_URL=", b"TSOBS_DAGSTER_DATABASE_URL=", b"TSOBS_PUBLIC_URL=", b"TSOBS_DAGSTER_URL="),
    *(b"TSOBS_NOTIFY_URLS=", b"INFLUXDB_V2_TOKEN=", b"TELEGRAM_BOT_TOKEN=", b"TSOBS_PROXY_SECRET="),
)


@dataclass
class Tally:
    """What came of an area's inputs."""

    area: str
    keep: Path | None = None
    tried: int = 0
    refused: int = 0
    raw: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)

    def expect(self, data: bytes, action: Callable[[], str | None], *errors: type[Exception]) -> None:
        """Try one input: one of ``errors`` refuses it; what is returned is a loss, in words."""
        self.tried += 1
        try:
            lost = action()
        except errors as refusal:
            self.refused += 1
            lost = None
            # What is no address, and in no address's or secret's place, is shown as it is.
            said = re.sub(r"://[\w.-]+", "://", str(refusal))  # and so is a host
            if CANARY in said and (b"://" in data or data.startswith(_ADDRESSES)):
                self._found(self.secrets, data, str(refusal))
        except Exception as error:  # noqa: BLE001 - what the campaign looks for
            self._found(self.raw, data, f"{type(error).__name__}: {error}")
            return
        if lost:
            self._found(self.lost, data, lost)

    def _found(self, where: list[str], data: bytes, said: str) -> None:
        where.append(f"{said[:200]} at {data[:80]!r}")
        if self.keep is not None:
            folder = self.keep / self.area
            folder.mkdir(parents=True, exist_ok=True)
            (folder / sha256(data).hexdigest()[:16]).write_bytes(data)

    def __str__(self) -> str:
        return (
            f"{self.area:<9}{self.tried:>7} tried {self.refused:>7} refused, {len(self.raw)} raw exceptions,"
            f" {len(self.lost)} silent losses, {len(self.secrets)} secrets"
        )


def mutated(good: bytes, random: Random) -> bytes:
    """The good text with one to four things wrong."""
    text = bytearray(good)
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(text) + 1)
        end = min(len(text), place + random.randint(0, 30))
        match random.randrange(5):
            case 0:
                text[place:end] = random.choice(_TOKENS)
            case 1:
                del text[place:end]
            case 2:
                text[place:place] = text[place:end] * random.randint(1, 20)
            case 3:
                text[place:end] = random.randbytes(end - place)
            case _:
                del text[place:]
    return bytes(text)


def inputs(area: str, goods: list[bytes], random: Random, tries: int) -> Iterator[bytes]:
    """The corpus of the area as it is, then mutations of it and of the good texts."""
    kept = [path.read_bytes() for path in sorted((CORPUS / area).glob("*"))]
    yield from kept
    for _ in range(tries):
        yield mutated(random.choice([*goods, *kept]), random)


@contextlib.contextmanager
def environment(values: Mapping[str, str], place: Path) -> Iterator[None]:
    """Only these settings, in a directory of their own."""
    names = {*known_names(), *values}
    before = {name: os.environ.pop(name, None) for name in names}
    directory = Path.cwd()
    os.environ.update(values)
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(directory)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def attack_settings(tally: Tally, random: Random, tries: int, place: Path) -> None:
    """Every variable, with values that are nearly right."""
    goods = [f"http://u:{CANARY}@h:80/x?token={CANARY}".encode(), b"2026-11-01", b"git=100,x=5", b"127.0.0.1"]
    goods += [f"postgresql://u:{CANARY}@h:5432/x".encode(), b"Europe/Madrid", b"csv:/x.csv", b"true", b"30"]
    for data in inputs(tally.area, goods, random, tries):
        text = data.decode("utf-8", "replace").replace("\0", "")
        name = random.choice([name for name in known_names() if not name.endswith(("_DIR", "_FILE"))])

        def read(name: str = name, text: str = text) -> str | None:
            with environment({name: text}, place):
                settings = load_settings()
            shown = repr(settings)
            told = any(part in shown for part in settings.secrets() if CANARY in part)
            return f"{name} is shown" if told else None

        tally.expect(f"{name}={text}".encode(), read, SettingsError)


def whole_answer(body: bytes) -> httpx.Response:
    """An answer of 200 that comes as a stream, as one from a socket does."""
    return httpx.Response(200, headers={"Content-Length": str(len(body))}, stream=httpx.ByteStream(body))


def service(answer: Callable[[httpx.Request], httpx.Response]) -> TailscaleHealthService:
    """A client of a sidecar that answers like this."""
    address = f"http://u:{CANARY}@sidecar"
    return TailscaleHealthService(address, critical_nodes=NODES, transport=httpx.MockTransport(answer))


def attack_index(tally: Tally, random: Random, tries: int, _place: Path) -> None:
    """The index of the journal, and the status."""
    good = json.dumps({"days": {"2026-11-20": {"rounds": 3, "bytes": 99}}}).encode()
    status = json.dumps(
        {
            "BackendState": "Running",
            "Self": {"HostName": "me"},
            "Peer": {"k": {"HostName": "git", "TailscaleIPs": ["100.64.0.2"], "Online": True}},
        }
    ).encode()
    for data in inputs(tally.area, [good, status], random, tries):
        with service(lambda _request, data=data: whole_answer(data)) as sidecar:  # type: ignore[misc]
            errors = (SidecarError, UnknownPeerError, AmbiguousPeerError)
            tally.expect(data, lambda sidecar=sidecar: (sidecar.samples_index(), None)[1], *errors)  # type: ignore[misc]
            tally.expect(data, lambda sidecar=sidecar: (sidecar.observe_peer("git"), None)[1], *errors)  # type: ignore[misc]


def attack_journal(tally: Tally, random: Random, tries: int, place: Path) -> None:
    """A day that was collected, and then answers something else: no round may be lost in silence."""
    whole = b"".join(round_line(START + timedelta(minutes=minute)) for minute in range(6))
    index = {"days": {str(DAY): {"rounds": 6, "bytes": len(whole)}}}
    answers = {"body": whole}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/samples":
            return whole_answer(json.dumps(index).encode())
        return whole_answer(answers["body"] if request.url.path.endswith(str(DAY)) else b"")

    store = SqlStore(f"sqlite:///{place / 'journal.db'}")
    with service(answer) as sidecar:
        collector = Collector(sidecar, store, NODES, "default")
        collector.collect_day(DAY)
        for data in inputs(tally.area, [whole], random, tries):
            answers["body"] = data

            def collect() -> str | None:
                collector.collect_day(DAY)
                left = store.count_times(CONNECTIONS, Window.of_day(DAY), {"tailnet": "default"}).get(DAY, 0)
                return f"{left} of 6 rounds are left" if left < 6 else None

            tally.expect(data, collect, IncompleteDayError, SidecarError)
            answers["body"] = whole
    store.close()


def attack_history(tally: Tally, random: Random, tries: int, place: Path) -> None:
    """The metrics history: what is taken out by a write has to be beside it."""
    maker = ModelMetricsTracker(str(place / "good"))
    for day in range(3):
        start = START + timedelta(days=day)
        maker.log_metrics("m", {"mae": 1.0 + day, "n": 24.0}, window=(start, start + timedelta(days=1)))
    good = (place / "good" / HISTORY_NAME).read_bytes()
    folder = place / "history"
    folder.mkdir()
    for data in inputs(tally.area, [good, good.replace(b"\n", b"\r")], random, tries):
        for path in folder.iterdir():
            path.unlink()
        (folder / HISTORY_NAME).write_bytes(data)

        def write() -> str | None:
            tracker = ModelMetricsTracker(str(folder))
            rows, bad = len(tracker.rows("m")), tracker.bad_lines()
            later = START + timedelta(days=90)
            tracker.log_metrics("m", {"mae": 9.0, "new": 1.0}, window=(later, later + timedelta(days=1)))
            after = len(ModelMetricsTracker(str(folder)).rows("m"))
            kept = b"".join(path.read_bytes() for path in folder.glob("*.csv"))
            gone = [line.text for line in bad if "\ufffd" not in line.text and encoded(line.text) not in kept]
            if after < rows:
                return f"{after} of {rows} rows are left"
            return f"{gone[0][:60]!r} is gone" if gone else None

        tally.expect(data, write, HistoryError, OSError)


def read_prices(data: bytes, market: Market) -> None:
    """Read a price file."""
    csv_source.parse([csv_source.PriceFile("x.csv", data)], market, DAY, DAY)


def attack_prices(tally: Tally, random: Random, tries: int, _place: Path) -> None:
    """Price files."""
    timed = "time,price_eur_per_mwh\n" + "".join(f"2026-11-20T{h:02}:00:00+01:00,{h}.5\n" for h in range(24))
    dated = "date;hour;price_eur_per_kwh\n" + "".join(f"2026-11-20;{h};0,1{h}\n" for h in range(24))
    market = Market("Europe/Madrid")
    for data in inputs(tally.area, [timed.encode(), dated.encode()], random, tries):
        tally.expect(
            data,
            lambda data=data: read_prices(data, market),  # type: ignore[misc]
            PriceSourceError,
        )


def attack_lines(tally: Tally, random: Random, tries: int, _place: Path) -> None:
    """Log lines, tailscaled's lines, and the text of pings."""
    goods = [
        b'{"timestamp":"2026-11-20T00:00:00Z","level":"INFO","logger":"x","message":"m"}',
        b"2026/11/20 00:00:00 magicsock: derp-9 connected",
        b"pong from git (100.64.0.2) via DERP(fra) in 23ms\npong from git via 1.2.3.4:41641 in 1.2s",
    ]
    for data in inputs(tally.area, goods, random, tries):
        text = data.decode("utf-8", "replace")
        tally.expect(data, lambda data=data: (parse_line(data), None)[1])  # type: ignore[misc]
        tally.expect(data, lambda text=text: (parse_daemon_line(text, NOW), None)[1])  # type: ignore[misc]
        tally.expect(data, lambda text=text: (parse_ping_text(text), None)[1])  # type: ignore[misc]


_PATHS = (
    *(
        "/",
        "/vpn.html",
        "/alerts",
        "/healthz",
        "/metrics",
        "/about",
        "/models/metrics-history",
        "/logs/search",
    ),
    *(
        "/health-monitoring/nodes",
        "/health-monitoring/latency-history/git",
        "/models/forecast",
        "/openapi.json",
    ),
)


def attack_api(tally: Tally, random: Random, tries: int, place: Path) -> None:
    """Requests to the real application: no answer of 500, no canary."""
    with demo_sidecar() as url:
        settings: Settings = settings_of(place / "api", telegram_bot_token=CANARY)
        parts = parts_of(settings, url)
        with Api(create_app(settings, parts)) as api:
            for data in inputs(tally.area, [b"hours=24&limit=100&model_name=m&level=ERROR"], random, tries):
                query = data[:2000].decode("latin-1").translate(dict.fromkeys((*range(33), 35, 127)))
                path = random.choice(_PATHS)
                headers = {"User-Agent": query[:100].encode("ascii", "ignore").decode()}
                method = random.choice(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE"])

                def ask(
                    path: str = path,
                    query: str = query,
                    headers: dict[str, str] = headers,
                    method: str = method,
                ) -> str | None:
                    answer = api.get(f"{path}?{query}", headers=headers, method=method)
                    if CANARY in answer.text:
                        tally.secrets.append(path)
                    if answer.status_code >= 400:
                        tally.refused += 1
                    return f"{method} {path}: {answer.status_code}" if answer.status_code == 500 else None

                tally.expect(data, ask, httpx.InvalidURL)
        parts.store.close()


def attack_sidecar(tally: Tally, random: Random, tries: int, place: Path) -> None:
    """Bytes to the sidecar's socket: each gets an answer with a status, and /status goes on answering."""
    (place / "sidecar").mkdir()
    tailscale = fake_tailnet(place / "fake")
    sidecar = Sidecar(
        place / "sidecar",
        {
            "TAILSCALE_BIN": str(FAKE_TAILSCALE),
            "FAKE_TAILSCALE": str(tailscale.place),
            "SAMPLE_INTERVAL": "3600",
            "SIDECAR_REQUEST_SECONDS": "1",
        },
    )
    with running_sidecar(sidecar):
        good = f"GET /ping/git?format=json HTTP/1.1\r\nHost: 127.0.0.1:{sidecar.port}\r\n\r\n".encode()
        for data in inputs(
            tally.area, [good, good.replace(b"/ping/git", b"/samples/2026-11-20")], random, tries
        ):

            def send(data: bytes = data) -> str | None:
                said = b""
                with socket.create_connection(("127.0.0.1", sidecar.port), 5) as client:
                    client.settimeout(10)
                    with contextlib.suppress(ConnectionError):
                        client.sendall(data)
                        client.shutdown(socket.SHUT_WR)
                        said = client.recv(65536)
                if not said:
                    # bash reads over NUL bytes: a request of nothing else is none.
                    return "not answered" if data.strip(b"\0") else None
                return None if said.startswith(b"HTTP/1.1 ") else f"answered {said[:40]!r}"

            tally.expect(data, send)
        tally.expect(good, lambda: None if sidecar.get("/status").status == 200 else "/status is gone")
        if list(place.rglob("canary*")):
            tally.lost.append("a request ran something")


AREAS: Mapping[str, Callable[[Tally, Random, int, Path], None]] = {
    "settings": attack_settings,
    "index": attack_index,
    "journal": attack_journal,
    "history": attack_history,
    "prices": attack_prices,
    "lines": attack_lines,
    "api": attack_api,
    "sidecar": attack_sidecar,
}


def run(area: str, seed: int, tries: int, keep: Path | None = None) -> Tally:
    """Attack one area."""
    tally = Tally(area, keep)
    with tempfile.TemporaryDirectory(prefix="tsobs-hostile-") as place:
        AREAS[area](tally, Random(f"{seed} {area}"), tries, Path(place))  # noqa: S311 - repeatable on purpose
    return tally


def main() -> int:
    """Attack the areas that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument(
        "--keep", type=Path, help="where inputs that fail are written, such as tests/data/hostile"
    )
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = 0
    for area in options.areas or AREAS:
        began = time.monotonic()
        tally = run(area, options.seed, options.tries, options.keep)
        print(f"{tally}  ({time.monotonic() - began:.0f} s)", flush=True)
        for said in (*tally.raw[:5], *tally.lost[:5], *tally.secrets[:5]):
            print(f"  {said}")
        found += len(tally.raw) + len(tally.lost) + len(tally.secrets)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
