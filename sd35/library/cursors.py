"""Where a page of a list begins: after which moment and id. What comes back may have been written by anybody."""

import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Self

from sd35.library.words import plain_text

__all__ = ["Cursor"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list that is ordered by moment (seconds since 1970) and id; `str` is fit for an address."""

    made_at: float
    id: str

    def __str__(self) -> str:
        return urlsafe_b64encode(f"{self.made_at!r} {self.id}".encode()).decode("ascii").rstrip("=")

    @classmethod
    def read(cls, text: str | None) -> Self | None:
        """Return the place that this text says; `None` where it says none."""
        if not text:
            return None
        try:
            moment, _, id_ = urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8").partition(" ")
            place = cls(float(moment), plain_text(id_))
        except ValueError:
            return None
        return place if math.isfinite(place.made_at) else None
