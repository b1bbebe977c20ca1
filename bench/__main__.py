"""`python -m bench start` and `python -m bench frames`."""

import argparse

from bench import frames, start

parser = argparse.ArgumentParser(prog="python -m bench", description="Speed, as ratios side by side in one run.")
parser.add_argument("what", choices=["start", "frames"], help="start: to the first page; frames: CPU of a preview")
parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: %(default)s)")
arguments = parser.parse_args()
{"start": start.measure, "frames": frames.measure}[arguments.what](arguments.rounds)
