"""Endpoints that visitors call, and how they recognize the answers."""

import json
import re
import secrets
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
    """One listener of a Gradio app, and the data that is sent to it."""

    fn_index: int
    data: list[Any]
    event_data: Any = None


@dataclass(frozen=True, slots=True)
class BenchTarget:
    """One endpoint that generates images.

    Attributes:
        name: in the tables.
        submit_listener: takes a prompt; the listener that is called with it.
        preview: matches a message with a preview; its group, if it has one, is the path of a file.
        final: matches the message with the path of the final image.
        is_unmodified: the image data is the Space's, byte by byte.
        watch_listener: shows the result, if `submit_listener` only takes the request.
    """

    name: str
    port: int
    submit_listener: Callable[[str], Listener]
    preview: re.Pattern[bytes]
    final: re.Pattern[bytes]
    is_unmodified: bool = True
    watch_listener: Listener | None = None

    @classmethod
    def of_space(cls, port: int) -> "BenchTarget":
        """Return the fake Space itself."""
        preview = re.compile(_FILE % rb"[^\"]+\.jpg")
        final = re.compile(_FILE % rb"[^\"]+\.png")
        return cls("the Space itself", port, _infer(0), preview, final)

    @classmethod
    def of_simple_page(cls, program: ServerProcess) -> "BenchTarget":
        """Return the simple page; only its last message tells that an image is the final one."""
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
    """The studio's page, as its configuration describes it to a browser."""

    port: int
    _dependencies: list[dict[str, Any]] = field(repr=False)
    _values: dict[int, Any] = field(repr=False)

    @classmethod
    def of(cls, program: ServerProcess) -> "PageClient":
        """Read the configuration of a running app."""
        address = f"http://127.0.0.1:{program.port}/config"
        with urllib.request.urlopen(address, timeout=LIMIT_SECONDS) as response:
            config = json.load(response)
        values = {
            component["id"]: component["props"].get("value") for component in config["components"]
        }
        return cls(program.port, config["dependencies"], values)

    @property
    def generate(self) -> BenchTarget:
        """The Generate button: its messages hold the previews, its only file is the image."""
        preview = re.compile(rb"data:image/jpeg;base64,")
        final = re.compile(_FILE % rb"[^\"]+")
        return BenchTarget(
            "the page", self.port, self.submit_listener, preview, final, watch_listener=self.watch
        )

    @property
    def watch(self) -> Listener:
        """The listener that shows the state of a job as it changes."""
        return self._listener(self._dependency("watch_jobs"))

    @property
    def infer(self) -> BenchTarget:
        """The endpoint for programs."""
        preview = re.compile(_FILE % rb"[^\"]+/preview-\d+\.jpg")
        final = re.compile(_FILE % rb"(?:(?!/preview-\d)[^\"])+")
        submit_listener = _infer(self._dependency("infer")["id"])
        return BenchTarget("`/infer`", self.port, submit_listener, preview, final)

    def submit_listener(self, prompt: str) -> Listener:
        """Return the listener of the Generate button, with this prompt in the form."""
        listener = self._listener(self._dependency("submit"))
        fields = self._listener(self._dependency("validate_form")).data
        submission = {"key": secrets.token_hex(16), "values": [prompt, *fields[1:]]}
        return Listener(listener.fn_index, listener.data, {"submissions": [submission]})

    @property
    def load_listeners(self) -> list[Listener]:
        """The listeners that a browser calls at once when it has loaded the page."""
        return [
            self._listener(dependency)
            for dependency in self._dependencies
            if dependency["backend_fn"] and "load" in [event for _, event in dependency["targets"]]
        ]

    def follow_ups(self, listeners: list[Listener]) -> list[Listener]:
        """Return the listeners that a browser calls after these, one after another."""
        return [
            follow_up
            for listener in listeners
            for follow_up in self._iter_follow_ups(listener.fn_index)
        ]

    def _iter_follow_ups(self, fn_index: int) -> Iterator[Listener]:
        for dependency in self._dependencies:
            if dependency["backend_fn"] and dependency.get("trigger_after") == fn_index:
                yield self._listener(dependency)
                yield from self._iter_follow_ups(dependency["id"])

    def _dependency(self, name: str) -> dict[str, Any]:
        return next(item for item in self._dependencies if item["api_name"] == name)

    def _listener(self, dependency: dict[str, Any]) -> Listener:
        data = [self._values.get(component_id) for component_id in dependency["inputs"]]
        return Listener(dependency["id"], data)
