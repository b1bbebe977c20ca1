"""The prompts of an owner's images as they were typed, and images that would be made once more."""

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Final

from sd35.core.request import GenerationRequest
from sd35.library.repository import SELECT_ENTRY, Entry, checked_count, entry_from_row
from sd35.library.schema import sqlite_seed
from sd35.library.text_index import fts_phrase, sqlite_text

__all__ = [
    "ModelIdentity",
    "UsedPrompt",
    "count_pictures",
    "find_identical",
    "find_prompts",
    "find_tags",
]

_IS_SHOWN: Final = "trashed_at IS NULL AND is_missing = 0"


@dataclass(frozen=True, slots=True)
class UsedPrompt:
    """A prompt that was used: of images in the library, or of a job without one.

    Attributes:
        used_at: the last time, in seconds since 1970.
        picture_id: an image of the prompt; empty if it has none.
        picture_count: number of its images that are neither in the trash nor missing.
        job_id: the newest job without an image, unless an image is newer.
    """

    prompt: str
    used_at: float
    picture_id: str = ""
    picture_count: int = 0
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model of an image, as its metadata names it and its Space."""

    model: str
    space: str
    is_demo: bool


def find_prompts(
    connection: Connection, terms: Sequence[str], owner: str, limit: int
) -> list[UsedPrompt]:
    """Return the prompts with words that begin like these, the last used first.

    Their images aren't counted: see `count_pictures`.
    """
    condition = "owner = ?"
    params: list[Any] = [owner]
    if terms:
        # The other column has tags and names of files, which aren't part of a prompt.
        matches = " AND ".join(fts_phrase(term, is_prefix=True) for term in terms)
        condition += " AND number IN (SELECT rowid FROM fts_prefixes WHERE fts_prefixes MATCH ?)"
        params.append(f"{{prompt}} : ({matches})")
    # The index `pictures_prompts` has all that is read here, in the order of the groups. The ID is
    # that of the row with the maximum, as SQLite promises.
    sql = (
        f"SELECT typed_prompt, max(made_at), id FROM pictures WHERE {condition}"  # noqa: S608
        " AND typed_prompt != '' GROUP BY typed_prompt ORDER BY 2 DESC LIMIT ?"
    )
    rows = connection.execute(sql, (*params, limit))
    return [UsedPrompt(prompt, used_at, picture_id) for prompt, used_at, picture_id in rows]


def count_pictures(connection: Connection, prompt: str, owner: str) -> tuple[int, str]:
    """Return the number of a prompt's images, neither trashed nor missing, and the newest one."""
    count, _, picture_id = connection.execute(
        "SELECT count(*), max(made_at), id FROM pictures"  # noqa: S608  # no values
        f" WHERE owner = ? AND typed_prompt = ? AND {_IS_SHOWN}",
        (owner, sqlite_text(prompt)),
    ).fetchone()
    return checked_count(count), picture_id or ""


def find_tags(connection: Connection, owner: str, limit: int) -> list[str]:
    """Return the tags of an owner's images, the most used first."""
    rows = connection.execute(
        "SELECT tag FROM tags JOIN pictures ON number = picture WHERE owner = ?"
        " GROUP BY tag ORDER BY count(*) DESC LIMIT ?",
        (owner, limit),
    )
    return [tag for (tag,) in rows]


def find_identical(
    connection: Connection, request: GenerationRequest, identity: ModelIdentity, owner: str
) -> Entry | None:
    """Return an owner's image that a request would make once more; one in the trash comes last."""
    # Records don't have what the Space of an image has no parameter for.
    rows = connection.execute(
        f"{SELECT_ENTRY} WHERE owner = ? AND seed = ? AND prompt = ? AND negative_prompt = ?"
        " AND (steps IS NULL OR steps = ?) AND (guidance IS NULL OR guidance = ?)"
        " AND (model, space, is_demo) = (?, ?, ?)"
        " AND is_missing = 0 ORDER BY trashed_at IS NOT NULL, made_at DESC",
        (
            owner,
            sqlite_seed(request.seed),
            sqlite_text(request.prompt),
            sqlite_text(request.negative_prompt),
            request.num_inference_steps,
            request.guidance_scale,
            sqlite_text(identity.model),
            sqlite_text(identity.space),
            identity.is_demo,
        ),
    )
    size = request.width, request.height
    for entry in map(entry_from_row, rows):
        if (entry.metadata.width, entry.metadata.height) == size:
            return entry
    return None
