"""`library show`: the metadata of an image in the library, or in any file."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from typer import Argument, Option

from sd35.cli import options
from sd35.cli.lazy import make_app
from sd35.cli.library_session import entry_to_json, format_timestamp, job_to_json, open_library
from sd35.cli.reporter import Reporter
from sd35.cli.runner import command_context
from sd35.cli.terminal import print_facts, write_json, write_line
from sd35.core.atomic_files import os_error_text
from sd35.core.errors import InvalidRequestError
from sd35.core.limits import format_number
from sd35.core.text import format_bytes, format_elapsed, one_line
from sd35.jobs.record import JobRecord
from sd35.jobs.repository import JobRepository
from sd35.library.library_file import read_file
from sd35.library.repository import Entry
from sd35.metadata.embedding import read_metadata, read_texts
from sd35.metadata.infotext import write_infotext
from sd35.metadata.model import GenerationMetadata

__all__ = ["app"]

# All but the line break, which separates the parts of infotext.
_UNPRINTABLE: Final = re.compile(r"[^\S\n]|[\0-\x08\x0e-\x1f\x7f-\x9f]")

PictureName = Annotated[
    str,
    Argument(
        metavar="ID|PATH",
        show_default=False,
        help="ID of an image in the library, or path of any image file.",
    ),
]
Infotext = Annotated[
    bool, Option("--infotext", help="Only print the settings as AUTOMATIC1111 parameters.")
]

Facts = Iterator[tuple[str, str]]

app = make_app()


@app.command(cls=options.QueryCommand)
def show(
    name: PictureName,
    *,
    infotext: Infotext = False,
    folder: options.LibraryFolder = None,
    as_json: options.Json = False,
) -> None:
    """Show an image's metadata.

    For a file, these are the settings that the file itself contains, whichever tool made it.
    """
    with command_context(is_json=as_json) as reporter:
        if infotext and as_json:
            raise InvalidRequestError("Use either --infotext or --json, not both.")
        details = _details_from_file(Path(name)) or _details_from_library(folder, name, reporter)
        reporter.close()
        if as_json:
            write_json(details.payload)
        elif infotext:
            if not details.infotext:
                raise InvalidRequestError("This job has no image, and so no infotext.")
            write_line(_UNPRINTABLE.sub(" ", details.infotext).encode())
        else:
            print_facts(details.facts)


@dataclass(frozen=True, slots=True)
class _Details:
    """Details of an image or a job in three forms; a job has no infotext."""

    facts: Facts
    payload: dict[str, Any]
    infotext: str = ""


def _details_from_file(path: Path) -> _Details | None:
    """Return the details in an image file; `None` if there is no such file."""
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises for a name that is too long
        return None
    try:
        data = read_file(path)
    except OSError as error:
        raise InvalidRequestError(
            f"Couldn't read {one_line(path)}: {os_error_text(error)}."
        ) from error
    record = read_metadata(data)
    if record is None:
        raise InvalidRequestError(f"No generation settings found in {one_line(path)}.")
    size = read_texts(data).size
    width, height = size or (None, None)
    payload = {
        "path": str(path),
        "record": json.loads(record.to_json()),
        "width": width,
        "height": height,
        "size": len(data),
    }
    infotext = write_infotext(record, *(size or (record.width or 0, record.height or 0)))
    return _Details(_file_facts(record, path, size, len(data)), payload, infotext)


def _details_from_library(folder: Path | None, name: str, reporter: Reporter) -> _Details:
    """Return the details of an image or a job in the library."""
    with open_library(folder, reporter) as library:
        entry = library.get(name)
        if entry is not None:
            path = library.file_path(entry)
            infotext = write_infotext(entry.metadata, entry.width, entry.height)
            return _Details(_entry_facts(entry, path), entry_to_json(entry, path), infotext)
        job = JobRepository(library).get(name)
    if job is None:
        raise InvalidRequestError(f"No image or file found: {one_line(name)}.")
    return _Details(_job_facts(job), job_to_json(job))


def _entry_facts(entry: Entry, path: Path) -> Facts:
    yield "File", one_line(path)
    if entry.is_trashed:
        yield "State", "in the trash"
    elif entry.is_missing:
        yield "State", "file missing"
    size = f"{entry.width} × {entry.height}"
    yield "Image", f"{entry.format} {size}, {format_bytes(entry.size_bytes)}"
    yield "Visitor", one_line(entry.owner)
    yield from _record_facts(entry.metadata)


def _file_facts(
    record: GenerationMetadata, path: Path, size: tuple[int, int] | None, byte_count: int
) -> Facts:
    size_text = "" if size is None else f"{size[0]} × {size[1]}, "
    yield "File", one_line(path)
    yield "Image", f"{size_text}{format_bytes(byte_count)}"
    yield from _record_facts(record)


def _record_facts(record: GenerationMetadata) -> Facts:
    has_size = record.width is not None and record.height is not None
    yield "ID", one_line(record.id)
    yield "Prompt", one_line(record.prompt)
    yield "Negative", one_line(record.negative_prompt)
    yield "Seed", _format_optional(record.seed)
    yield "Size", f"{record.width} × {record.height}" if has_size else ""
    yield "Guidance", _format_optional(record.guidance_scale)
    yield "Steps", _format_optional(record.num_inference_steps)
    yield "Model", one_line(record.model)
    yield "Space", one_line(record.space)
    yield "Created", "" if record.made_at is None else format_timestamp(record.made_at)
    yield "Time", "" if record.took_seconds is None else format_elapsed(record.took_seconds)
    yield "Tool", one_line(f"{record.tool} {record.versions.get(record.tool, '')}")
    for name, version in record.versions.items():
        if name != record.tool:
            yield one_line(name), one_line(version)
    yield "Starred", "yes" if record.is_starred else ""
    yield "Tags", one_line(", ".join(record.tags))
    if record.set_id:
        number = "?" if record.set_index is None else record.set_index + 1
        yield "Set", one_line(f"{record.set_id}, image {number} of {record.set_size or '?'}")
    for name, value in record.axes:
        yield f"Axis {one_line(name)}", one_line(value)
    for name, value in record.extra:
        yield one_line(name), one_line(value)


def _format_optional(value: float | None) -> str:
    return "" if value is None else format_number(value)


def _job_facts(job: JobRecord) -> Facts:
    yield "Job", one_line(job.id)
    yield "Status", job.status.value
    yield "Prompt", one_line(job.request.prompt)
    yield "Negative", one_line(job.request.negative_prompt)
    yield "Seed", str(job.request.seed)
    yield "Size", f"{job.request.width} × {job.request.height}"
    yield "Space", one_line(job.space)
    yield "Created", format_timestamp(job.created_at)
    yield "Error", one_line(job.error_message)
    yield "Advice", one_line(job.error_remedy)
    yield "Visitor", one_line(job.owner)
