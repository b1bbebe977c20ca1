"""The command line of `python -m sd35.space`."""

import argparse
from collections.abc import Sequence

from sd35.core.model_options import (
    DEVICES,
    OFFLOADS,
    OPTION_HELP,
    PRECISIONS,
    ModelOptions,
)
from sd35.server import launch
from sd35.space.engine_options import EngineOptions
from sd35.space.models import MODELS
from sd35.space.replicas import ReplicaRange

__all__ = ["create_parser", "parse_arguments", "read_engine_options"]


def create_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(
        prog="python -m sd35.space",
        description="Serve a Space with live previews: Stable Diffusion 3.5, or a demo painter.",
    )
    parser.add_argument(
        "--model",
        default="demo",
        help=f"{', '.join(MODELS)}, a folder in diffusers' format, owner/name, or demo "
        "(default: demo)",
    )
    _add_model_options(parser)
    _add_replica_options(parser)
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host", default=launch.LOOPBACK, help="address to listen on (default: %(default)s)"
    )
    server.add_argument(
        "--port",
        type=int,
        default=7861,
        help="port to listen on; 0: any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--check", action="store_true", help="say in JSON what this machine lacks, and exit"
    )
    # Another program of this project is the parent: the states are for it, as lines of JSON.
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--device", choices=DEVICES, help=OPTION_HELP["device"])
    group.add_argument("--precision", choices=PRECISIONS, help=OPTION_HELP["precision"])
    group.add_argument("--offload", choices=OFFLOADS, help=OPTION_HELP["offload"])
    group.add_argument("--no-t5", action="store_true", help=OPTION_HELP["no_t5"])
    group.add_argument("--revision", help=OPTION_HELP["revision"])


def _add_replica_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("several GPUs")
    group.add_argument(
        "--replicas",
        type=_parse_replicas,
        help="number of GPUs, such as 4, or 1-4: as many as the queue needs",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster that the GPUs are in: HOST:6379, or auto (default: only this machine's)",
    )


def _parse_replicas(text: str) -> ReplicaRange:
    try:
        return ReplicaRange.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments of the command line; exit with a sentence if they make no sense."""
    parser = create_parser()
    values = parser.parse_args(arguments)
    flags = str(read_engine_options(values).model_options)
    if flags and values.model == "demo" and not values.child:
        parser.error(f"{flags}: the demo painter has no such options. Choose a --model.")
    return values


def read_engine_options(arguments: argparse.Namespace) -> EngineOptions:
    """Return the model and its options."""
    options = ModelOptions(
        arguments.device,
        arguments.precision,
        arguments.offload,
        arguments.no_t5,
        arguments.revision,
    )
    return EngineOptions(arguments.model, options, is_child=arguments.child)
