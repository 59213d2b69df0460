"""``python -m tests.support.lab up``: the tailnet and InfluxDB for interactive use, until Ctrl-C."""

from __future__ import annotations

import signal
import sys

from tests.support.lab.influx import Influx, running_influx
from tests.support.lab.processes import LabError
from tests.support.lab.runs import Run, new_run
from tests.support.lab.tailnet import CRITICAL_NODES, Tailnet, running_tailnet

SIDECAR_PORT = 8765


def main() -> None:
    """Run the one command there is."""
    if sys.argv[1:] != ["up"]:
        sys.exit("usage: python -m tests.support.lab up")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with new_run() as lab_run, running_influx(lab_run) as influx, running_tailnet(lab_run) as tailnet:
            sys.stdout.write(_how_to_use(lab_run, influx, tailnet))
            sys.stdout.flush()
            signal.pause()
    except KeyboardInterrupt:
        sys.stdout.write("\nlab: everything has ended\n")
    except LabError as error:
        sys.exit(f"lab: {error}")


def _how_to_use(lab_run: Run, influx: Influx, tailnet: Tailnet) -> str:
    journal = lab_run.place("journal")
    settings = influx.environment | {"TSOBS_SIDECAR_URL": f"http://127.0.0.1:{SIDECAR_PORT}"}
    hub = " ".join(tailnet.network.hub.inside("sysctl", "net.ipv4.ip_forward=0"))
    lines = [
        "",
        "The tailnet is up. In one terminal, its sidecar:",
        f"  TAILSCALE_BIN={tailnet.observer.program} TS_SOCKET={tailnet.observer.socket} \\",
        f"    JOURNAL_DIR={journal} \\",
        f"    SAMPLE_HOSTS={','.join(CRITICAL_NODES)} sidecar/entrypoint.sh",
        "",
        "In another one, tsobs:",
        *(f"  export {name}={value}" for name, value in settings.items()),
        "  make up",
        "",
        f"Make every path a relayed one (=1: direct again):  {hub}",
        *(
            f"{node.name}: {node.ip}, pid {node.daemon.pid} (kill -STOP, -CONT), {node.command} status"
            for node in tailnet.nodes.values()
        ),
        "",
        "Ctrl-C ends it all.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
