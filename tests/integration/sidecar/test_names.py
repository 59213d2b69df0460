"""A name resolves to the same node in the sidecar and in tsobs: a table of cases, and random tailnets."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from tests.support.names import (
    TABLE,
    Meaning,
    Node,
    Question,
    Sampling,
    by_jq,
    by_python,
    by_round,
    journalled,
)
from tsobs_pipelines.tailnet.peers import plain_name

CASES = json.loads(TABLE.read_text("utf-8"))


def questions_of(case: dict[str, object]) -> Iterator[tuple[Question, Meaning]]:
    own, peers, means = case["self"], case["peers"], case["means"]
    assert isinstance(own, dict)
    assert isinstance(peers, list)
    assert isinstance(means, dict)
    for name, meaning in means.items():
        yield Question(own, peers, name), meaning


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_the_table_of_names(case: dict[str, object]) -> None:
    asked, expected = zip(*questions_of(case), strict=True)
    assert list(map(by_python, asked)) == list(expected)
    assert by_jq(asked) == list(expected)


# A round has its nodes by name, and in a tailnet no two have the same DNS name.
IN_ROUNDS = [case for case in CASES if case["case"] != "two nodes with one DNS name or address"]


@pytest.mark.parametrize("case", IN_ROUNDS, ids=lambda case: case["case"])
def test_a_round_of_the_journal_means_the_same(case: dict[str, object]) -> None:
    questions = list(questions_of(case))
    for hosts in (lambda _: [], lambda name: [name], lambda name: [name, "*"], lambda _: ["elsewhere", "*"]):
        rounds = journalled([Sampling(asked.own, asked.peers, hosts(asked.name)) for asked, _ in questions])
        found = [by_round(this, asked.name) for this, (asked, _) in zip(rounds, questions, strict=True)]
        assert found == [meaning for _, meaning in questions], hosts("NAME")


@pytest.mark.parametrize(
    ("case", "asked"), [(case, asked) for case in CASES for asked in case.get("sampled", [])], ids=str
)
def test_what_a_round_says_of_names_that_its_sampler_was_not_asked_for(
    case: dict[str, object], asked: dict[str, object]
) -> None:
    own, peers, hosts, means = case["self"], case["peers"], asked["hosts"], asked["means"]
    assert isinstance(own, dict)
    assert isinstance(peers, list)
    assert isinstance(hosts, list)
    assert isinstance(means, dict)
    [this] = journalled([Sampling(own, peers, hosts)])
    assert {name: by_round(this, name) for name in means} == means


WORDS = [
    "git",
    "Git",
    "git-1",
    "prod",
    "localhost",
    "ip-1",
    "a",
    "",
    "Ünal",
    "x y",
    "100.64.0.2",
    "git.a",
    ".",
]
SUFFIXES = ["a.ts.net", "A.ts.net", "b.ts.net", "x.a.ts.net", "", "ts.net"]
IPS = ["100.64.0.1", "100.64.0.2", "fd7a:115c:a1e0::1", "FD7A:115C:A1E0::2", "not an address", ""]
GROUPS = ["fd7a", "0", "0", "0000", "01", "1", "A0b", "::", "", "12345"]


def random_node(chance: random.Random) -> Node:
    node: dict[str, object] = {}
    if chance.random() < 0.9:
        node["HostName"] = chance.choice(WORDS)
    if chance.random() < 0.8:
        suffix = chance.choice(SUFFIXES)
        node["DNSName"] = (
            chance.choice(WORDS) + (f".{suffix}" if suffix else "") + chance.choice([".", ".", "", ".."])
        )
    if chance.random() < 0.7:
        node["TailscaleIPs"] = [chance.choice(IPS) for _ in range(chance.randrange(3))]
    return node


def random_question(chance: random.Random) -> Question:
    own, *peers = (random_node(chance) for _ in range(chance.randrange(1, 7)))
    names = [*WORDS, *IPS, *(str(node.get("DNSName", "")) for node in (own, *peers))]
    return Question(own, peers, chance.choice(names) + chance.choice(["", "", "."]))


@pytest.mark.parametrize("seed", range(4))
def test_jq_and_python_agree_about_random_tailnets(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same tailnets each time
    asked = [random_question(chance) for _ in range(2000)]
    differing: list[tuple[Question, Meaning, Meaning]] = [
        (question, theirs, ours)
        for question, theirs in zip(asked, by_jq(asked), strict=True)
        if theirs != (ours := by_python(question))
    ]
    assert differing == []
    assert sum(isinstance(by_python(question), list) for question in asked) > 50, "some are ambiguous"


def test_jq_and_python_agree_about_ways_to_write_an_address() -> None:
    chance = random.Random(5)  # noqa: S311 - the same addresses each time
    asked = []
    for _ in range(2000):
        name = ":".join(chance.choice(GROUPS) for _ in range(chance.randrange(2, 10))).replace(":::", "::")
        with contextlib.suppress(ValueError):
            asked.append(Question({}, [{"TailscaleIPs": [str(IPv6Address(name))]}], name))
        asked.append(Question({}, [{"TailscaleIPs": [name.lower()]}], name))
    assert by_jq(asked) == list(map(by_python, asked))
    assert sum(by_python(question) == 0 for question in asked) > 500


@pytest.mark.parametrize("seed", range(2))
def test_rounds_of_random_tailnets_mean_the_same(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - the same tailnets each time
    asked = [as_in_a_tailnet(random_question(chance)) for _ in range(2000)]
    hosts = [
        chance.choice([[], ["*"], [name], [name, "*"], [name, other], [other, "*"]])
        for _, _, name in asked
        for other in [chance.choice(WORDS)]
    ]
    rounds = journalled([Sampling(*one[:2], names) for one, names in zip(asked, hosts, strict=True)])
    differing: list[tuple[Question, list[str], Meaning, Meaning]] = [
        (question, names, found, ours)
        for question, names, this in zip(asked, hosts, rounds, strict=True)
        if (found := by_round(this, question.name)) != (ours := by_python(question))
    ]
    assert differing == []


def as_in_a_tailnet(asked: Question) -> Question:
    """Every peer has an address of its own; a DNS name has a suffix, and no other node has it."""
    seen = {plain_name(str(asked.own.get("DNSName", ""))).rstrip(".")}
    peers: list[Node] = []
    for place, peer in enumerate(asked.peers):
        name = plain_name(str(peer.get("DNSName", ""))).rstrip(".")
        usual = "." in name and name not in seen
        peers.append({**peer, "TailscaleIPs": [f"100.64.1.{place}"], "DNSName": name if usual else ""})
        seen.add(name)
    return asked._replace(peers=peers)
