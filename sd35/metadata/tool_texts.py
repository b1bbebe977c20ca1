"""Texts of one image file, as the readers of other tools' metadata get them."""

from collections.abc import Iterator, Mapping
from typing import Any

from sd35.metadata.budget import Budget
from sd35.metadata.parsing import parse_json_object

__all__ = ["ToolTexts"]


class ToolTexts(Mapping[str, str]):
    """Texts by key in any case, as in `EmbeddedTexts`, with the budget for reading them."""

    def __init__(self, texts: Mapping[str, str], budget: Budget) -> None:
        budget.spend(len(texts))  # readers look at each of them
        self._texts = texts
        self._keys = {key.lower(): key for key in texts}
        self._json_objects: dict[str, dict[str, Any]] = {}
        self.budget = budget

    def __getitem__(self, key: str) -> str:
        return self._texts[key if key in self._texts else self._keys[key.lower()]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def json_object(self, text: str) -> dict[str, Any]:
        """Return the JSON object in one of the texts, parsed once; empty for anything else.

        Raises:
            BudgetExceededError: it may hold more values than may be read.
        """
        if text not in self._json_objects:
            self.budget.spend_on_json(text)
            self._json_objects[text] = parse_json_object(text)
        return self._json_objects[text]
