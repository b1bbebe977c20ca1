"""What visitors ask, and how they know the answer: the page's Generate, `/infer`, the lean Space, the simple page."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.processes import Program

__all__ = ["Face", "Listener", "Page"]

LIMIT_SECONDS = 60

_FILE = rb'"(?:http://[^/"]+)?(/gradio_api/file=%s)"'


@dataclass(frozen=True, slots=True)
class Listener:
    """What can be asked for, and what is sent with it."""

    fn_index: int
    data: list[Any]


@dataclass(frozen=True, slots=True)
class Face:
    """One way to a picture.

    Attributes:
        name: what the tables call it.
        port: where it is.
        asked: the listener, given a prompt.
        preview: finds a preview in a message; its group, if it has one, is the path that it is
            fetched by.
        final: finds the path of the final picture.
        is_untouched: whether the final picture's image is the Space's own bytes.
        shown: the listener that shows it, where the one that is asked only takes the request.

    """

    name: str
    port: int
    asked: Callable[[str], Listener]
    preview: re.Pattern[bytes]
    final: re.Pattern[bytes]
    is_untouched: bool = True
    shown: Listener | None = None

    @classmethod
    def direct(cls, port: int) -> "Face":
        """The lean Space itself."""
        preview, final = re.compile(_FILE % rb"[^\"]+\.jpg"), re.compile(_FILE % rb"[^\"]+\.png")
        return cls("the Space itself", port, _infer(0), preview, final)

    @classmethod
    def simple(cls, program: Program) -> "Face":
        """The page that one would write first. Only the last message tells that its picture is the last."""
        preview = re.compile(_FILE % rb"[^\"]+")
        final = re.compile(rb'"process_completed".*' + preview.pattern, re.DOTALL)
        return cls(
            program.name,
            program.port,
            lambda prompt: Listener(0, [prompt]),
            preview,
            final,
            is_untouched=False,
        )


def _infer(fn_index: int) -> Callable[[str], Listener]:
    return lambda prompt: Listener(fn_index, [prompt, "", 7, True, 1024, 1024, 4.5, 40])


@dataclass(frozen=True, slots=True)
class Page:
    """The studio's page, as its configuration tells it to a browser."""

    port: int
    _dependencies: list[dict[str, Any]] = field(repr=False)
    _values: dict[int, Any] = field(repr=False)

    @classmethod
    def of(cls, program: Program) -> "Page":
        """Read the configuration."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{program.port}/config", timeout=LIMIT_SECONDS
        ) as answer:
            config = json.load(answer)
        values = {each["id"]: each["props"].get("value") for each in config["components"]}
        return cls(program.port, config["dependencies"], values)

    @property
    def generate(self) -> Face:
        """The Generate button. Previews are within the messages, and the only file is the final picture."""
        preview, final = re.compile(rb"data:image/jpeg;base64,"), re.compile(_FILE % rb"[^\"]+")
        return Face("the page", self.port, self.generate_with, preview, final, shown=self.watch)

    @property
    def watch(self) -> Listener:
        """What shows, moment by moment, what was asked for."""
        return self._listener(self._named("_watch"))

    @property
    def infer(self) -> Face:
        """The endpoint for programs."""
        preview = re.compile(_FILE % rb"[^\"]+/preview-\d+\.jpg")
        final = re.compile(_FILE % rb"(?:(?!/preview-\d)[^\"])+")
        return Face("`/infer`", self.port, _infer(self._named("infer")["id"]), preview, final)

    def generate_with(self, prompt: str) -> Listener:
        """The Generate button, after this prompt was typed."""
        asked = self._listener(self._named("_submit"))
        return Listener(asked.fn_index, [prompt, *asked.data[1:]])

    @property
    def loads(self) -> list[Listener]:
        """What a browser asks for when the page is there, all at once."""
        return [
            self._listener(each)
            for each in self._dependencies
            if [e for _, e in each["targets"]] == ["load"]
        ]

    def after(self, asked: list[Listener]) -> list[Listener]:
        """What a browser asks for after these, one after another."""
        return [found for each in asked for found in self._following(each.fn_index)]

    def _following(self, fn_index: int) -> Iterator[Listener]:
        for each in self._dependencies:
            if each.get("trigger_after") == fn_index:
                yield self._listener(each)
                yield from self._following(each["id"])

    def _named(self, name: str) -> dict[str, Any]:
        return next(each for each in self._dependencies if each["api_name"] == name)

    def _listener(self, dependency: dict[str, Any]) -> Listener:
        return Listener(dependency["id"], [self._values.get(each) for each in dependency["inputs"]])
