"""Flux queries sent to the lab's InfluxDB without the store's client, so that it can't hide errors."""

from __future__ import annotations

import csv
from collections.abc import Mapping

import httpx

from tests.support.lab.influx import Influx


def flux(influx: Influx, query: str) -> list[Mapping[str, str]]:
    """The rows of a query's answer, each value as InfluxDB prints it.

    Raises:
        httpx.HTTPStatusError: InfluxDB refused the query; the message holds its reason.
    """
    answer = httpx.post(
        f"{influx.url}/api/v2/query",
        params={"org": influx.org},
        headers={"Authorization": f"Token {influx.token}", "Accept": "application/csv"},
        json={"query": query, "dialect": {"header": True, "annotations": []}},
        timeout=60,
    )
    if answer.is_error:
        raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
    rows: list[Mapping[str, str]] = []
    for table in answer.text.replace("\r\n", "\n").split("\n\n"):
        rows += csv.DictReader(table.strip().splitlines())
    return rows


def new_bucket(influx: Influx, name: str) -> None:
    """Make an empty bucket."""
    headers = {"Authorization": f"Token {influx.token}"}
    with httpx.Client(base_url=influx.url, headers=headers) as client:
        orgs = client.get("/api/v2/orgs", params={"org": influx.org}).raise_for_status().json()["orgs"]
        body = {"orgID": orgs[0]["id"], "name": name, "retentionRules": []}
        client.post("/api/v2/buckets", json=body).raise_for_status()
