"""What is told of a picture, or of a job that came to none: fact by fact, in short, and for programs. Pure."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from sd35.cli.messages import format_bytes, format_duration, one_line
from sd35.core.limits import format_number as digits
from sd35.jobs.record import JobRecord, JobStatus
from sd35.library.exporter import manifest_entry
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata

__all__ = [
    "entry_facts",
    "entry_to_json",
    "file_facts",
    "file_to_json",
    "format_local_datetime",
    "job_created_at",
    "job_facts",
    "job_summary_line",
    "job_to_json",
    "summary_line",
    "truncate_prompt",
]

MAX_PROMPT_LENGTH: Final = 200
"""Letters of a prompt that a list shows."""

STATUS_TO_JSON: Final = {
    JobStatus.PENDING: "waiting",
    JobStatus.RUNNING: "running",
    JobStatus.COMPLETED: "saved",
    JobStatus.CANCELLED: "stopped",
    JobStatus.FAILED: "failed",
    JobStatus.INTERRUPTED: "interrupted",
}
"""Words of the JSON output. Scripts read them, so they stay as they are."""

Facts = Iterator[tuple[str, str]]


def format_local_datetime(timestamp: dt.datetime) -> str:
    """Return a moment by this machine's clock; at the ends of the calendar, as it is told."""
    with suppress(ValueError, OverflowError, OSError):
        timestamp = timestamp.astimezone()
    return timestamp.isoformat(" ", "minutes")[:16]


def job_created_at(job: JobRecord) -> dt.datetime:
    """Return when a job was asked for."""
    return dt.datetime.fromtimestamp(job.created_at, dt.UTC)


def truncate_prompt(prompt: str) -> str:
    """Return as much of a prompt, in one line, as a list has room for."""
    text = one_line(prompt)
    return text if len(text) <= MAX_PROMPT_LENGTH else f"{text[: MAX_PROMPT_LENGTH - 1]}…"


def summary_line(entry: Entry) -> str:
    """Return what a list says of a picture below its prompt."""
    record = entry.record
    parts = (
        "" if record.seed is None else f"seed {record.seed}",
        "starred" if record.is_starred else "",
        "demo painter" if record.is_demo else "",
        ", ".join(record.tags),
        entry.path,
    )
    return " · ".join(one_line(part) for part in parts if part)


def job_summary_line(job: JobRecord) -> str:
    """Return what a list says of a job below its prompt."""
    parts = (f"seed {job.request.seed}", job.error_message, job.id)
    return " · ".join(one_line(part) for part in parts if part)


def entry_facts(entry: Entry, path: object) -> Facts:
    """Each fact of a picture whose file is at this path."""
    state = (
        "in the trash"
        if entry.is_trashed
        else "missing: its file is gone"
        if entry.is_missing
        else ""
    )
    yield "File", one_line(path)
    yield "State", state
    yield (
        "Picture",
        f"{entry.format} {entry.width} × {entry.height}, {format_bytes(entry.size_bytes)}",
    )
    yield "Visitor", one_line(entry.owner)
    yield from _record_facts(entry.record)


def file_facts(
    record: GenerationMetadata, path: object, dimensions: tuple[int, int] | None, size_bytes: int
) -> Facts:
    """Each fact of a picture in a file of its own; `pixels` are its width and height."""
    yield "File", one_line(path)
    yield (
        "Picture",
        f"{'' if dimensions is None else f'{dimensions[0]} × {dimensions[1]}, '}{format_bytes(size_bytes)}",
    )
    yield from _record_facts(record)


def _record_facts(record: GenerationMetadata) -> Facts:
    """Each fact of a record, empty where nothing is known."""
    yield "Id", one_line(record.id)
    yield "Prompt", one_line(record.prompt)
    yield "Negative", one_line(record.negative_prompt)
    yield "Seed", _format_optional(record.seed)
    yield (
        "Size",
        "" if None in {record.width, record.height} else f"{record.width} × {record.height}",
    )
    yield "Guidance", _format_optional(record.guidance_scale)
    yield "Steps", _format_optional(record.num_inference_steps)
    yield "Model", one_line(record.model)
    yield "Space", one_line(record.space)
    yield "Made", _creation_text(record)
    yield "Tool", one_line(" ".join((record.tool, record.versions.get(record.tool, ""))))
    yield from (
        (one_line(name), one_line(version))
        for name, version in record.versions.items()
        if name != record.tool
    )
    yield "Starred", "yes" if record.is_starred else ""
    yield "Tags", one_line(", ".join(record.tags))
    yield from ((one_line(name), one_line(value)) for name, value in record.extra)


def _format_optional(value: float | None) -> str:
    return "" if value is None else digits(value)


def _creation_text(record: GenerationMetadata) -> str:
    date_text = "" if record.made_at is None else format_local_datetime(record.made_at)
    duration_text = (
        "" if record.took_seconds is None else f"in {format_duration(record.took_seconds)}"
    )
    return " ".join(part for part in (date_text, duration_text) if part)


def job_facts(job: JobRecord) -> Facts:
    """Each fact of a job."""
    yield "Job", one_line(job.id)
    yield "Stage", job.status.value
    yield "Prompt", one_line(job.request.prompt)
    yield "Negative", one_line(job.request.negative_prompt)
    yield "Seed", str(job.request.seed)
    yield "Size", f"{job.request.width} × {job.request.height}"
    yield "Space", one_line(job.space)
    yield "Asked", format_local_datetime(job_created_at(job))
    yield "Happened", one_line(job.error_message)
    yield "Remedy", one_line(job.error_remedy)
    yield "Visitor", one_line(job.owner)


def entry_to_json(entry: Entry, path: object) -> dict[str, Any]:
    """Return all that is known of a picture whose file is at this path."""
    return manifest_entry(entry, path) | {
        "made_at": entry.made_at.isoformat(),
        "owner": entry.owner,
        "is_trashed": entry.is_trashed,
        "is_missing": entry.is_missing,
    }


def file_to_json(
    record: GenerationMetadata, path: object, dimensions: tuple[int, int] | None, size_bytes: int
) -> dict[str, Any]:
    """Return all that a file of its own says of its picture; `pixels` are its width and height."""
    width, height = dimensions or (None, None)
    record_data = json.loads(record.to_json())
    return {
        "path": str(path),
        "record": record_data,
        "width": width,
        "height": height,
        "size": size_bytes,
    }


def job_to_json(job: JobRecord) -> dict[str, Any]:
    """Return what is known of a job."""
    request = job.request
    return {
        "id": job.id,
        "stage": STATUS_TO_JSON[job.status],
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "width": request.width,
        "height": request.height,
        "space": job.space,
        "created_at": job_created_at(job).isoformat(),
        "owner": job.owner,
        "error": {
            "kind": job.error_kind,
            "happened": job.error_message,
            "remedy": job.error_remedy,
        },
    }
