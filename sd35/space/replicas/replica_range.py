"""How many replicas there are."""

import re
from dataclasses import dataclass
from typing import Final, Self

__all__ = ["ReplicaRange"]

MAX_REPLICAS: Final = 64


@dataclass(frozen=True, slots=True)
class ReplicaRange:
    """Number of replicas: as many as the queue needs, from `minimum` to `maximum`."""

    minimum: int
    maximum: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range of a text such as `4` or `1-4`.

        Raises:
            ValueError: it is none.
        """
        match = re.fullmatch(r"(\d{1,3})(?:[-–](\d{1,3}))?", text.strip(), re.ASCII)
        if match is None:
            raise ValueError(f"{text} is neither a number nor a range such as 1-4")
        minimum = int(match[1])
        maximum = int(match[2] or minimum)
        if not 1 <= minimum <= maximum <= MAX_REPLICAS:
            raise ValueError(f"{text} is not between 1 and {MAX_REPLICAS}")
        return cls(minimum, maximum)

    def __str__(self) -> str:
        return str(self.maximum) if self.is_fixed else f"{self.minimum}–{self.maximum}"

    @property
    def is_fixed(self) -> bool:
        """Return whether the number never changes."""
        return self.minimum == self.maximum
