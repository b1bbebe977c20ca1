"""`library rescan`: the index, brought up to date with the folder."""

from dataclasses import asdict

from sd35.cli import options
from sd35.cli.lazy import Command, make_app
from sd35.cli.library_session import Requires, open_library, report_skipped
from sd35.cli.runner import command_context
from sd35.cli.terminal import write_json
from sd35.jobs.repository import JobRepository

__all__ = ["app"]

app = make_app()


@app.command(cls=Command)
def rescan(*, folder: options.LibraryFolder = None, as_json: options.Json = False) -> None:
    """Rescan the library folder.

    Finds images that were added, removed, moved or edited by other programs. A folder without a
    library becomes one.
    """
    with (
        command_context(is_json=as_json) as reporter,
        open_library(folder, reporter, Requires.FOLDER) as library,
    ):
        library.check_writable()
        # Not Library.rescan: this one also completes interrupted jobs whose images were found.
        on_progress = reporter.start_task("Scanning the library")
        result = JobRepository(library).rescan(on_progress, checks_index=True)
        skipped_files = report_skipped(reporter, result.skipped_files)
        counts = {name: count for name, count in asdict(result).items() if name != "skipped_files"}
        summary = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
        reporter.success(f"The library is up to date: {summary or 'no changes'}.")
        if as_json:
            write_json({**counts, "skipped": skipped_files})
