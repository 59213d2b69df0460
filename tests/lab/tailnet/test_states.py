"""Each state that a node can be in is called by its name; ``campaigns.states`` does it with 200 of them."""

from __future__ import annotations

import pytest

from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import running_sidecar
from tests.support.lab.states import INTERVAL_S, OF_NODES, RELAY_HOST, Matrix, Stage
from tests.support.lab.tailnet import running_tailnet

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


def test_each_state_of_a_node_is_called_by_its_name() -> None:
    names = tuple(f"is-{state}" for state in OF_NODES)
    settings = {"SAMPLE_HOSTS": ",".join(names), "SAMPLE_INTERVAL": INTERVAL_S}
    matrix = Matrix()
    with (
        new_run() as lab_run,
        running_tailnet(lab_run, peers=(*names, RELAY_HOST)) as tailnet,
        running_sidecar(lab_run, tailnet.observer, settings=settings) as sidecar,
    ):
        stage = Stage(tailnet, sidecar)
        stage.prepare()
        stage.look(matrix)
        stage.change(dict(zip(names, OF_NODES, strict=True)))
        stage.look(matrix)
        stage.look_at_a_stopped_daemon(matrix)
        # And back again.
        stage.change(dict.fromkeys(names, "direct"))
        stage.look(matrix)
    assert matrix.wrong == []
    assert matrix.counts.total() == 4 * len(names)
