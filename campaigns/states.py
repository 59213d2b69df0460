"""A confusion matrix of nodes' states: brought about on a real tailnet, against what a round says of them."""

from __future__ import annotations

import argparse
import sys
import time

from tests.support.lab.runs import new_run
from tests.support.lab.sidecar import running_sidecar
from tests.support.lab.states import INTERVAL_S, RELAY_HOST, Matrix, Stage, shuffled
from tests.support.lab.tailnet import running_tailnet


def measure(nodes: int, steps: int, stopped: int, seed: int) -> Matrix:
    """So many steps, in each of which every node has a state, and ends of the observer's own daemon."""
    names = tuple(f"node-{number:02}" for number in range(1, nodes + 1))
    matrix, begin = Matrix(), time.monotonic()
    settings = {"SAMPLE_HOSTS": ",".join(names), "SAMPLE_INTERVAL": INTERVAL_S}
    with (
        new_run() as run,
        running_tailnet(run, peers=(*names, RELAY_HOST)) as tailnet,
        running_sidecar(run, tailnet.observer, settings=settings) as sidecar,
    ):
        stage = Stage(tailnet, sidecar)
        stage.prepare()
        for number, wanted in enumerate(shuffled(steps, names, seed), start=1):
            stage.change(wanted)
            stage.look(matrix)
            if number <= stopped:
                stage.look_at_a_stopped_daemon(matrix)
            sys.stdout.write(
                f"{time.monotonic() - begin:5.0f} s: {number} of {steps} steps, {len(matrix.wrong)} wrong\n"
            )
            sys.stdout.flush()
    return matrix


def main() -> int:
    """Print the matrix; the status is 1 if an entry is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=24)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--stopped", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    matrix = measure(chosen.nodes, chosen.steps, chosen.stopped, chosen.seed)
    print(f"\n{matrix.text()}\n\n{matrix.counts.total()} entries, {len(matrix.wrong)} of them wrong")
    print("\n".join(matrix.wrong))
    return 1 if matrix.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
