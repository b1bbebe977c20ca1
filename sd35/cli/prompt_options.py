"""Options of `generate` for templates, styles and seeds, and what they name."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from typer import BadParameter, Option

from sd35.cli import options
from sd35.cli.batch import MAX_IMAGES, parse_sources, read_prompts
from sd35.cli.environment import read_settings
from sd35.cli.terminal import write_json, write_line
from sd35.core.errors import InvalidRequestError
from sd35.library.layout import STYLES_FILE, WILDCARDS_DIR
from sd35.prompts.parser import has_template_syntax
from sd35.prompts.plan import ALL_COMBINATIONS, PromptSource, SeedPolicy
from sd35.prompts.styles import SHIPPED_STYLES, Style, StyleBook, load_styles

__all__ = [
    "Combinations",
    "DryRun",
    "IsTemplate",
    "ListStyles",
    "NoTemplate",
    "SeedOrder",
    "StyleNames",
    "WildcardFolder",
    "find_styles",
    "list_styles",
    "load_all_styles",
    "read_sources",
]


def _parse_combinations(text: str) -> int:
    if text == "all":
        return ALL_COMBINATIONS
    try:
        return options.whole_number(1, MAX_IMAGES)(text)
    except BadParameter as error:
        raise BadParameter(f"enter all, or a whole number from 1 to {MAX_IMAGES:,}.") from error


def _parse_seed_policy(text: str) -> SeedPolicy:
    try:
        return SeedPolicy(text)
    except ValueError:
        raise BadParameter(f"enter {', '.join(SeedPolicy)}.") from None


StyleNames = Annotated[
    list[str] | None,
    Option("--style", metavar="NAME", help="Style, such as Watercolor; can be repeated."),
]
ListStyles = Annotated[bool, Option("--styles", help="List the styles, one per line, and exit.")]
IsTemplate = Annotated[
    bool,
    Option(
        "--template",
        help="Take every prompt for a template. Default: those with {a|b}, {2$$a|b}, __wildcard__ "
        "or ${variable}.",
    ),
]
NoTemplate = Annotated[
    bool, Option("--no-template", help="Take no prompt for a template: send it as it is.")
]
Combinations = Annotated[
    int | None,
    Option(
        metavar="N",
        parser=_parse_combinations,
        help="Make the first N combinations of a template, or all, instead of random ones.",
    ),
]
SeedOrder = Annotated[
    SeedPolicy | None,
    Option(
        metavar="ORDER",
        parser=_parse_seed_policy,
        help="Seeds of a prompt's images: random, fixed, or increment. Default: increment with "
        "--seed, else random.",
    ),
]
WildcardFolder = Annotated[
    Path | None,
    Option(
        metavar="FOLDER",
        help="Folder of your wildcards. Default: wildcards in the library folder.",
    ),
]
DryRun = Annotated[
    bool, Option("--dry-run", help="Only print the prompts, one per line; connect to no Space.")
]


def read_sources(
    prompt: str | None,
    file: Path | None,
    folder: Path | None,
    *,
    is_template: bool,
    is_literal: bool,
) -> tuple[PromptSource, ...]:
    """Return the prompt, or those of the file, with their templates; the folder has wildcards.

    Raises:
        InvalidRequestError: a template isn't valid, or the options exclude each other.
    """
    if is_template and is_literal:
        raise InvalidRequestError("Use either --template or --no-template, not both.")
    if folder is not None and not folder.is_dir():
        raise InvalidRequestError(f"Folder not found: {folder}.", "Choose another --wildcards.")
    prompts = read_prompts(prompt, file)
    are_templates = [
        not is_literal and (is_template or has_template_syntax(prompt)) for prompt in prompts
    ]
    if not any(are_templates):
        return tuple(map(PromptSource, prompts))
    folder = read_settings().library_folder / WILDCARDS_DIR if folder is None else folder
    return parse_sources(prompts, are_templates, folder)


def find_styles(names: Iterable[str]) -> tuple[Style, ...]:
    """Return the styles of these names."""
    return load_all_styles().find(names) if names else ()


def load_all_styles() -> StyleBook:
    """Return the shipped styles, and those of the user in the library folder."""
    return load_styles(SHIPPED_STYLES, read_settings().library_folder / STYLES_FILE)


def list_styles(*, is_json: bool) -> int:
    """Print the styles; return the exit code."""
    for style in load_all_styles().styles:
        if is_json:
            write_json(
                {
                    "name": style.name,
                    "group": style.group,
                    "prompt": style.prompt,
                    "negative_prompt": style.negative_prompt,
                }
            )
        else:
            write_line(style.name.encode("utf-8", "replace"))
    return 0
