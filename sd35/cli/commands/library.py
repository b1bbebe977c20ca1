"""`library`: the group of commands for the library."""

from typing import ClassVar

from sd35.cli.lazy import LazyGroup, make_app

__all__ = ["app"]


class LibraryCommands(LazyGroup):
    """Commands for the library."""

    modules: ClassVar = {
        "search": ("library_search", "Find images, newest first."),
        "show": ("library_show", "Show an image's metadata."),
        "export": ("library_export", "Copy images to a new folder or .zip file."),
        "sheet": ("library_sheet", "Write a set as one labelled sheet."),
        "import": ("library_import", "Copy images into the library."),
        "rescan": ("library_rescan", "Rescan the library folder."),
        "stats": ("library_stats", "Show library statistics."),
    }


app = make_app(cls=LibraryCommands, no_args_is_help=True)


@app.callback()
def library() -> None:
    """Search, export and import your library."""
