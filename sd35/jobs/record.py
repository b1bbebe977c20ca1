"""A job's record, and how it is kept as a row: of what another version of this program wrote, what is understood."""

import datetime as dt
import json
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, Final

from sd35.core.request import GenerationRequest
from sd35.library.text_index import sqlite_text

__all__ = ["COLUMNS", "JobRecord", "Stage", "job_from_row", "to_column"]


class Stage(Enum):
    """How far a job has come."""

    PENDING = "waiting"
    RUNNING = "running"
    COMPLETED = "saved"
    CANCELLED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @classmethod
    def parse(cls, text: str) -> "Stage":
        """The stage that is kept as this; one that a newer version of the program knows is an end without a picture."""
        return next((stage for stage in cls if stage.value == text), cls.CANCELLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job, as it is kept. Moments are seconds since 1970.

    Attributes:
        owner: the key of who asked; empty for who runs the program.
        asked: as it was typed.
        request: as it was sent, with the seed that was drawn.
        space: where it was, or is to be, made.
        position: in the line; the smallest is next.
        is_held: it waits until somebody says that it goes on.
        error_kind: of the error that ended it, as are `error_happened` and `error_remedy`; empty
            without one.
        retry_at: when it makes sense to try again.
        stopped: what stopping it did: an outcome's name.
        reason: why it was stopped, if nobody had asked for it.
        picture_id: of the picture that came of it.
        runner: the instance of this program whose job it is.
        is_dismissed: nobody wants to be told of it any more.
        by_program: a program asked for it, and has gone away with the program that ran it.

    """

    id: str
    owner: str
    asked: GenerationRequest
    request: GenerationRequest
    space: str
    created_at: float
    runner: str
    position: float
    stage: Stage = Stage.PENDING
    is_held: bool = False
    started_at: float | None = None
    ended_at: float | None = None
    error_kind: str = ""
    error_happened: str = ""
    error_remedy: str = ""
    retry_at: dt.datetime | None = None
    stopped: str = ""
    reason: str = ""
    picture_id: str | None = None
    is_dismissed: bool = False
    by_program: bool = False


COLUMNS: Final = tuple(field.name for field in fields(JobRecord))
"""Of a job's fields, and of the columns that hold them."""


def to_column(value: object) -> object:
    """Return a value of a job's field as its column holds it."""
    match value:
        case GenerationRequest():
            return json.dumps(asdict(value))
        case Stage():
            return value.value
        case dt.datetime():
            return value.isoformat()
        case str():
            return sqlite_text(value)
        case _:
            return value


def job_from_row(row: tuple[Any, ...]) -> JobRecord:
    """Return the job whose columns hold this."""
    values = dict(zip(COLUMNS, row, strict=True))
    values["asked"], values["request"] = (
        _parse_request(values["asked"]),
        _parse_request(values["request"]),
    )
    values["stage"] = Stage.parse(values["stage"])
    values["retry_at"] = (
        None if values["retry_at"] is None else dt.datetime.fromisoformat(values["retry_at"])
    )
    for name in ("is_held", "is_dismissed", "by_program"):
        values[name] = bool(values[name])
    return JobRecord(**values)


def _parse_request(text: str) -> GenerationRequest:
    """The request that was kept, of this or of another version of the program: what isn't known is as if unset."""
    payload = json.loads(text)
    defaults = {field.name: field.default for field in fields(GenerationRequest)}
    valid_fields = {
        name: payload[name]
        for name in defaults
        if name in payload and _has_type_of(payload[name], defaults[name])
    }
    return GenerationRequest(**{"prompt": "", **valid_fields})


def _has_type_of(value: object, default: object) -> bool:
    match default:
        case bool():
            return isinstance(value, bool)
        case int():
            return isinstance(value, int) and not isinstance(value, bool)
        case float():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, str)
