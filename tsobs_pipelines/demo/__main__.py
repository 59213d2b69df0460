"""``python -m tsobs_pipelines.demo --port N``: serve the simulated tailnet until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tsobs_pipelines.demo.server import HOST, DemoServer


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to end; 0 after a clean end, 1 when the port can't be had."""
    parser = argparse.ArgumentParser(prog="python -m tsobs_pipelines.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8766, help="port on loopback; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=0, help="another seed is another tailnet")
    options = parser.parse_args(arguments)
    try:
        server = DemoServer(options.port, options.seed)
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"demo tailnet: can't listen on {HOST} port {options.port}: {error}\n")
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the loop, which runs in this thread, so another thread calls it.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    sys.stdout.write(f"demo tailnet on {server.url}\n")
    sys.stdout.flush()
    with server:
        server.serve_forever(poll_interval=0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
