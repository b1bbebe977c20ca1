"""Options that `generate` and `grid` share."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sd35.cli import options
from sd35.core.request import RequestOptions

__all__ = [
    "Aspect",
    "Count",
    "Guidance",
    "Height",
    "JsonEvents",
    "KeepGoing",
    "Negative",
    "OutputFolder",
    "Prompt",
    "PromptsFile",
    "Quiet",
    "SavePreviews",
    "Seed",
    "Space",
    "Steps",
    "Width",
    "build_request_options",
]

Prompt = Annotated[str | None, Argument(metavar="PROMPT", show_default=False, help="Prompt.")]
Negative = Annotated[str, Option(metavar="TEXT", show_default=False, help="Negative prompt.")]
Aspect = Annotated[
    str | None,
    Option(
        metavar="RATIO",
        parser=options.aspect_ratio,
        help="Aspect ratio, such as 16:9, at the largest size available.",
    ),
]
Width = Annotated[
    int | None,
    Option(metavar="PIXELS", parser=options.whole_number(), help="Width, a multiple of 16."),
]
Height = Annotated[
    int | None,
    Option(metavar="PIXELS", parser=options.whole_number(), help="Height, a multiple of 16."),
]
Steps = Annotated[
    int | None,
    Option(metavar="N", parser=options.whole_number(), help="Number of inference steps."),
]
Guidance = Annotated[
    float | None, Option(metavar="SCALE", parser=options.decimal_number, help="Guidance scale.")
]
Seed = Annotated[
    int | None,
    Option(
        metavar="N",
        parser=options.seed_number,
        help="Seed of the first image. Random if omitted or -1.",
    ),
]
Count = Annotated[
    int, Option(metavar="N", parser=options.whole_number(1, 1000), help="Images per prompt.")
]
OutputFolder = Annotated[
    Path,
    Option(
        "--out",
        "-o",
        metavar="FOLDER",
        show_default=False,
        help="Output folder (default: current folder). Existing files are never overwritten.",
    ),
]
PromptsFile = Annotated[
    Path | None,
    Option(metavar="FILE", help="File with one prompt per line; # for comments; - for stdin."),
]
SavePreviews = Annotated[
    bool, Option("--previews", help="Also save the previews, as NAME-preview-01 and so on.")
]
KeepGoing = Annotated[bool, Option("--keep-going", help="Continue after errors.")]
Space = Annotated[
    str | None,
    Option(
        metavar="SPACE",
        help="Space: owner/name, URL, local or local:MODEL for a model on this machine, or demo "
        "for the built-in demo. Default: SD35_SPACE, or the public Space.",
    ),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Only print errors.")]
JsonEvents = Annotated[bool, Option("--json", help="Print events as JSON, one per line.")]


def build_request_options(  # one for each option
    negative: str,
    aspect: str | None,
    width: int | None,
    height: int | None,
    guidance: float | None,
    steps: int | None,
    seed: int | None,
) -> RequestOptions:
    """Return the request that the options describe, without its prompt."""
    return RequestOptions(
        prompt="",
        negative_prompt=negative,
        aspect_ratio=aspect,
        width=width,
        height=height,
        guidance_scale=guidance,
        num_inference_steps=steps,
        seed=seed,
    )
