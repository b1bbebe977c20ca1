"""`python -m bench start`, `frames`, `client`, `app` and `library`."""

import argparse

from bench import app, client, frames, library, start


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


parser = argparse.ArgumentParser(
    prog="python -m bench", description="Speed, as ratios side by side in one run."
)
rounds = argparse.ArgumentParser(add_help=False)
rounds.add_argument(
    "--rounds", type=int, default=5, help="how often each is measured (default: %(default)s)"
)
subparsers = parser.add_subparsers(dest="command", required=True)
subparsers.add_parser(
    "start", parents=[rounds], help="to the first page, against an empty Gradio app"
)
subparsers.add_parser("frames", parents=[rounds], help="CPU of a preview")
clients = subparsers.add_parser(
    "client", parents=[rounds], help="generations at once, against other clients and a floor"
)
clients.add_argument(
    "--at",
    type=_numbers,
    default=list(client.CONCURRENCY_LEVELS),
    help="how many at once (default: 1,10,50,200)",
)
clients.add_argument(
    "--only",
    nargs="+",
    default=[],
    metavar="NAME",
    help="contestants whose name holds one of these",
)
apps = subparsers.add_parser(
    "app", parents=[rounds], help="the load of the app: visitors at once, a crowd, and nobody"
)
apps.add_argument(
    "--visitors",
    type=_numbers,
    default=list(app.CONCURRENCY_LEVELS),
    help="how many at once (default: 1,10,50,200)",
)
apps.add_argument(
    "--seconds",
    type=float,
    default=app.RUN_SECONDS,
    help="how long a run takes at the Space (default: %(default)s)",
)
apps.add_argument(
    "--spread",
    type=float,
    default=0.0,
    help="over how many seconds they begin (default: all in the same moment)",
)
apps.add_argument(
    "--crowd", type=int, default=app.CROWD_SIZE, help="how many come and go (default: %(default)s)"
)
apps.add_argument(
    "--quick", action="store_true", help="one round, 1 and 10 at once, and a crowd of 100"
)
libraries = subparsers.add_parser(
    "library", parents=[rounds], help="the library with many pictures, beside one with few"
)
libraries.add_argument(
    "--pictures",
    type=int,
    default=library.PICTURE_COUNT,
    help="how many pictures are in it (default: %(default)s)",
)
arguments = parser.parse_args()
if arguments.command == "start":
    start.measure(arguments.rounds)
elif arguments.command == "frames":
    frames.measure(arguments.rounds)
elif arguments.command == "library":
    library.measure(arguments.pictures, arguments.rounds)
elif arguments.command == "app":
    times = app.RunTiming(arguments.seconds, arguments.spread)
    quick_arguments = (1, [1, 10], times, 100)
    app.measure(
        *quick_arguments
        if arguments.quick
        else (arguments.rounds, arguments.visitors, times, arguments.crowd)
    )
else:
    client.measure(arguments.rounds, arguments.at, arguments.only)
