"""What is told of a picture, or of a job that came to none: fact by fact, in short, and for programs. Pure."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

from sd35.cli.messages import clock, plain, size
from sd35.core.limits import plain as digits
from sd35.jobs.repository import JobRecord
from sd35.library.exporter import told_of
from sd35.library.repository import Entry
from sd35.metadata.model import Record

__all__ = [
    "entry_as_json",
    "entry_facts",
    "file_as_json",
    "file_facts",
    "in_short",
    "job_as_json",
    "job_facts",
    "job_in_short",
    "local",
    "moment_of",
    "shortened",
]

MAX_PROMPT: Final = 200
"""Letters of a prompt that a list shows."""

Facts = Iterator[tuple[str, str]]


def local(moment: dt.datetime) -> str:
    """Return a moment by this machine's clock; at the ends of the calendar, as it is told."""
    with suppress(ValueError, OverflowError, OSError):
        moment = moment.astimezone()
    return moment.isoformat(" ", "minutes")[:16]


def moment_of(job: JobRecord) -> dt.datetime:
    """Return when a job was asked for."""
    return dt.datetime.fromtimestamp(job.created_at, dt.UTC)


def shortened(prompt: str) -> str:
    """Return as much of a prompt, in one line, as a list has room for."""
    text = plain(prompt)
    return text if len(text) <= MAX_PROMPT else f"{text[: MAX_PROMPT - 1]}…"


def in_short(entry: Entry) -> str:
    """Return what a list says of a picture below its prompt."""
    record = entry.record
    told = (
        "" if record.seed is None else f"seed {record.seed}",
        "starred" if record.is_starred else "",
        "demo painter" if record.is_demo else "",
        ", ".join(record.tags),
        entry.path,
    )
    return " · ".join(plain(each) for each in told if each)


def job_in_short(job: JobRecord) -> str:
    """Return what a list says of a job below its prompt."""
    told = (f"seed {job.request.seed}", job.error_happened, job.id)
    return " · ".join(plain(each) for each in told if each)


def entry_facts(entry: Entry, path: object) -> Facts:
    """Each fact of a picture whose file is at this path."""
    state = (
        "in the trash"
        if entry.is_trashed
        else "missing: its file is gone"
        if entry.is_missing
        else ""
    )
    yield "File", plain(path)
    yield "State", state
    yield "Picture", f"{entry.format} {entry.width} × {entry.height}, {size(entry.size_bytes)}"
    yield "Visitor", plain(entry.owner)
    yield from _record_facts(entry.record)


def file_facts(
    record: Record, path: object, pixels: tuple[int, int] | None, size_bytes: int
) -> Facts:
    """Each fact of a picture in a file of its own; `pixels` are its width and height."""
    yield "File", plain(path)
    yield "Picture", f"{'' if pixels is None else f'{pixels[0]} × {pixels[1]}, '}{size(size_bytes)}"
    yield from _record_facts(record)


def _record_facts(record: Record) -> Facts:
    """Each fact of a record, empty where nothing is known."""
    yield "Id", plain(record.id)
    yield "Prompt", plain(record.prompt)
    yield "Negative", plain(record.negative_prompt)
    yield "Seed", _number(record.seed)
    yield (
        "Size",
        "" if None in {record.width, record.height} else f"{record.width} × {record.height}",
    )
    yield "Guidance", _number(record.guidance_scale)
    yield "Steps", _number(record.num_inference_steps)
    yield "Model", plain(record.model)
    yield "Space", plain(record.space)
    yield "Made", _made(record)
    yield "Tool", plain(" ".join((record.tool, record.versions.get(record.tool, ""))))
    yield from (
        (plain(name), plain(version))
        for name, version in record.versions.items()
        if name != record.tool
    )
    yield "Starred", "yes" if record.is_starred else ""
    yield "Tags", plain(", ".join(record.tags))
    yield from ((plain(name), plain(value)) for name, value in record.others)


def _number(number: float | None) -> str:
    return "" if number is None else digits(number)


def _made(record: Record) -> str:
    when = "" if record.made_at is None else local(record.made_at)
    took = "" if record.took_seconds is None else f"in {clock(record.took_seconds)}"
    return " ".join(part for part in (when, took) if part)


def job_facts(job: JobRecord) -> Facts:
    """Each fact of a job."""
    yield "Job", plain(job.id)
    yield "Stage", job.stage.value
    yield "Prompt", plain(job.request.prompt)
    yield "Negative", plain(job.request.negative_prompt)
    yield "Seed", str(job.request.seed)
    yield "Size", f"{job.request.width} × {job.request.height}"
    yield "Space", plain(job.space)
    yield "Asked", local(moment_of(job))
    yield "Happened", plain(job.error_happened)
    yield "Remedy", plain(job.error_remedy)
    yield "Visitor", plain(job.owner)


def entry_as_json(entry: Entry, path: object) -> dict[str, Any]:
    """Return all that is known of a picture whose file is at this path."""
    return told_of(entry, path) | {
        "made_at": entry.made_at.isoformat(),
        "owner": entry.owner,
        "is_trashed": entry.is_trashed,
        "is_missing": entry.is_missing,
    }


def file_as_json(
    record: Record, path: object, pixels: tuple[int, int] | None, size_bytes: int
) -> dict[str, Any]:
    """Return all that a file of its own says of its picture; `pixels` are its width and height."""
    width, height = pixels or (None, None)
    told = json.loads(record.as_json())
    return {"path": str(path), "record": told, "width": width, "height": height, "size": size_bytes}


def job_as_json(job: JobRecord) -> dict[str, Any]:
    """Return what is known of a job."""
    request = job.request
    return {
        "id": job.id,
        "stage": job.stage.value,
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "width": request.width,
        "height": request.height,
        "space": job.space,
        "created_at": moment_of(job).isoformat(),
        "owner": job.owner,
        "error": {
            "kind": job.error_kind,
            "happened": job.error_happened,
            "remedy": job.error_remedy,
        },
    }
