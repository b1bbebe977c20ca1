"""From the messages of Gradio's queue to events. Pure: messages are fed in one at a time."""

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sd35.client.contract import Contract, Json
from sd35.client.error_parsing import parse_run_error, sanitize
from sd35.client.json_parsing import parse_json
from sd35.client.outputs import find_picture, is_skipped, parse_seed
from sd35.client.sse import MAX_EVENT_BYTES
from sd35.core.errors import (
    GenerationFailedError,
    ProtocolError,
    QueueFullError,
    SessionLostError,
    SpaceStoppedError,
    StreamInterruptedError,
)
from sd35.core.events import (
    Event,
    Finished,
    Notice,
    Preview,
    Progress,
    Queued,
    RemotePicture,
    Started,
)

__all__ = ["RunParser", "apply_diff"]

# What code that expects another structure raises.
_STRUCTURE_ERRORS: Final = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError),
)

_CANCELLATION_PATTERN: Final = re.compile(r"\s*$|Cancelled (?:by|via) cancel scope\b")

MAX_LEVEL_CHARACTERS: Final = 20  # of the level of a notice, such as `warning`

# Each edit of a diff copies what it changes: many edits of a long output would take minutes.
MAX_COPIED_BYTES: Final = 1 << 28


class RunParser:
    """Parser of the messages of one run, from `estimation` to `process_completed`."""

    def __init__(self, contract: Contract, event_id: str | None) -> None:
        self._contract = contract
        # The run's id. If the answer to the join was lost, the id of the first message.
        self.event_id = event_id
        self._outputs: list[Any] | None = None
        self._output_bytes = 0  # at least the size of the outputs as JSON
        self._last_picture: RemotePicture | None = None
        self._seed: int | None = None
        self._has_unknown_seed = False
        self._has_gap = False
        self.has_messages = False  # whether any message of this run has arrived
        self.has_started = False
        self.has_ended = False  # whether the last message has arrived
        self.is_result_preview = False  # whether the run ended without an image but its previews

    def feed(self, payload: bytes) -> tuple[Event, ...]:
        """Return the events in one message, the JSON of a server-sent event.

        Raises the error of a run that has failed.
        """
        try:
            message = parse_json(payload)
        except ValueError:
            raise ProtocolError("The Space sent a message that isn't JSON.") from None
        if not isinstance(message, dict) or not self._is_own_event(message.get("event_id")):
            return ()
        self._output_bytes += len(payload)
        try:
            return self._parse_message(message)
        except _STRUCTURE_ERRORS:
            # Without the cause: a KeyError, for example, repeats words of the Space.
            raise ProtocolError("The Space sent a message that can't be understood.") from None

    def mark_gap(self) -> None:
        """Note that messages were lost, so that diffs can't be applied any more."""
        self._has_gap = True
        # A lost message may have told another one.
        self._seed = None
        self._has_unknown_seed = self._contract.seed_output is not None
        self._outputs = None

    def _is_own_event(self, event_id: object) -> bool:
        # A stream carries all runs of its session; messages without an id concern all of them.
        if event_id is None:
            return True
        if self.event_id is None and isinstance(event_id, str):
            self.event_id = event_id
        self.has_messages = self.has_messages or event_id == self.event_id
        return event_id == self.event_id

    def _parse_message(self, message: Mapping[str, Any]) -> tuple[Event, ...]:
        match message.get("msg"):
            case "progress":
                return _parse_progress(message.get("progress_data"))
            case "process_generating":
                return self._parse_preview(message)
            case "estimation":
                rank = _parse_count(message.get("rank"))
                queue_size = _parse_count(message.get("queue_size"))
                eta = _parse_seconds(message.get("rank_eta"))
                return () if rank is None else (Queued(rank, queue_size or rank + 1, eta),)
            case "process_starts":
                self.has_started = True
                return (Started(_parse_seconds(message.get("eta"))),)
            case "log":
                return _parse_notice(message)
            case _:
                return self._parse_end(message)

    def _parse_end(self, message: Mapping[str, Any]) -> tuple[Event, ...]:
        match message.get("msg"):
            case "process_completed":
                return (self._parse_completed(message),)
            case (
                "unexpected_error"
                | "server_stopped"
                | "Server stopped unexpectedly."
                | "queue_full"
                | "close_stream"
            ):
                self._raise_stream_error(message)
        return ()  # heartbeats, and what later versions may add

    def _parse_preview(self, message: Mapping[str, Any]) -> tuple[Preview, ...]:
        self.has_started = True
        if self._has_gap or not message.get("success", True):
            return ()  # the reason follows in process_completed
        output_data = (message.get("output") or {}).get("data")
        if output_data is None:
            return ()
        try:
            picture = self._apply_output(list(output_data))
        except (ProtocolError, *_STRUCTURE_ERRORS):
            # The last message has the whole result: a preview is no reason to lose it.
            self.mark_gap()
            return ()
        # A generator may yield the same image again, with another seed or text beside it.
        if picture is None or picture == self._last_picture:
            return ()
        self._last_picture = picture
        return (Preview(picture),)

    def _apply_output(self, output_data: list[Json]) -> RemotePicture | None:
        """Update the outputs, and return their image.

        Raises:
            ProtocolError: the edits don't apply, or the outputs grow beyond the limit.
        """
        # The first message has the outputs themselves; in protocols after sse_v1, the later ones
        # have the edits to the previous outputs.
        if self._outputs is None or not self._contract.sends_diffs:
            self._outputs = output_data
        else:
            self._check_growth(sum(map(len, output_data)))
            self._outputs = [
                apply_diff(old_value, edits)
                for old_value, edits in zip(self._outputs, output_data, strict=True)
            ]
        self._read_seed(self._outputs)
        return find_picture(self._outputs[self._contract.image_output])

    def _check_growth(self, edit_count: int) -> None:
        """Limit the size of outputs that grow message by message, and the work of changing them."""
        limit_bytes = min(MAX_EVENT_BYTES, MAX_COPIED_BYTES // max(1, edit_count))
        if self._output_bytes > limit_bytes:
            self._output_bytes = len(orjson.dumps(self._outputs))
        if self._output_bytes > limit_bytes:
            raise ProtocolError("The Space sent outputs that are too large.")

    def _read_seed(self, outputs: list[Json]) -> None:
        """Note the seed in these outputs, unless they leave it as it was."""
        index = self._contract.seed_output
        if index is not None and index < len(outputs) and not is_skipped(outputs[index]):
            self._seed = parse_seed(outputs[index])
            self._has_unknown_seed = self._seed is None

    def _parse_completed(self, message: Mapping[str, Any]) -> Finished:
        self.has_ended = True
        output = message.get("output") or {}
        if not message.get("success"):
            raise parse_run_error(output.get("error"), output.get("title"))
        # Gradio's /cancel ends a run as a success without data (`cancel_event` in its routes.py).
        if not output.get("data"):
            raise GenerationFailedError(
                "The job was cancelled at the Space before it was finished.", "Generate again."
            )
        outputs = list(output["data"])
        picture = find_picture(outputs[self._contract.image_output])
        if picture is None:
            # The function's last outputs leave the image as it was, or clear it.
            picture = self._last_picture
            self.is_result_preview = True
        if picture is None:
            raise GenerationFailedError("The Space returned no image.")
        self._read_seed(outputs)
        return Finished(picture, self._seed, has_unknown_seed=self._has_unknown_seed)

    def _raise_stream_error(self, message: Mapping[str, Any]) -> None:
        # An unknown session is reported within the stream, whose status 200 has been sent by then.
        if message.get("session_not_found"):
            raise SessionLostError("The Space no longer knows this job; it may have restarted.")
        if _is_server_stop(message):
            self.has_ended = True
            raise SpaceStoppedError("The Space was stopped or restarted during the job.")
        # Gradio sends it after the last run of a session, so that a result should have come before.
        if message["msg"] == "close_stream":
            raise StreamInterruptedError("The Space closed the stream before the job ended.")
        self.has_ended = True
        if message["msg"] == "queue_full":
            raise QueueFullError("The Space's queue is full.")
        raise parse_run_error(message.get("message"))


def _is_server_stop(message: Mapping[str, Any]) -> bool:
    """Return whether the server was stopped, or is being stopped."""
    # Versions of Gradio differ in whether they send the name or the text of this message.
    if message["msg"] in {"server_stopped", "Server stopped unexpectedly."}:
        return True
    # A server that shuts down cancels its streams, and Gradio reports that as an error: with the
    # text of anyio's cancellation, or without a text if asyncio cancelled it.
    return (
        message["msg"] == "unexpected_error"
        and _CANCELLATION_PATTERN.match(str(message.get("message") or "")) is not None
    )


def apply_diff(value: Json, edits: list[Json]) -> Json:
    """Return `value` after Gradio's edits `[action, path, value]`.

    Raises:
        ProtocolError: an edit doesn't apply.
    """
    if not edits:
        return value
    try:
        for action, path, new_value in edits:
            value = _apply_edit(value, action, path, new_value)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        raise ProtocolError("The Space sent a diff that doesn't apply.") from None
    return value


def _apply_edit(value: Json, action: str, path: list[Json], new_value: Json) -> Json:
    """Return a copy of `value` after one edit, of which only the path is new."""
    if not path:
        return _edit_root(value, action, new_value)
    if not isinstance(value, list | dict):
        raise TypeError(action)
    key, *remaining_path = path
    result = value.copy()
    if not remaining_path and action == "replace":
        result[key] = new_value
    elif remaining_path or action == "append":
        result[key] = _apply_edit(value[key], action, remaining_path, new_value)
    elif action == "add" and isinstance(result, list):
        result.insert(int(key), new_value)
    elif action == "add":
        result[key] = new_value
    elif action == "delete":
        del result[key]
    else:
        raise ValueError(action)
    return result


def _edit_root(value: Json, action: str, new_value: Json) -> Json:
    if action == "replace":
        return new_value
    if action == "append":
        return value + new_value
    raise ValueError(action)


def _parse_seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e6 else None


def _parse_progress(data: object) -> tuple[Progress, ...]:
    if not (isinstance(data, list) and data and isinstance(data[-1], dict)):
        return ()
    bar = data[-1]  # the innermost bar is the one that moves
    event = Progress(
        step=_parse_count(bar.get("index")),
        total=_parse_count(bar.get("length")),
        unit=sanitize(bar.get("unit")) or None,
        description=sanitize(bar.get("desc")) or None,
        fraction=_parse_seconds(bar.get("progress")),
    )
    return (event,)


def _parse_count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None


def _parse_notice(message: Mapping[str, Any]) -> tuple[Notice, ...]:
    text = sanitize(message.get("log"))
    if not text:
        return ()
    level = sanitize(message.get("level"))[:MAX_LEVEL_CHARACTERS]
    return (Notice(text, level or "info", sanitize(message.get("title")) or None),)
