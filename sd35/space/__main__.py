"""`python -m sd35.space`: the demo Space alone, at a port of its own, until Ctrl-C."""

import argparse
import queue
import signal
import sys

from sd35.server import launch

parser = argparse.ArgumentParser(
    prog="python -m sd35.space", description="The demo Space: a painter behind /infer."
)
parser.add_argument(
    "--port", type=int, default=7861, help="the port to listen on (default: %(default)s)"
)
arguments = parser.parse_args()

folder = launch.configure_environment()
from sd35.space import server  # noqa: E402  # gradio is imported after its environment is prepared

stop_signals: queue.SimpleQueue[int] = (
    queue.SimpleQueue()
)  # unlike an Event, safe in a signal's handler
for signal_number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signal_number, lambda signal_number, _: stop_signals.put(signal_number))
demo = server.build_demo()
try:
    address = launch.launch(demo, port=arguments.port)
except OSError:
    sys.exit(f"Port {arguments.port} is in use. Choose another with --port.")
print(f"{server.TITLE}\n{address}", flush=True)  # noqa: T201
stop_signals.get()
launch.close(demo)
folder.cleanup()
