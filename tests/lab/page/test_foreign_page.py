"""A page of another site, open in the same browser, can't do anything to Dagster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser

from tests.support.lab.browser import until
from tests.support.running import Running, running
from tests.support.watching import runs, tags_of

pytestmark = pytest.mark.timeout(300)

LAUNCH = """mutation {launchRun(executionParams: {selector: {jobName: "network_diagnostics_job",
  repositoryName: "__repository__", repositoryLocationName: "tsobs"},
  executionMetadata: {tags: [{key: "who", value: "evil"}]}}) {__typename}}"""

PAGE = """<!doctype html><title>evil</title><iframe name="sink"></iframe>
<form id="form" method="post" enctype="text/plain" target="sink"
  action="%(url)s/graphql?query=%(query)s"></form>
<iframe src="%(url)s/"></iframe><img src="%(url)s/graphql?query=%(query)s">
<script>
const done = [];
const note = (name) => (value) => done.push(`${name}: ${value && (value.status || value.type) || value}`);
const body = JSON.stringify({query: %(document)r});
const url = "%(url)s/graphql";
fetch(`${url}?query=%(query)s`, {mode: "no-cors"}).then(note("get"), note("get"));
fetch(url, {method: "POST", mode: "no-cors", body, headers: {"Content-Type": "text/plain"}})
  .then(note("text"), note("text"));
fetch(url, {method: "POST", body, headers: {"Content-Type": "application/json"}})
  .then(note("json"), note("json"));
const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
socket.onopen = () => done.push("socket: open");
socket.onerror = () => done.push("socket: refused");
document.getElementById("form").submit();
</script>"""


@pytest.fixture
def tsobs(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def evil(tsobs: Running) -> Iterator[str]:
    """A site of somebody else, as far as a browser can tell: another host name."""
    page = PAGE % {
        "url": f"http://127.0.0.1:{tsobs.dagster_port}",
        "query": quote(LAUNCH),
        "document": LAUNCH.replace("\n", " "),
    }

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_a_foreign_page_launches_nothing_and_our_own_works(
    browser: Browser, tsobs: Running, evil: str
) -> None:
    page = browser.new_page()
    page.goto(evil)
    until(page, "done.length >= 4")
    assert "socket: refused" in page.evaluate("done")
    page.wait_for_timeout(1000)
    assert not [run for run in runs(tsobs) if tags_of(run).get("who") == "evil"]

    said: list[str] = []
    own = browser.new_page()
    own.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    own.on("websocket", lambda socket: said.append(f"socket {socket.url}"))
    own.goto(f"http://127.0.0.1:{tsobs.dagster_port}/assets")
    own.get_by_text("connection_metrics").first.wait_for(timeout=60_000)
    refused = [line for line in said if "Content Security Policy" in line or "403" in line or "400" in line]
    assert refused == []
