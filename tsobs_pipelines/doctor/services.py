"""Checks of other services: sidecar, InfluxDB, Telegram, the price source.

Each is asked one or two things with a short deadline; nothing is sent or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import httpx

from tsobs_pipelines.alerting.telegram import bot_api_answer
from tsobs_pipelines.doctor.findings import Finding, clock_difference, clock_finding
from tsobs_pipelines.doctor.nodes import newest_rounds, node_findings
from tsobs_pipelines.forecasting.delivery import market_of
from tsobs_pipelines.forecasting.prices.open import open_price_source
from tsobs_pipelines.forecasting.prices.source import (
    PriceSourceError,
    PriceSourceUnavailableError,
    PriceSourceUnreachableError,
)
from tsobs_pipelines.secret_url import SecretUrl, below
from tsobs_pipelines.settings import Settings, SettingsError
from tsobs_pipelines.tailnet.client import DayIndex, SidecarHealth, TailscaleHealthService
from tsobs_pipelines.tailnet.errors import SidecarError, SidecarRefusedError
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet.userspace import REMEDY, WARNING, is_userspace, on_loopback
from tsobs_pipelines.tailnet_settings import Tailnet, read_token
from tsobs_pipelines.timeseries.sampling import USUAL, Sampling, interval_of

TIMEOUT_S = 5.0
_FRESH = timedelta(minutes=5)
_PACE_ROUNDS = 8


def check_sidecars(settings: Settings, now: datetime) -> Sequence[Finding]:
    """The sidecar of each tailnet."""
    return [finding for tailnet in settings.tailnets for finding in check_sidecar(tailnet, now)]


def check_sidecar(tailnet: Tailnet, now: datetime) -> Sequence[Finding]:
    """A sidecar: reachable, let in, the daemon running, the sampler alive, rounds in the journal."""
    name = "sidecar" if tailnet.first else f"sidecar of {tailnet}"
    if tailnet.sidecar_url is None:
        return [Finding(name, "ok", "the demo tailnet, inside each process (TSOBS_SIDECAR_URL is unset)")]
    # Where a further tailnet is described; the first one is by variables.
    url, token_file = (
        ("TSOBS_SIDECAR_URL", "TSOBS_SIDECAR_TOKEN_FILE")
        if tailnet.first
        else ("its sidecar_url", "its sidecar_token_file")
    )
    token = tailnet.sidecar_token_file
    if token is not None and not _readable(token):
        return [Finding(name, "failed", f"{token} can't be read", f"fix {token_file} or the file's owner")]
    try:
        with TailscaleHealthService(tailnet.sidecar_url, token, tailnet.critical_nodes) as sidecar:
            health = sidecar.healthz()
            days = sidecar.samples_index()
            status = sidecar.get_tailscale_status()
            rounds = newest_rounds(sidecar, now)
    except SidecarRefusedError as error:
        remedy = f"{token_file} must hold what SIDECAR_TOKEN_FILE holds there; is this host allowed?"
        return [Finding(name, "failed", str(error), remedy)]
    except SidecarError as error:
        return [Finding(name, "failed", str(error), f"is it running there, and is {url} right?")]
    version = f"tailscaled {status.get('Version', '?')}"
    return [
        _sidecar_state(name, health, days, version, now - max(_FRESH, _pace(rounds).stale_after)),
        *node_findings(tailnet, status, rounds, now),
        *_loopback(name, tailnet.sidecar_url, status),
        *clock_finding(name, _clock_of(tailnet.sidecar_url)),
    ]


def _loopback(name: str, url: SecretUrl, status: Mapping[str, object]) -> Sequence[Finding]:
    """What userspace mode of the daemon means, if it shares this machine's loopback."""
    if not is_userspace(status) or not on_loopback(url):
        return []
    return [Finding(f"loopback, {name}", "warning", WARNING, REMEDY)]


def _sidecar_state(
    name: str, health: SidecarHealth, days: Mapping[date, DayIndex], version: str, since: datetime
) -> Finding:
    if not health.ok:
        remedy = "on its host: is tailscaled running, and can the sidecar's user reach its socket?"
        detail = f"answers, but is not well: {dict(health.details)}"
        return Finding(name, "failed", detail, remedy, version)
    if not days or max(days) < since.date():
        remedy = "on its host: is the sampler running, and JOURNAL_DIR writable?"
        return Finding(name, "failed", "no rounds in today's journal", remedy, version)
    newest = max(days)
    return Finding(name, "ok", f"{days[newest].rounds} rounds on {newest}, {len(days)} days", "", version)


def _pace(rounds: Sequence[Round]) -> Sampling:
    return Sampling(interval_of(this.at for this in rounds[-_PACE_ROUNDS:]) or USUAL)


def check_influx(settings: Settings, now: datetime) -> Sequence[Finding]:
    """InfluxDB: healthy, the bucket there, the token allowed to read and to write it."""
    _ = now
    if settings.influx_url is None:
        return []
    token = settings.influx_token.get_secret_value() if settings.influx_token else ""
    org, bucket = settings.influx_org or "", settings.influx_bucket
    headers = {"Authorization": f"Token {token}"}
    url = settings.influx_url
    with httpx.Client(headers=headers, timeout=TIMEOUT_S) as client:
        try:
            sent = datetime.now(UTC)
            health = client.get(below(url, "/health"))
            difference = clock_difference(health.headers.get("date"), sent, datetime.now(UTC))
            # An empty body writes nothing, and still has to be allowed to.
            write = client.post(_asked(url, "/api/v2/write", {"org": org, "bucket": bucket}), content=b"")
            flux = {"query": f'from(bucket: "{_quoted(bucket)}") |> range(start: -1m) |> limit(n: 1)'}
            read = client.post(_asked(url, "/api/v2/query", {"org": org}), json=flux)
        except httpx.HTTPError as error:
            detail = f"{url}: {type(error).__name__}: {error}"
            return [Finding("InfluxDB", "failed", detail, "is it up, and is INFLUXDB_V2_URL right?")]
    said = health.json() if health.headers.get("content-type", "").startswith("application/json") else {}
    version = f"InfluxDB {said.get('version', health.headers.get('x-influxdb-version', '?'))}"
    if said.get("status") != "pass":
        remedy = "look at its log; /health says what fails"
        return [Finding("InfluxDB", "failed", f"/health: {health.status_code} {said}", remedy, version)]
    # An empty body is 204 or, once everything else was found right, 400.
    for what, answer, fine in (("write", write, {204, 400}), ("read", read, {200})):
        if answer.status_code in fine:
            continue
        detail = f"can't {what} ({answer.status_code}): {' '.join(answer.text.split())[:200]}"
        remedy = "look at its log"
        if answer.status_code in {401, 403}:
            remedy = f"INFLUXDB_V2_TOKEN must be allowed to read and write bucket {bucket}"
        elif answer.status_code == 404:
            remedy = (
                f"make bucket {bucket} in organisation {org}, or set TSOBS_INFLUX_BUCKET, INFLUXDB_V2_ORG"
            )
        return [Finding("InfluxDB", "failed", detail, remedy, version)]
    detail = f"healthy, bucket {bucket} can be read and written"
    return [
        Finding("InfluxDB", "ok", detail, "", version, difference),
        *clock_finding("InfluxDB", difference),
    ]


def _asked(address: SecretUrl, path: str, query: Mapping[str, str]) -> httpx.URL:
    """A path below the address, with the address's own query and this one."""
    return httpx.URL(below(address, path)).copy_merge_params(query)


def check_telegram(settings: Settings, now: datetime) -> Sequence[Finding]:
    """The bot and its chat, by two requests that send nothing."""
    _ = now
    if settings.telegram_bot_token is None or settings.telegram_chat_id is None:
        if settings.notify_urls:
            return [Finding("Telegram", "ok", "not set: alerts go to the addresses of TSOBS_NOTIFY_URLS")]
        return [
            Finding(
                "Telegram",
                "warning",
                "not set: alerts stay in the outbox",
                "set TELEGRAM_BOT_TOKEN and TELEGRAM_CHAT_ID, or TSOBS_NOTIFY_URLS",
            )
        ]
    api, bot = settings.telegram_api_url, f"/bot{settings.telegram_bot_token.get_secret_value()}"
    try:
        with httpx.Client(timeout=TIMEOUT_S) as client:
            sent = datetime.now(UTC)
            me = client.get(below(api, f"{bot}/getMe"))
            difference = clock_difference(me.headers.get("date"), sent, datetime.now(UTC))
            chat = client.get(_asked(api, f"{bot}/getChat", {"chat_id": settings.telegram_chat_id}))
    except httpx.HTTPError as error:
        # The error's own text may hold the address, and so the token.
        remedy = "may this machine reach TELEGRAM_API_URL? (firewall, DNS, proxy)"
        return [Finding("Telegram", "failed", f"no answer ({type(error).__name__})", remedy)]
    clock = clock_finding("Telegram", difference)
    for method, answer, remedy in (
        ("getMe", me, "check TELEGRAM_BOT_TOKEN"),
        ("getChat", chat, "check TELEGRAM_CHAT_ID, and that the bot is a member there"),
    ):
        said = bot_api_answer(answer.content)
        if said is None:
            detail = f"{method}: {answer.status_code}, not the Bot API's answer"
            return [
                Finding("Telegram", "failed", detail, "look at TELEGRAM_API_URL, and at a proxy on the way"),
                *clock,
            ]
        if said["ok"] is not True:
            detail = f"{method}: {answer.status_code} {said.get('description', '')}".rstrip()
            return [Finding("Telegram", "failed", detail, remedy), *clock]
    about = (bot_api_answer(me.content) or {}).get("result")
    name = about.get("username", "?") if isinstance(about, dict) else "?"
    return [Finding("Telegram", "ok", f"bot {name}, and the chat can be seen", "", "", difference), *clock]


def check_prices(settings: Settings, now: datetime) -> Sequence[Finding]:
    """The price source, asked for today's prices by its own reader."""
    try:
        source = open_price_source(settings)
        sent = datetime.now(UTC)
        answer = source.probe(market_of(settings).day_of(now), TIMEOUT_S)
    except PriceSourceUnreachableError as error:
        remedy = "may this machine reach it? (firewall, DNS, proxy)"
        return [Finding("prices", "failed", str(error), remedy)]
    except PriceSourceUnavailableError as error:
        return [Finding("prices", "warning", str(error), "it may pass; tsobs tries again")]
    except (PriceSourceError, SettingsError) as error:
        return [Finding("prices", "failed", str(error), "fix TSOBS_PRICE_SOURCE, or what it names")]
    difference = clock_difference(answer.http_date, sent, datetime.now(UTC))
    return [
        Finding("prices", "ok", answer.detail, "", "", difference),
        *clock_finding("prices", difference),
    ]


def _clock_of(url: SecretUrl) -> float | None:
    try:
        sent = datetime.now(UTC)
        answer = httpx.get(below(url, "/healthz"), timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError:
        return None
    return clock_difference(answer.headers.get("date"), sent, datetime.now(UTC))


def _readable(path: Path) -> bool:
    try:
        read_token(path)
    except (OSError, ValueError):
        return False
    return True


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
