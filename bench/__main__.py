"""Command line of the benchmarks."""

import argparse

from bench import app, client, frames, library, model, model_plans, page, queueing, start
from bench.traffic import Traffic


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
    commands = parser.add_subparsers(dest="command", required=True)

    def add_command(name: str, help_text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], help=help_text)

    levels_help = "concurrency levels (default: 1,10,50,200)"
    add_command("start", "time to the first page, compared with an empty Gradio app")
    add_command("page", "the page in a browser, compared with an empty Gradio app")
    add_command("frames", "CPU per preview")
    command = add_command("client", "concurrent generations, compared with other clients")
    command.add_argument(
        "--at", type=_numbers, default=list(client.CONCURRENCY_LEVELS), help=levels_help
    )
    command.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="clients whose name contains a TEXT"
    )
    command = add_command("app", "the app under load, with visitors who come and go, and idle")
    _add_app_options(command, levels_help)
    command = add_command("model", "the engine over diffusers, with random weights")
    command.add_argument("--shape", choices=model.SHAPES, default="tiny", help="(%(default)s)")
    command.add_argument("--side", type=int, default=1024, help="pixels (%(default)s)")
    command = add_command("plans", "memory and speed of each plan of a model, on a GPU")
    command.add_argument("--shape", choices=model.SHAPES, default="large", help="(%(default)s)")
    command.add_argument("--side", type=int, default=1024, help="pixels (%(default)s)")
    command.add_argument("--only", nargs="+", default=[], metavar="PLAN", help="these plans")
    command = add_command("queue", "users that GPUs serve, by simulation")
    _add_queue_options(command)
    command = add_command("library", "a library with many images, compared with a small one")
    command.add_argument(
        "--pictures",
        type=int,
        default=library.PICTURE_COUNT,
        help="number of images (default: %(default)s)",
    )
    return parser


def _add_app_options(command: argparse.ArgumentParser, levels_help: str) -> None:
    command.add_argument(
        "--visitors", type=_numbers, default=list(app.CONCURRENCY_LEVELS), help=levels_help
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


def _main() -> None:
    arguments = _parser().parse_args()
    match arguments.command:
        case "start":
            start.measure(arguments.rounds)
        case "page":
            page.measure(arguments.rounds)
        case "frames":
            frames.measure(arguments.rounds)
        case "client":
            client.measure(arguments.rounds, arguments.at, arguments.only)
        case "model":
            model.measure(arguments.rounds, arguments.shape, arguments.side)
        case "plans":
            model_plans.measure(arguments.shape, arguments.side, arguments.only)
        case "queue":
            traffic = Traffic(burst_factor=arguments.burst, images_per_user=arguments.images)
            queueing.measure(arguments.rounds, arguments.users, traffic, arguments.only)
        case "library":
            library.measure(arguments.pictures, arguments.rounds)
        case "app":
            timing = app.RunTiming(arguments.seconds, arguments.spread)
            if arguments.quick:
                app.measure(1, [1, 10], timing, 100)
            else:
                app.measure(arguments.rounds, arguments.visitors, timing, arguments.churn)


if __name__ == "__main__":
    _main()
