"""Name resolution by the sidecar's jq and by Python in the same form, so that tests can compare them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tsobs_pipelines.tailnet.journal_lines import parse_round
from tsobs_pipelines.tailnet.localapi import Peer, read_fields
from tsobs_pipelines.tailnet.peers import (
    OWN,
    AmbiguousPeerError,
    NotSampledError,
    UnknownPeerError,
    peer_names,
)
from tsobs_pipelines.tailnet.rounds import Round

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests" / "data" / "names.json"

Node: TypeAlias = Mapping[str, object]
Meaning: TypeAlias = int | str | list[str] | None
"""The place of the one peer, ``self``, the names of several nodes, ``None`` for none, or ``not-sampled``."""


class Question(NamedTuple):
    """A name asked for in a tailnet."""

    own: Node
    peers: Sequence[Node]
    name: str


def by_python(asked: Question) -> Meaning:
    """As tsobs finds it."""
    nodes = {OWN: asked.own, **{str(place): peer for place, peer in enumerate(asked.peers)}}
    names = peer_names({key: read_fields(node, Peer) for key, node in nodes.items()})
    try:
        key = names.find(asked.name)
    except AmbiguousPeerError as error:
        return list(error.dns_names)
    except UnknownPeerError:
        return None
    return "self" if key == OWN else int(key)


_PROGRAM = """include "tailnet";
inputs | .name as $name
  | {Self: (.own | peer + {place: "self"}), Peer: (.peers | to_entries
      | map({key: "\\(.key)", value: (.key as $place | .value | peer + {place: $place})}) | from_entries)}
  | nodes_by_name | meant($name) | if . == [] then null elif length == 1 then .[0].place
      else map(designation) | sort end"""


def by_jq(questions: Sequence[Question]) -> list[Meaning]:
    """As the sidecar finds it."""
    done = subprocess.run(
        ["jq", "-L", ROOT / "sidecar", "-cn", _PROGRAM],
        input="\n".join(json.dumps(asked._asdict()) for asked in questions).encode(),
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


_ROUND = """include "tailnet";
inputs | .hosts as $hosts | {Self: .own, BackendState: "Running", Version: "1.102.5",
    Peer: (.peers | to_entries | map({key: "\\(.key)", value: (.value + {TxBytes: .key})}) | from_entries)}
  | {at: "2026-11-24T02:05:00Z", interval: 60, took: 0.1, whole: true, unfinished: []} as $head
  | round($hosts; sampled($hosts); $head; []; {})"""


class Sampling(NamedTuple):
    """A tailnet, and the names that its sampler is told to sample."""

    own: Node
    peers: Sequence[Node]
    hosts: Sequence[str]


def journalled(samplings: Sequence[Sampling]) -> list[Round]:
    """A round of each in the journal, as tsobs reads it."""
    done = subprocess.run(
        ["jq", "-L", ROOT / "sidecar", "-cn", _ROUND],
        input="\n".join(json.dumps(sampling._asdict()) for sampling in samplings).encode(),
        capture_output=True,
        check=True,
    )
    return list(map(parse_round, done.stdout.splitlines()))


def by_round(this: Round, name: str) -> Meaning:
    """As tsobs finds it in a round of the journal."""
    try:
        key = this.find(name)
    except AmbiguousPeerError as error:
        return list(error.dns_names)
    except NotSampledError:
        return "not-sampled"
    except UnknownPeerError:
        return None
    return "self" if key == OWN else this.peers[key].tx_bytes
