"""`python -m sd35.space`: serve the demo Space on its own, until Ctrl+C."""

import argparse
import queue
import signal
import sys

from sd35.core.standard_streams import prepare_standard_streams
from sd35.server import launch

prepare_standard_streams()
parser = argparse.ArgumentParser(
    prog="python -m sd35.space", description="Serve the demo Space: a painter behind /infer."
)
parser.add_argument(
    "--port", type=int, default=7861, help="port to listen on (default: %(default)s)"
)
arguments = parser.parse_args()

folder = launch.configure_environment()
# Gradio reads its environment when it is imported.
from sd35.space.painter import DemoPainter  # noqa: E402  # see above
from sd35.space.server import build_space  # noqa: E402  # see above

# Unlike Event.set, SimpleQueue.put may be called from a signal handler that interrupts itself.
stop_signals: queue.SimpleQueue[int] = queue.SimpleQueue()
for stop_signal in (signal.SIGINT, signal.SIGTERM):
    signal.signal(stop_signal, lambda signal_number, _: stop_signals.put(signal_number))
demo = build_space(DemoPainter())
try:
    address = launch.launch(demo, port=arguments.port)
except OSError:
    sys.exit(f"Port {arguments.port} is in use. Choose another with --port.")
sys.stdout.write(f"{DemoPainter.title}\n{address}\n")
sys.stdout.flush()
stop_signals.get()
launch.close(demo)
folder.cleanup()
