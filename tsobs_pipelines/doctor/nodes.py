"""Checks of a tailnet's critical nodes: present, unambiguous, sampled, and with a valid key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches

from tsobs_pipelines.alerting.rules.key_expiry import KEY_STAGES
from tsobs_pipelines.doctor.findings import Finding
from tsobs_pipelines.tailnet.client import TailscaleHealthService
from tsobs_pipelines.tailnet.evidence import observe
from tsobs_pipelines.tailnet.journal import JournalCounts, read_rounds
from tsobs_pipelines.tailnet.localapi import Peer, expiry_of, key_expired, read_fields, said_expired
from tsobs_pipelines.tailnet.peers import OWN, AmbiguousPeerError, PeerNames, UnknownPeerError, peer_names
from tsobs_pipelines.tailnet.rounds import Round
from tsobs_pipelines.tailnet_settings import Tailnet
from tsobs_pipelines.timeseries.evidence import WITHOUT_VERDICT, clause
from tsobs_pipelines.timeseries.sampling import LONGEST

_NEAREST = 3


def newest_rounds(sidecar: TailscaleHealthService, now: datetime) -> list[Round]:
    """The rounds of the last two of the longest intervals, oldest first."""
    since = now - 2 * LONGEST
    days = sorted({since.date(), now.date()})
    return [this for day in days for this in read_rounds(sidecar.samples(day, since), JournalCounts(), day)]


def node_findings(
    tailnet: Tailnet, status: Mapping[str, object], rounds: Sequence[Round], now: datetime
) -> list[Finding]:
    """One finding for each critical node, and one for the key of the sidecar's own node where it matters."""
    if status.get("BackendState") != "Running":
        return []
    own, peers = status.get("Self"), status.get("Peer")
    nodes = {OWN: own, **(peers if isinstance(peers, dict) else {})}
    known = {key: read_fields(node, Peer) for key, node in nodes.items() if isinstance(node, dict)}
    names = peer_names(known)
    newest = max((this for this in rounds if this.taken), key=lambda this: this.at, default=None)
    found = [_node(tailnet, name, known, names, newest, now) for name in tailnet.critical_nodes]
    mine = known.get(OWN)
    warning = _key(_title(tailnet, "the sidecar's own node"), mine, now) if mine is not None else None
    return [*found, *([warning] if warning else [])]


def _node(
    tailnet: Tailnet,
    name: str,
    known: Mapping[str, Peer],
    names: PeerNames,
    newest: Round | None,
    now: datetime,
) -> Finding:
    title = _title(tailnet, name)
    try:
        key = names.find(name)
    except AmbiguousPeerError as error:
        remedy = "name one of them in TSOBS_CRITICAL_NODES and SAMPLE_HOSTS; remove the other in the console"
        return Finding(title, "failed", str(error), remedy)
    except UnknownPeerError:
        return Finding(title, "failed", f"{name} is not in the tailnet", _suggestion(name, known))
    if key == OWN:
        return Finding(title, "ok", "the node that the sidecar runs on: it is not pinged, and has no alerts")
    peer = known[key]
    where = f"in the tailnet as {peer.dns_name.rstrip('.') or name}"
    return _key(title, peer, now) or _sampled(title, name, newest) or Finding(title, "ok", where)


def _sampled(title: str, name: str, newest: Round | None) -> Finding | None:
    """What the newest round that was taken lacks about a node that is in the tailnet."""
    if newest is None:
        return None
    seen = observe(newest, name)
    if seen is None:
        return None
    kind = seen.pings.path.connection_type
    if seen.evidence in {"absent", "not-sampled"}:
        detail = f"{name} is in the tailnet, and the sampler does not sample it"
        return Finding(title, "failed", detail, "add it to SAMPLE_HOSTS of the sidecar, and restart that")
    if seen.evidence in WITHOUT_VERDICT:
        said = clause(name, seen.evidence, seen.reason)
        return Finding(title, "failed", said, "on the sidecar's host, tailscale ping says more")
    if kind in {"offline", "unreachable"}:
        return Finding(title, "warning", f"{kind} in the newest round", "is its tailscaled running?")
    return None


def _key(title: str, peer: Peer, now: datetime) -> Finding | None:
    """A key that has expired or soon will."""
    expiry = expiry_of(peer)
    remedy = "log in again there (tailscale up --force-reauth), or disable key expiry in the admin console"
    if key_expired(peer, now):
        return Finding(title, "failed", said_expired(peer, now), remedy)
    if expiry is not None and expiry - now <= KEY_STAGES[0]:
        days = (expiry - now) / timedelta(days=1)
        detail = f"its key expires in {days:.1f} days, at {expiry:%Y-%m-%d %H:%M} UTC"
        return Finding(title, "warning", detail, remedy)
    return None


def _suggestion(name: str, known: Mapping[str, Peer]) -> str:
    names = {peer.dns_name.partition(".")[0] or peer.host_name for peer in known.values()} - {""}
    label = name.partition(".")[0].lower()
    near = get_close_matches(label, sorted(names), _NEAREST, 0.5)
    if near:
        return f"did you mean {' or '.join(near)}? See TSOBS_CRITICAL_NODES and SAMPLE_HOSTS"
    shown = ", ".join(sorted(names)[:10]) or "no node at all"
    return f"see TSOBS_CRITICAL_NODES and SAMPLE_HOSTS; the tailnet has {shown}"


def _title(tailnet: Tailnet, name: str) -> str:
    return f"node {name}" if tailnet.first else f"node {name} of {tailnet}"
