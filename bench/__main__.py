"""Command line of the benchmarks."""

import argparse
import signal
import sys
from collections.abc import Callable

from bench import (
    app,
    client,
    first_image,
    frames,
    library,
    model,
    model_plans,
    page,
    queue_check,
    queueing,
    replicas,
    sets,
    start,
)
from bench.traffic import Traffic

LEVELS_HELP = "concurrency levels (default: 1,10,50,200)"


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure speed, CPU and memory, compared side by side."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--rounds", type=int, default=5, help="measurements of each (default: %(default)s)"
    )
    commands = parser.add_subparsers(required=True)

    def add_command(
        name: str, help_text: str, measure: Callable[[argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[common], help=help_text)
        command.set_defaults(measure=measure)
        return command

    add_command(
        "start",
        "time to the first page, compared with an empty Gradio app",
        lambda arguments: start.measure(arguments.rounds),
    )
    add_command(
        "page",
        "the page in a browser, compared with an empty Gradio app",
        lambda arguments: page.measure(arguments.rounds),
    )
    add_command("frames", "CPU per preview", lambda arguments: frames.measure(arguments.rounds))
    add_command(
        "first-image",
        "time to somebody's first image, by the keyboard alone",
        lambda arguments: first_image.measure(arguments.rounds),
    )
    add_command(
        "sets",
        "a set of eight on the page: CPU of browser and server, layout shift",
        lambda arguments: sets.measure(arguments.rounds),
    )
    _add_client_options(
        add_command(
            "client", "concurrent generations, compared with other clients", _measure_client
        )
    )
    _add_app_options(
        add_command(
            "app", "the app under load, with visitors who come and go, and idle", _measure_app
        )
    )
    _add_model_options(
        add_command("model", "the engine over diffusers, with random weights", _measure_model)
    )
    _add_plan_options(
        add_command("plans", "memory and speed of each plan of a model, on a GPU", _measure_plans)
    )
    _add_queue_options(add_command("queue", "users that GPUs serve, by simulation", _measure_queue))
    command = add_command(
        "replicas",
        "several replicas by Ray Serve, compared with an engine in the Space's process",
        lambda arguments: replicas.measure(arguments.rounds, arguments.replicas),
    )
    command.add_argument(
        "--replicas",
        type=_numbers,
        default=list(replicas.REPLICA_COUNTS),
        help="numbers of replicas that are compared with one (default: 2,3,4)",
    )
    command = add_command(
        "library",
        "a library with many images, compared with a small one",
        lambda arguments: library.measure(arguments.pictures, arguments.rounds),
    )
    command.add_argument(
        "--pictures",
        type=int,
        default=library.PICTURE_COUNT,
        help="number of images (default: %(default)s)",
    )
    return parser


def _add_client_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--at", type=_numbers, default=list(client.CONCURRENCY_LEVELS), help=LEVELS_HELP
    )
    command.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="clients whose name contains a TEXT"
    )


def _measure_client(arguments: argparse.Namespace) -> None:
    client.measure(arguments.rounds, arguments.at, arguments.only)


def _add_app_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--visitors", type=_numbers, default=list(app.CONCURRENCY_LEVELS), help=LEVELS_HELP
    )
    command.add_argument(
        "--seconds", type=float, default=app.RUN_SECONDS, help="seconds per run (%(default)s)"
    )
    command.add_argument(
        "--spread", type=float, default=0.0, help="seconds over which visitors begin (%(default)s)"
    )
    command.add_argument(
        "--churn",
        type=int,
        default=app.CHURN_VISITORS,
        help="visitors who come and go (default: %(default)s)",
    )
    command.add_argument(
        "--quick", action="store_true", help="one round, 1 and 10 at once, 100 who come and go"
    )


def _measure_app(arguments: argparse.Namespace) -> None:
    timing = app.RunTiming(arguments.seconds, arguments.spread)
    if arguments.quick:
        app.measure(1, [1, 10], timing, 100)
    else:
        app.measure(arguments.rounds, arguments.visitors, timing, arguments.churn)


def _add_model_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--shape", choices=model.SHAPES, default="tiny", help="(%(default)s)")
    command.add_argument("--side", type=int, default=1024, help="pixels (%(default)s)")


def _measure_model(arguments: argparse.Namespace) -> None:
    model.measure(arguments.rounds, arguments.shape, arguments.side)


def _add_plan_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--shape", choices=model.SHAPES, default="large", help="(%(default)s)")
    command.add_argument("--side", type=int, default=1024, help="pixels (%(default)s)")
    command.add_argument("--only", nargs="+", default=[], metavar="PLAN", help="these plans")


def _measure_plans(arguments: argparse.Namespace) -> None:
    model_plans.measure(arguments.shape, arguments.side, arguments.only)


def _add_queue_options(command: argparse.ArgumentParser) -> None:
    traffic = Traffic()
    command.set_defaults(rounds=2)
    command.add_argument(
        "--users",
        type=_numbers,
        default=list(queueing.USERS_PER_HOUR),
        help="users an hour (default: 10,100,1000)",
    )
    command.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="models and GPUs with a TEXT in them"
    )
    command.add_argument(
        "--images", type=float, default=traffic.images_per_user, help="per user (%(default)s)"
    )
    command.add_argument(
        "--burst",
        type=float,
        default=traffic.burst_factor,
        help="times as many users begin in five minutes of each hour (%(default)s)",
    )
    command.add_argument(
        "--check",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="compare the simulation with the queue of a Space instead, for so long each",
    )
    command.add_argument("--ray", action="store_true", help="with --check: replicas by Ray Serve")


def _measure_queue(arguments: argparse.Namespace) -> None:
    if arguments.check:
        queue_check.measure(arguments.check, has_ray=arguments.ray)
        return
    traffic = Traffic(burst_factor=arguments.burst, images_per_user=arguments.images)
    queueing.measure(arguments.rounds, arguments.users, traffic, arguments.only)


if __name__ == "__main__":
    # Unlike the default, this ends the measured programs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parsed_arguments = _parser().parse_args()
    parsed_arguments.measure(parsed_arguments)
