"""Command line of the fuzzer."""

import argparse
import sys

from tests.fuzz.atheris_engine import run_atheris
from tests.fuzz.hypothesis_engine import run_hypothesis
from tests.fuzz.target import target_names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description="Give hostile inputs to what takes input from strangers, until one fails.",
    )
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"{', '.join(target_names())} (default: all)"
    )
    parser.add_argument(
        "--seconds", type=float, default=60, help="for all targets together (default: %(default)g)"
    )
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(target_names()):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    return arguments


def main() -> None:
    """Run the targets that the command line names, one after another."""
    arguments = _arguments()
    names = arguments.targets or target_names()
    seconds = arguments.seconds / len(names)
    for name in names:
        if arguments.engine == "hypothesis":
            print(f"{name}: {run_hypothesis(name, seconds):,} inputs", flush=True)
        elif status := run_atheris(name, seconds):
            sys.exit(status)


if __name__ == "__main__":
    main()
