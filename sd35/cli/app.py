"""The commands. What one of them needs is imported when it runs: `--help` waits for nothing."""

import logging
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from sd35.cli import options
from sd35.cli.commands.library import library
from sd35.cli.commands.user import user
from sd35.cli.exit_codes import EXIT_CODES_HELP, EXIT_UNEXPECTED
from sd35.cli.terminal import prepare_streams
from sd35.core.version import __version__

if TYPE_CHECKING:
    from sd35.cli.commands.generate import EventHandler

__all__ = ["app", "main"]

log = logging.getLogger(__name__)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES_HELP,
)


@app.callback(invoke_without_command=True)
def program(context: typer.Context, *, version: options.Version = False) -> None:
    """Pictures by Stable Diffusion 3.5, over a Gradio Space."""
    if version:
        typer.echo(__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog=EXIT_CODES_HELP)
def generate(  # noqa: PLR0913  # each is an option
    prompt: options.Prompt = None,
    *,
    negative: options.Negative = "",
    aspect: options.Aspect = None,
    width: options.Width = None,
    height: options.Height = None,
    steps: options.Steps = None,
    guidance: options.Guidance = None,
    seed: options.Seed = None,
    count: options.Count = 1,
    out: options.OutputFolder = Path(),
    prompts: options.PromptsFile = None,
    previews: options.SavePreviews = False,
    keep_going: options.KeepGoing = False,
    space: options.Space = None,
    token: options.Token = None,
    proxy: options.Proxy = None,
    quiet: options.Quiet = False,
    as_json: options.JsonEvents = False,
) -> None:
    """Make pictures, one after another, and save each as it came.

    Its settings are added to its file; no pixel is touched. The standard output gets the path of
    each picture, one a line, and the standard error stream all else.
    """
    from sd35.cli.batch import Batch, read_prompts  # noqa: PLC0415
    from sd35.cli.commands.generate import generate_batch, run_with_output  # noqa: PLC0415
    from sd35.cli.target import resolve_target  # noqa: PLC0415
    from sd35.core.request import RequestOptions  # noqa: PLC0415

    def run_batch(emit: "EventHandler") -> Coroutine[Any, Any, int]:
        request_options = RequestOptions(
            prompt="",
            negative_prompt=negative,
            aspect_ratio=aspect,
            width=width,
            height=height,
            guidance_scale=guidance,
            num_inference_steps=steps,
            seed=seed,
        )
        batch = Batch(
            read_prompts(prompt, prompts), request_options, count, out, previews, keep_going
        )
        return generate_batch(batch, resolve_target(space, token, proxy), emit)

    raise typer.Exit(run_with_output(run_batch, is_quiet=quiet, is_json=as_json))


@app.command("space", epilog=EXIT_CODES_HELP)
def describe(
    name: options.SpaceName = None,
    *,
    wait: options.WaitSeconds = 300,
    token: options.Token = None,
    proxy: options.Proxy = None,
    as_json: options.Json = False,
) -> None:
    """Say what a Space accepts and how it works."""
    from sd35.cli.commands.space import describe_space  # noqa: PLC0415
    from sd35.cli.target import resolve_target  # noqa: PLC0415

    raise typer.Exit(
        describe_space(lambda: resolve_target(name, token, proxy), wait, is_json=as_json)
    )


@app.command(epilog=EXIT_CODES_HELP)
def doctor(
    name: options.SpaceName = None,
    *,
    generates_picture: options.TryPicture = False,
    token: options.Token = None,
    proxy: options.Proxy = None,
    as_json: options.Json = False,
) -> None:
    """Say what works from here, and what to do about what doesn't."""
    from sd35.cli.commands.doctor import run_doctor  # noqa: PLC0415
    from sd35.cli.target import resolve_target  # noqa: PLC0415

    raise typer.Exit(
        run_doctor(
            lambda: resolve_target(name, token, proxy),
            generates_picture=generates_picture,
            is_json=as_json,
        )
    )


@app.command("space-files", epilog=EXIT_CODES_HELP)
def space_files(
    folder: options.SpaceFolder = Path(),
    *,
    is_check: options.CheckFiles = False,
    as_json: options.Json = False,
) -> None:
    """Say which files a Space on Hugging Face gets.

    With --check it says instead what would keep the Space from running, which ends the program with
    2.
    """
    from sd35.cli.commands.space_files import run_space_files  # noqa: PLC0415

    raise typer.Exit(run_space_files(folder, is_check=is_check, is_json=as_json))


app.add_typer(library, name="library")
app.add_typer(user, name="user")


def main() -> NoReturn:
    """Run the program, and end it."""
    prepare_streams()
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except Exception:  # the outermost edge
        log.exception("this program failed in a way that wasn't foreseen")
    sys.exit(EXIT_UNEXPECTED)
