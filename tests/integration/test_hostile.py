"""A short run of each area of ``campaigns.hostile``: the kept inputs, and some by a seed."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from campaigns.hostile import AREAS, run


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("area", AREAS)
def test_nothing_raw_nothing_lost_nothing_told(area: str) -> None:
    tally = run(area, seed=2026, tries=60)
    assert tally.tried >= 60
    again = f"python -m campaigns.hostile {area} --seed 2026 --tries 60 --keep tests/data/hostile"
    assert (tally.raw, tally.lost, tally.secrets) == ([], [], []), f"{again} keeps these inputs"
