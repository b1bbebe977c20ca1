"""Typer groups that import a command only when it runs, so that `--help` doesn't wait for it."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

__all__ = ["ClickContext", "Command", "LazyGroup", "make_app"]

# Typer contains its own copy of Click, whose classes aren't public.
ClickContext = Any
ClickCommand = Any


def make_app(**options: Any) -> typer.Typer:  # noqa: ANN401  # as Typer takes them
    """Return a Typer app with the settings that all commands share."""
    return typer.Typer(
        add_completion=False,
        # Plain help: Rich's boxes and its import, a tenth of a second, aren't worth it.
        rich_markup_mode=None,
        # A traceback with local variables could show a token.
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **options,
    )


class Command(TyperCommand):
    """Command whose help shows plain arguments: `NAME`, not `{NAME}` or `NAME <str>`."""

    def collect_usage_pieces(self, ctx: ClickContext) -> list[str]:
        """Return the parts of the usage line."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: ClickContext) -> list[Any]:
        """Return the parameters."""
        parameters: list[Any] = super().get_params(ctx)
        for parameter in parameters:
            # An option shows its metavar instead of a type; an argument shows both.
            if parameter.param_type_name == "argument":
                parameter.display_type = _no_type
        return parameters


def _no_type(_: object) -> None:
    """Return no type to show."""


class LazyGroup(TyperGroup):
    """Group of commands, each the `app` of a module of `sd35.cli.commands`.

    Attributes:
        modules: the module and the one-line help of each command, by the command's name.
    """

    modules: ClassVar[Mapping[str, tuple[str, str]]]

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  # as Typer passes them
        super().__init__(**attributes)
        # The list of commands, and suggestions for a mistyped one, need just names and help.
        for name, (_, help_text) in self.modules.items():
            self.commands[name] = TyperCommand(name, help=help_text, rich_markup_mode=None)

    def resolve_command(self, ctx: ClickContext, args: list[str]) -> tuple[Any, Any, list[str]]:
        """Return the command that the first argument names, and the other arguments."""
        # The placeholder has no parameters, and would refuse every argument.
        if args and args[0] in self.modules:
            self.commands[args[0]] = self.load(args[0])
        return super().resolve_command(ctx, args)

    def load(self, name: str) -> ClickCommand:
        """Import the module of a command, and return the command."""
        module = importlib.import_module(f"sd35.cli.commands.{self.modules[name][0]}")
        return get_command(module.app)
