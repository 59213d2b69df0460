"""The network around the sidecar, from tailscaled's netcheck: it explains relays and slow paths."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from tsobs_pipelines.api.dependencies import Sidecar
from tsobs_pipelines.api.schemas import DerpRegion, NetworkAnswer, PartState
from tsobs_pipelines.api.series import number
from tsobs_pipelines.tailnet.localapi import Netcheck, read_fields
from tsobs_pipelines.tailnet.path import NO_RELAY
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.timeseries.schema import NETCHECK
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

KNOWN_FOR = timedelta(hours=24)
"""An older netcheck says nothing about now."""

Codes = Mapping[str, str]
"""Codes of regions by their numbers."""


def live_network(
    sidecar: Sidecar, tailnet: str, codes: Codes, home_code: str, now: datetime
) -> NetworkAnswer:
    """A netcheck of now, at most a minute old; raises what the client raises."""
    answer = sidecar.get_network_diagnostics()
    report = read_fields(answer, Netcheck)
    home = str(report.preferred) if report.preferred else None
    named = {region: clean(code) for region, code in (report.region_codes or {}).items()}
    known = {**codes, **({home: home_code} if home and home_code else {}), **named}
    latencies = {region: seconds * 1e3 for region, seconds in (report.region_s or {}).items()}
    latencies |= {region: nanoseconds / 1e6 for region, nanoseconds in (report.region_ns or {}).items()}
    mappings = {"UPnP": report.upnp, "NAT-PMP": report.pmp, "PCP": report.pcp}
    tried = [found for found in mappings.values() if found is not None]
    return NetworkAnswer(
        tailnet=tailnet,
        sidecar=PartState(ok=True, detail="netcheck"),
        measured_at=_time(answer.get("Now")) or now,
        udp=report.udp,
        ipv4=report.ipv4,
        ipv6=report.ipv6,
        nat=None if report.mapping_varies is None else "hard" if report.mapping_varies else "easy",
        port_mapping=[name for name, found in mappings.items() if found] if tried else None,
        captive_portal=report.captive_portal,
        regions=_sorted(
            DerpRegion(id=region, code=known.get(region), latency_ms=number(ms), home=region == home)
            for region, ms in latencies.items()
        ),
    )


def stored_network(
    store: TimeSeriesStore, tailnet: str, codes: Codes, why: str, now: datetime
) -> NetworkAnswer:
    """The newest netcheck that was collected in the last day; ``why`` says why there is no live one.

    Raises what the store raises.
    """
    window = Window(now - KNOWN_FOR, now + timedelta(minutes=1))
    rows = store.latest(NETCHECK, window, {"tailnet": tailnet})
    newest = max((row.time for row in rows), default=None)
    rows = [row for row in rows if row.time == newest]
    first = rows[0] if rows else None
    varies = first.mapping_varies if first else None
    return NetworkAnswer(
        tailnet=tailnet,
        sidecar=PartState(ok=False, detail=why),
        measured_at=newest,
        udp=_flag(first.udp if first else None),
        ipv4=None,
        ipv6=_flag(first.ipv6 if first else None),
        nat=None if varies is None else "hard" if varies else "easy",
        port_mapping=None,
        captive_portal=None,
        regions=_sorted(
            DerpRegion(
                id=row.region,
                code=codes.get(row.region) or row.code,
                latency_ms=number(row.latency),
                home=row.preferred == 1,
            )
            for row in rows
            if row.region != NO_RELAY
        ),
    )


def _sorted(regions: Iterable[DerpRegion]) -> list[DerpRegion]:
    """The home region first, then the nearest ones."""
    return sorted(regions, key=lambda one: (not one.home, one.latency_ms or 0.0, one.id))


def _flag(value: int | None) -> bool | None:
    return None if value is None else bool(value)


def _time(value: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return time if time is not None and time.tzinfo is not None else None
