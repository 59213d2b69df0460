"""A name resolves to the same node in the sidecar and in tsobs: a table of cases, and random tailnets."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest

from tests.support.names import TABLE, Meaning, Node, Question, by_jq, by_python

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
