"""What a page shows on its stage: the newest images, one that was selected, or a set."""

from dataclasses import dataclass
from typing import Final, Self

__all__ = ["LIVE", "Focus"]

_IMAGE_PREFIX: Final = "="
_SET_PREFIX: Final = "#"


@dataclass(frozen=True, slots=True)
class Focus:
    """A job in focus, as the text that a page keeps.

    Attributes:
        job_id: id of the job; empty for the newest one.
        is_pinned: whether it stays in focus whatever else runs, as the visitor selected it.
        shows_set: whether a pinned job stands for its whole set.
    """

    job_id: str = ""
    is_pinned: bool = False
    shows_set: bool = False

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the focus of a text, which comes from a browser and may be anything."""
        if not isinstance(text, str):
            return cls()
        prefix = text[:1]
        is_pinned = prefix in {_IMAGE_PREFIX, _SET_PREFIX}
        return cls(text[1:] if is_pinned else text, is_pinned, prefix == _SET_PREFIX)

    @classmethod
    def image(cls, job_id: str) -> Self:
        """Return the focus on the image of one job."""
        return cls(job_id, is_pinned=True)

    @classmethod
    def whole_set(cls, job_id: str) -> Self:
        """Return the focus on the set that a job is in."""
        return cls(job_id, is_pinned=True, shows_set=True)

    def __str__(self) -> str:
        if not self.is_pinned:
            return self.job_id
        return f"{_SET_PREFIX if self.shows_set else _IMAGE_PREFIX}{self.job_id}"


LIVE: Final = Focus()
