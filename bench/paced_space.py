"""The program `sd35.space` with an engine whose steps take a fixed time.

`python -m bench.paced_space PORT REPLICAS STEP_SECONDS` has one engine in its own process, with so
many runs at the same time; with `ray` after it, each replica is a process of Ray's.
"""

import queue
import sys

from bench.paced_engine import PacedOptions
from sd35.server import launch
from sd35.space.__main__ import Reporter, end, serve
from sd35.space.arguments import create_parser


def main(port: str, replicas: str, step_seconds: str, *flags: str) -> int:
    """Serve until SIGTERM; the address is printed once the first replica is ready."""
    command = ["--port", port]
    concurrency = 1
    if "ray" in flags:
        command += ["--replicas", replicas]
    else:
        concurrency = int(replicas)
    options = PacedOptions(step_seconds=float(step_seconds), concurrency=concurrency)
    with launch.configure_environment():
        arguments = create_parser().parse_args(command)
        code = serve(options, arguments, Reporter(is_child=False), queue.SimpleQueue())
    return code if isinstance(code, int) else 1


if __name__ == "__main__":
    end(main(*sys.argv[1:]))
