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
        minimum, maximum = (0, 0) if match is None else (int(match[1]), int(match[2] or match[1]))
        if not 1 <= minimum <= maximum <= MAX_REPLICAS:
            raise ValueError(
                f"{text} is no number from 1 to {MAX_REPLICAS}, and no range such as 1-4"
            )
        return cls(minimum, maximum)

    def __str__(self) -> str:
        return str(self.maximum) if self.is_fixed else f"{self.minimum}–{self.maximum}"

    @property
    def is_fixed(self) -> bool:
        """Return whether the number never changes."""
        return self.minimum == self.maximum
