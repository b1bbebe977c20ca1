"""All prompts that somebody has used: of images, and of jobs that wait, failed or were stopped."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from sqlite3 import Connection
from typing import Final

from sd35.core.origin import source_prompt
from sd35.jobs.record import JobRecord
from sd35.jobs.repository import list_without_image
from sd35.library.library import Library
from sd35.library.prompt_history import UsedPrompt, count_pictures, find_prompts
from sd35.library.text_index import fold

__all__ = ["PromptHistory", "PromptPage"]

MAX_JOBS: Final = 500  # without an image, in which prompts are searched
MAX_TERMS: Final = 20
MAX_SEARCH_LENGTH: Final = 400

_WORD: Final = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class PromptPage:
    """Some of the prompts that a search finds, and whether there are more."""

    prompts: tuple[UsedPrompt, ...]
    has_more: bool


class PromptHistory:
    """The prompts of a library's images and jobs. Raises LibraryError if they can't be read."""

    def __init__(self, library: Library) -> None:
        self._database = library.database

    def search(self, text: str, owner: str, limit: int, offset: int = 0) -> PromptPage:
        """Return an owner's prompts with words that begin like those of a text, newest first."""
        terms = _WORD.findall(text[:MAX_SEARCH_LENGTH])[:MAX_TERMS]
        # A search for signs alone, of which the index has none, finds nothing.
        if text.strip() and not terms:
            return PromptPage((), has_more=False)
        end = offset + limit
        with self._database.read_transaction() as connection:
            of_pictures = find_prompts(connection, terms, owner, end + 1)
            of_jobs = _job_prompts(list_without_image(connection, owner, MAX_JOBS), terms)
            prompts = _merge(of_pictures, of_jobs)
            page = [_count(connection, used, owner) for used in prompts[offset:end]]
        return PromptPage(tuple(page), has_more=len(prompts) > end)


def _job_prompts(jobs: Iterable[JobRecord], terms: Sequence[str]) -> Iterator[UsedPrompt]:
    """Yield the prompts of jobs, newest first, that have words that begin like these."""
    folded_terms = [fold(term) for term in terms]
    for job in jobs:
        prompt = source_prompt(job.origin.prompt_sources) or job.original_request.prompt
        if prompt and all(_has_word(fold(prompt), term) for term in folded_terms):
            yield UsedPrompt(prompt, job.created_at, job_id=job.id)


def _has_word(prompt: str, beginning: str) -> bool:
    # As in the index of images: of the scripts without spaces, each character is a word.
    if not beginning.isascii():
        return beginning in prompt
    return any(word.startswith(beginning) for word in _WORD.findall(prompt))


def _merge(of_pictures: list[UsedPrompt], of_jobs: Iterable[UsedPrompt]) -> list[UsedPrompt]:
    """Return each prompt once, the last used first."""
    prompts = {used.prompt: used for used in of_pictures}
    for used in of_jobs:
        of_picture = prompts.get(used.prompt)
        if of_picture is None or of_picture.used_at < used.used_at:
            picture_id = "" if of_picture is None else of_picture.picture_id
            prompts[used.prompt] = replace(used, picture_id=picture_id)
    return sorted(prompts.values(), key=lambda used: -used.used_at)


def _count(connection: Connection, used: UsedPrompt, owner: str) -> UsedPrompt:
    count, picture_id = count_pictures(connection, used.prompt, owner)
    return replace(used, picture_count=count, picture_id=picture_id or used.picture_id)
