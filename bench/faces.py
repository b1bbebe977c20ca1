"""What visitors ask, and how they know the answer: the page's Generate, `/infer`, the lean Space, the simple page."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.processes import ServerProcess

__all__ = ["BenchTarget", "Listener", "PageClient"]

LIMIT_SECONDS = 60

_FILE = rb'"(?:http://[^/"]+)?(/gradio_api/file=%s)"'


@dataclass(frozen=True, slots=True)
class Listener:
    """What can be asked for, and what is sent with it."""

    fn_index: int
    data: list[Any]


@dataclass(frozen=True, slots=True)
class BenchTarget:
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
    submit_listener: Callable[[str], Listener]
    preview: re.Pattern[bytes]
    final: re.Pattern[bytes]
    is_unmodified: bool = True
    watch_listener: Listener | None = None

    @classmethod
    def direct(cls, port: int) -> "BenchTarget":
        """The lean Space itself."""
        preview, final = re.compile(_FILE % rb"[^\"]+\.jpg"), re.compile(_FILE % rb"[^\"]+\.png")
        return cls("the Space itself", port, _infer(0), preview, final)

    @classmethod
    def simple(cls, program: ServerProcess) -> "BenchTarget":
        """The page that one would write first. Only the last message tells that its picture is the last."""
        preview = re.compile(_FILE % rb"[^\"]+")
        final = re.compile(rb'"process_completed".*' + preview.pattern, re.DOTALL)
        return cls(
            program.name,
            program.port,
            lambda prompt: Listener(0, [prompt]),
            preview,
            final,
            is_unmodified=False,
        )


def _infer(fn_index: int) -> Callable[[str], Listener]:
    return lambda prompt: Listener(fn_index, [prompt, "", 7, True, 1024, 1024, 4.5, 40])


@dataclass(frozen=True, slots=True)
class PageClient:
    """The studio's page, as its configuration tells it to a browser."""

    port: int
    _dependencies: list[dict[str, Any]] = field(repr=False)
    _values: dict[int, Any] = field(repr=False)

    @classmethod
    def of(cls, program: ServerProcess) -> "PageClient":
        """Read the configuration."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{program.port}/config", timeout=LIMIT_SECONDS
        ) as answer:
            config = json.load(answer)
        values = {
            component["id"]: component["props"].get("value") for component in config["components"]
        }
        return cls(program.port, config["dependencies"], values)

    @property
    def generate(self) -> BenchTarget:
        """The Generate button. Previews are within the messages, and the only file is the final picture."""
        preview, final = re.compile(rb"data:image/jpeg;base64,"), re.compile(_FILE % rb"[^\"]+")
        return BenchTarget(
            "the page", self.port, self.submit_listener, preview, final, watch_listener=self.watch
        )

    @property
    def watch(self) -> Listener:
        """What shows, moment by moment, what was asked for."""
        return self._listener(self._dependency("watch_jobs"))

    @property
    def infer(self) -> BenchTarget:
        """The endpoint for programs."""
        preview = re.compile(_FILE % rb"[^\"]+/preview-\d+\.jpg")
        final = re.compile(_FILE % rb"(?:(?!/preview-\d)[^\"])+")
        return BenchTarget(
            "`/infer`", self.port, _infer(self._dependency("infer")["id"]), preview, final
        )

    def submit_listener(self, prompt: str) -> Listener:
        """The Generate button, after this prompt was typed."""
        listener = self._listener(self._dependency("submit"))
        return Listener(listener.fn_index, [prompt, *listener.data[1:]])

    @property
    def load_listeners(self) -> list[Listener]:
        """What a browser asks for when the page is there, all at once."""
        return [
            self._listener(dependency)
            for dependency in self._dependencies
            if [e for _, e in dependency["targets"]] == ["load"]
        ]

    def follow_ups(self, listeners: list[Listener]) -> list[Listener]:
        """What a browser asks for after these, one after another."""
        return [
            follow_up
            for listener in listeners
            for follow_up in self._iter_follow_ups(listener.fn_index)
        ]

    def _iter_follow_ups(self, fn_index: int) -> Iterator[Listener]:
        for dependency in self._dependencies:
            if dependency.get("trigger_after") == fn_index:
                yield self._listener(dependency)
                yield from self._iter_follow_ups(dependency["id"])

    def _dependency(self, name: str) -> dict[str, Any]:
        return next(
            dependency for dependency in self._dependencies if dependency["api_name"] == name
        )

    def _listener(self, dependency: dict[str, Any]) -> Listener:
        return Listener(
            dependency["id"],
            [self._values.get(component_id) for component_id in dependency["inputs"]],
        )
