"""`python -m bench start`, `python -m bench frames` and `python -m bench client`."""

import argparse

from bench import client, frames, start


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


parser = argparse.ArgumentParser(prog="python -m bench", description="Speed, as ratios side by side in one run.")
rounds = argparse.ArgumentParser(add_help=False)
rounds.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: %(default)s)")
what = parser.add_subparsers(dest="what", required=True)
what.add_parser("start", parents=[rounds], help="to the first page, against an empty Gradio app")
what.add_parser("frames", parents=[rounds], help="CPU of a preview")
clients = what.add_parser("client", parents=[rounds], help="generations at once, against other clients and a floor")
clients.add_argument(
    "--at", type=_numbers, default=list(client.AT_ONCE), help="how many at once (default: 1,10,50,200)"
)
clients.add_argument("--only", nargs="+", default=[], metavar="NAME", help="contestants whose name holds one of these")
arguments = parser.parse_args()
if arguments.what == "start":
    start.measure(arguments.rounds)
elif arguments.what == "frames":
    frames.measure(arguments.rounds)
else:
    client.measure(arguments.rounds, arguments.at, arguments.only)
