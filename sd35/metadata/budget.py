"""Budget for reading one file: a small hostile file can't keep a processor or the memory busy.

All readers of a file share one budget, over everything that they parse, walk and join. What they
return is limited as well, by `GenerationMetadata.truncated`.
"""

from typing import Final

__all__ = ["MAX_STEPS", "Budget", "BudgetExceededError"]

# ComfyUI's workflow of 2,000 nodes takes some 300,000.
MAX_STEPS: Final = 800_000

_CHARACTERS_PER_STEP: Final = 16

# Each of them begins a value of JSON, unless it is part of a text. Lists and objects take the most
# time and memory: some 100 bytes even when they are empty.
_JSON_MARK_STEPS: Final = {",": 1, ":": 1, "[": 5, "{": 5}


class BudgetExceededError(Exception):
    """A file would take more than `MAX_STEPS` to read."""


class Budget:
    """Steps that reading a file may still take: a step is one link, input, value or text part."""

    def __init__(self) -> None:
        self.remaining_steps = MAX_STEPS

    def spend(self, steps: int = 1) -> None:
        """Take these steps, before what they are needed for is done.

        Raises:
            BudgetExceededError: there are fewer of them.
        """
        self.remaining_steps -= steps
        if self.remaining_steps < 0:
            raise BudgetExceededError

    def spend_on_text(self, length: int) -> None:
        """Take the steps for copying or scanning this many characters once."""
        self.spend(1 + length // _CHARACTERS_PER_STEP)

    def spend_on_json(self, text: str) -> None:
        """Take the steps for parsing a text as JSON."""
        self.spend(sum(text.count(mark) * steps for mark, steps in _JSON_MARK_STEPS.items()))
        self.spend_on_text(len(text))
