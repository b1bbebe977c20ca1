"""A Space of fixed pace: `python -m bench.paced_space PORT REPLICAS STEP_SECONDS`."""

import sys
import threading

from sd35.server import launch


def main(port: str, replicas: str, step_seconds: str) -> None:
    """Serve until the process is ended."""
    with launch.configure_environment():
        # Gradio reads its environment when it is imported.
        from sd35.space.painter import DemoPainter  # noqa: PLC0415  # see above
        from sd35.space.server import build_space  # noqa: PLC0415  # see above

        engine = DemoPainter(float(step_seconds))
        engine.concurrency = int(replicas)
        print(launch.launch(build_space(engine), port=int(port)), flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
