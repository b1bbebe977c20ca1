"""`help`: the program's help, and its exit codes."""

import typer

from sd35.cli.exit_codes import EXIT_CODES
from sd35.cli.lazy import Command, make_app

__all__ = ["app"]

app = make_app()


@app.callback(invoke_without_command=True)
def show_help(context: typer.Context) -> None:
    """Show help, and the exit codes."""
    if context.invoked_subcommand is None:
        assert context.parent is not None
        typer.echo(context.parent.get_help())


@app.command("exit-codes", cls=Command)
def exit_codes() -> None:
    """List the exit codes."""
    for entry in EXIT_CODES:
        typer.echo(f"{entry.code:3}  {entry.meaning}")
