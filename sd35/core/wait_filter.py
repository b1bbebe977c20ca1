"""Filter of what a log says about a wait."""

import re
from typing import Final

__all__ = ["WaitFilter"]

SECONDS: Final = 10.0

_NUMBER: Final = re.compile(r"\d+(\.\d+)?")


class WaitFilter:
    """Filter that passes each wait once, and again every ten seconds while its numbers change."""

    def __init__(self) -> None:
        self._reason = ""
        self._seconds = 0.0

    def is_news(self, reason: str, seconds: float) -> bool:
        """Return whether to write a reason such as "Downloading the model: 3.0 of 27.6 GB".

        `seconds` is when, by a clock that goes back if another wait begins.
        """
        reason = _NUMBER.sub("", reason)
        if reason == self._reason and 0 <= seconds - self._seconds < SECONDS:
            return False
        self._reason = reason
        self._seconds = seconds
        return True
