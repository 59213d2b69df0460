"""Dagster's real webserver behind the guard, attacked as a browser would on behalf of a foreign page."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
import yaml
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.support.ports import free_port
from tests.support.running import eventually, up_environment

REPOSITORY = """
import dagster as dg

@dg.asset
def precious() -> None: ...

defs = dg.Definitions([precious], jobs=[dg.define_asset_job("make")])
"""
SERVE = """
import sys
from tsobs_pipelines.settings import load_settings
from tsobs_pipelines.webserver.serve import serve_dagster

workspace, host, port = sys.argv[1:]
serve_dagster(load_settings(), workspace, host, int(port))
"""
PUBLIC = "https://dagster.example.com"
LAUNCH = """mutation {launchRun(executionParams: {selector: {jobName: "make",
  repositoryName: "__repository__", repositoryLocationName: "location"}}) {__typename}}"""
WIPE = """mutation {wipeAssets(assetPartitionRanges: [{assetKey: {path: ["precious"]}}]) {__typename}}"""
RUNS = "{runsOrError {... on Runs {results {runId}}}}"
FOREIGN: Mapping[str, Mapping[str, str]] = {
    "image": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    "fetch": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"},
    "sandbox": {"Origin": "null"},
    "other port": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    "rebound": {"Host": "evil.example"},
    "link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a webserver with one job listens."""
    home = tmp_path_factory.mktemp("webserver")
    (home / "repository.py").write_text(REPOSITORY, "utf-8")
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
    location = {"python_file": {"relative_path": "repository.py", "location_name": "location"}}
    (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [location]}), "utf-8")
    port = free_port()
    environment = {**up_environment(home / "var", TSOBS_DAGSTER_URL=PUBLIC), "DAGSTER_HOME": str(home)}
    words = [str(home / "workspace.yaml"), "127.0.0.1", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, *words], env=environment, cwd=home, start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(address) or process.poll() is not None, 120, "the webserver answers")
        yield address
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/server_info").status_code == 200
    except httpx.TransportError:
        return False


def run_count(url: str) -> int:
    answer = httpx.post(f"{url}/graphql", json={"query": RUNS}, timeout=30)
    return len(answer.json()["data"]["runsOrError"]["results"])


@pytest.mark.parametrize("attack", FOREIGN)
@pytest.mark.parametrize("document", [LAUNCH, WIPE], ids=["launch", "wipe"])
def test_a_foreign_page_changes_nothing(url: str, attack: str, document: str) -> None:
    headers = FOREIGN[attack]
    by_get = httpx.get(f"{url}/graphql", params={"query": document}, headers=headers, timeout=30)
    assert by_get.status_code in {400, 403}
    body = json.dumps({"query": document})
    for kind in ("text/plain", "text/plain; x=application/json", "application/json"):
        sent = httpx.post(
            f"{url}/graphql", content=body, headers={**headers, "Content-Type": kind}, timeout=30
        )
        assert sent.status_code in {400, 403}
    form = httpx.post(
        f"{url}/graphql", params={"query": document}, data={"a": "b"}, headers=headers, timeout=30
    )
    assert form.status_code in {400, 403}
    reported = httpx.post(f"{url}/report_asset_materialization/precious", headers=headers, timeout=30)
    assert reported.status_code in {400, 403}
    assert run_count(url) == 0


@pytest.mark.parametrize(
    "document",
    [
        LAUNCH,
        WIPE,
        f"query A {{version}} {LAUNCH.replace('mutation', 'mutation B', 1)}",
        f"# {{version}}\n{LAUNCH}",
        f"\ufeff{LAUNCH}",
        "subscription {captureLogs}",
        "{" * 5000,
        "}",
    ],
)
def test_a_get_only_reads(url: str, document: str) -> None:
    answer = httpx.get(f"{url}/graphql", params={"query": document, "operationName": "B"}, timeout=30)
    assert answer.status_code == 405
    twice = httpx.get(f"{url}/graphql", params=[("query", document), ("query", "{version}")], timeout=30)
    assert twice.status_code == 405
    assert run_count(url) == 0


def test_a_body_that_no_form_could_send_is_needed(url: str) -> None:
    for kind in ("text/plain", "multipart/form-data; boundary=x", "text/plain; x=application/json", ""):
        answer = httpx.post(
            f"{url}/graphql", params={"query": LAUNCH}, headers={"Content-Type": kind}, timeout=30
        )
        assert answer.status_code == 415
    assert run_count(url) == 0


def raw_status(url: str, lines: list[str], body: bytes = b"") -> int:
    """The status that a request of exactly these lines gets."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), 30) as connection:
        head = [*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]
        connection.sendall("\r\n".join(head).encode() + body)
        received = b""
        while b"\r\n" not in received and (part := connection.recv(65536)):
            received += part
    return int(received.split(b" ", 2)[1])


@pytest.mark.parametrize("method", ["GET", "HEAD", "get", "Get", "PUT", "OPTIONS", "PROPFIND"])
def test_no_form_of_the_target_or_method_changes_anything(url: str, method: str) -> None:
    query = urlencode({"query": LAUNCH})
    host = url.removeprefix("http://")
    for target in ("/graphql", "/%67raphql", "http://evil.example/graphql"):
        assert 400 <= raw_status(url, [f"{method} {target}?{query} HTTP/1.1", f"Host: {host}"]) < 500
    for target in ("//evil.example/graphql", "/./graphql", "/graphql;x", "/graphql/", "/GraphQL"):
        assert 400 <= raw_status(url, [f"{method} {target}?{query} HTTP/1.1", f"Host: {host}"]) < 500
    assert run_count(url) == 0


@pytest.mark.parametrize(
    "end", ["%0A", "%0a%0a", "%0D", "%0D%0A", "%00", "%09", "%1B", "%7F", "%C2%85", "%E2%80%A8"]
)
def test_a_path_with_a_control_character_is_refused(url: str, end: str) -> None:
    host, query, body = (
        url.removeprefix("http://"),
        urlencode({"query": LAUNCH}),
        json.dumps({"query": LAUNCH}),
    )
    for path in (
        f"/graphql{end}",
        f"/{end}graphql",
        f"/report_asset_materialization/precious{end}",
        f"/runs{end}",
    ):
        assert raw_status(url, [f"GET {path}?{query} HTTP/1.1", f"Host: {host}"]) == 400, path
        for kind in ("text/plain", "application/json"):
            lines = [f"POST {path} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}"]
            assert raw_status(url, lines, body.encode()) == 400, path
    assert run_count(url) == 0


@pytest.mark.parametrize(
    "path",
    [
        "/graphql",
        "//graphql",
        "/graphql/",
        "/graphql%20",
        "/GRAPHQL",
        "/%67raphql",
        "/./graphql",
        "/runs",
        "/",
    ],
)
def test_the_rules_of_graphql_do_not_depend_on_the_path(url: str, path: str) -> None:
    host, query, body = (
        url.removeprefix("http://"),
        urlencode({"query": LAUNCH}),
        json.dumps({"query": LAUNCH}),
    )
    assert raw_status(url, [f"GET {path}?{query} HTTP/1.1", f"Host: {host}"]) == 405
    lines = [f"POST {path}?{query} HTTP/1.1", f"Host: {host}", "Content-Type: text/plain"]
    assert raw_status(url, lines, body.encode()) == 415
    assert run_count(url) == 0


def test_a_report_about_an_asset_needs_no_body(url: str) -> None:
    answer = httpx.post(f"{url}/report_asset_materialization/reported?description=x", timeout=30)
    assert answer.status_code == 200


LOOK_ALIKES = (
    *("127.0.0.1.", "localhost.", "localhost.evil.example", "127.0.0.1.nip.io", "[::1].evil.example"),
    *("user@127.0.0.1", "127.0.0.1@evil.example", "evil.example#@127.0.0.1", "evil.example:3000"),
    *("127.0.0.1:port", "127.1", "2130706433", "0x7f000001", "0.0.0.1", "", "127.0.0.1, evil.example"),
    *("127.0.0.1/x", "127.0.0.1?x", "127.0.0.1\\.evil.example", "[::ffff:7f00:2]", "[::1%25lo]"),
)


def test_a_host_that_only_looks_like_ours_is_refused(url: str) -> None:
    body = json.dumps({"query": LAUNCH}).encode()
    for host in LOOK_ALIKES:
        for target in ("/graphql?query={version}", "/", "http://127.0.0.1/graphql?query={version}"):
            assert raw_status(url, [f"GET {target} HTTP/1.1", f"Host: {host}"]) == 400, host
        lines = ["POST /graphql HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
        assert raw_status(url, lines, body) == 400, host
    assert run_count(url) == 0


OF_PROXIES = (
    *("X-Forwarded-Host: 127.0.0.1", "X-Forwarded-Server: 127.0.0.1", "X-Host: 127.0.0.1"),
    *("X-Original-Host: 127.0.0.1", "Forwarded: host=127.0.0.1;for=127.0.0.1"),
    *("X-HTTP-Method-Override: POST", "X-Original-URL: /graphql"),
)


def test_a_header_of_proxies_changes_neither_host_nor_method(url: str) -> None:
    host, query = url.removeprefix("http://"), urlencode({"query": LAUNCH})
    body = json.dumps({"query": LAUNCH}).encode()
    for header in OF_PROXIES:
        lines = ["POST /graphql HTTP/1.1", "Host: evil.example", "Content-Type: application/json", header]
        assert raw_status(url, lines, body) == 400, header
        foreign = header.replace("127.0.0.1", "evil.example")
        assert raw_status(url, ["GET /server_info HTTP/1.1", f"Host: {host}", foreign]) == 200, header
        assert raw_status(url, [f"GET /graphql?{query} HTTP/1.1", f"Host: {host}", foreign]) == 405, header
    assert run_count(url) == 0


UNASKED_TYPES = (
    *("text/plain", "TEXT/PLAIN", "text/plain;charset=application/json", "text/json", "*/*"),
    *("application/x-www-form-urlencoded", "multipart/form-data; boundary=application/json"),
    *("application/json, text/plain", "application/jsonp", "application/octet-stream", ""),
)


def test_a_type_that_pages_may_send_unasked_is_refused(url: str) -> None:
    host = url.removeprefix("http://")
    bodies = (json.dumps({"query": LAUNCH}).encode(), urlencode({"query": LAUNCH}).encode(), b"")
    for kind in UNASKED_TYPES:
        for target in ("/graphql", f"/graphql?{urlencode({'query': LAUNCH})}"):
            for body in bodies:
                lines = [f"POST {target} HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}"]
                assert raw_status(url, lines, body) == 415, kind
    assert run_count(url) == 0


def test_a_program_reads_and_launches_as_before(url: str) -> None:
    assert "version" in httpx.get(f"{url}/graphql", params={"query": "{version}"}, timeout=30).json()["data"]
    page = httpx.get(f"{url}/graphql", headers={"Accept": "text/html"}, timeout=30)
    assert "GraphiQL" in page.text
    public = {"Host": "dagster.example.com", "Origin": PUBLIC, "Sec-Fetch-Site": "same-origin"}
    answer = httpx.post(f"{url}/graphql", json={"query": WIPE}, headers=public, timeout=60)
    assert answer.status_code == 200
    assert answer.json()["data"]["wipeAssets"]["__typename"] == "AssetWipeSuccess"


def test_every_answer_says_how_it_may_be_used(url: str) -> None:
    for path in ("/", "/server_info", "/graphql?query={version}", "/favicon.svg", "/nowhere.js"):
        headers = httpx.get(f"{url}{path}", timeout=30).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


async def _opened(url: str, headers: Mapping[str, str]) -> int:
    """The status of a WebSocket's opening; 101 when it is open."""
    try:
        async with connect(
            f"{url.replace('http', 'ws', 1)}/graphql",
            additional_headers=dict(headers),
            subprotocols=[Subprotocol("graphql-ws")],
        ) as socket:
            await socket.send('{"type": "connection_init"}')
            assert "connection_ack" in str(await socket.recv())
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://localhost:1"},
        {"Origin": "https://dagster.example.com.evil.example"},
        {"Origin": "http://dagster.example.com"},
        {"Origin": "file://"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "websocket"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "websocket"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_a_foreign_page_opens_no_websocket(url: str, headers: dict[str, str]) -> None:
    assert asyncio.run(_opened(url, headers)) == 403


def test_our_own_page_opens_a_websocket(url: str) -> None:
    assert asyncio.run(_opened(url, {"Origin": url})) == 101


def test_a_huge_request_is_cut_off(url: str) -> None:
    with pytest.raises((httpx.TransportError, httpx.HTTPStatusError)):
        httpx.post(f"{url}/graphql", json={"query": "x" * (12 * 2**20)}, timeout=30).raise_for_status()
    assert run_count(url) == 0
