"""The queue's messages → events. Pure: a conversation is fed one message at a time and knows no sockets."""

from collections.abc import Mapping
from typing import Any

import orjson

from sd35.client.contract import Contract
from sd35.client.error_parsing import clean, error_of_run
from sd35.client.sse import MAX_EVENT_BYTES
from sd35.core.errors import (
    GenerationFailedError,
    ProtocolError,
    QueueFullError,
    RunLostError,
    SpaceStoppedError,
    StreamCutError,
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

__all__ = ["Conversation", "apply_diff"]


class Conversation:
    """What a Space says of one run, from `estimation` to `process_completed`."""

    def __init__(self, contract: Contract, event_id: str | None) -> None:
        self._contract = contract
        self.event_id = event_id
        """The run's number; `None` where the Space's answer was lost: then that of the first message."""
        self._outputs: list[Any] | None = None
        self._shown: RemotePicture | None = None
        self._missed_some = False
        self.heard = False
        """Whether the Space has said anything of this run."""
        self.started = False
        self.ended = False
        """Whether the Space has said its last word on this run, good or bad."""

    def feed(self, payload: bytes) -> tuple[Event, ...]:
        """Return what this message (the JSON of one server-sent event) reports.

        Raises:
            SD35Error: the message says that the run has failed, or can't be understood.

        """
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise ProtocolError("The Space sent a message that isn't JSON.") from error
        if not isinstance(message, dict) or not self._is_ours(message.get("event_id")):
            return ()
        try:
            return self._take(message)
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise ProtocolError("The Space sent a message that can't be understood.") from error

    def missed_some(self) -> None:
        """Say that messages were missed: a change to an output that isn't known can't be applied."""
        self._missed_some = True

    def _is_ours(self, event_id: object) -> bool:
        if event_id is None:
            return True
        if self.event_id is None and isinstance(event_id, str):
            self.event_id = event_id
        self.heard = self.heard or event_id == self.event_id
        return event_id == self.event_id

    def _take(self, message: Mapping[str, Any]) -> tuple[Event, ...]:
        match message.get("msg"):
            case "progress":
                return _progress(message.get("progress_data"))
            case "process_generating":
                return self._generating(message)
            case "estimation":
                rank, size = _count(message.get("rank")), _count(message.get("queue_size"))
                eta = _seconds(message.get("rank_eta"))
                return () if rank is None else (Queued(rank, size or rank + 1, eta),)
            case "process_starts":
                self.started = True
                return (Started(_seconds(message.get("eta"))),)
            case "log":
                return _notice(message)
            case _:
                return self._ending(message)

    def _ending(self, message: Mapping[str, Any]) -> tuple[Event, ...]:
        match message.get("msg"):
            case "process_completed":
                return (self._completed(message),)
            case (
                "unexpected_error"
                | "server_stopped"
                | "Server stopped unexpectedly."
                | "queue_full"
                | "close_stream"
            ):
                self._broken(message)
        return ()  # heartbeats, and what later generations may add

    def _generating(self, message: Mapping[str, Any]) -> tuple[Preview, ...]:
        self.started = True
        if self._missed_some or not message.get("success", True):
            return ()  # the reason follows in process_completed
        data = (message.get("output") or {}).get("data")
        if data is None:
            return ()
        if self._outputs is None or not self._contract.sends_diffs:
            self._outputs = list(data)
        else:
            self._outputs = [
                apply_diff(old, edits) for old, edits in zip(self._outputs, data, strict=True)
            ]
            self._check_growth(data)
        picture = _picture(self._outputs[self._contract.image_output])
        if picture is None or picture == self._shown:
            return ()
        self._shown = picture
        return (Preview(picture),)

    def _check_growth(self, changes: list[list[Any]]) -> None:
        """Refuse an output that grows and grows, message by message."""
        grows = any(edit[0] in {"append", "add"} for edits in changes for edit in edits)
        if grows and len(orjson.dumps(self._outputs)) > MAX_EVENT_BYTES:
            raise ProtocolError(
                f"The Space sent an output of more than {MAX_EVENT_BYTES >> 20} MiB."
            )

    def _completed(self, message: Mapping[str, Any]) -> Finished:
        self.ended = True
        output = message.get("output") or {}
        if not message.get("success"):
            raise error_of_run(output.get("error"), output.get("title"))
        if not output.get("data"):
            raise GenerationFailedError(
                "The run was stopped at the Space before there was a picture.", "Generate again."
            )
        data = output["data"]
        picture = _picture(data[self._contract.image_output])
        if picture is None:
            raise GenerationFailedError("The Space finished without a picture.")
        position = self._contract.seed_output
        return Finished(picture, None if position is None else _seed(data[position]))

    def _broken(self, message: Mapping[str, Any]) -> None:
        if message["msg"] in {"server_stopped", "Server stopped unexpectedly."}:
            self.ended = True
            raise SpaceStoppedError("The Space was stopped or restarted while it worked on this.")
        if message.get("session_not_found"):
            raise RunLostError("The Space no longer knows this run; it may have restarted.")
        if message["msg"] == "close_stream":
            raise StreamCutError("The Space closed the stream before it said how the run ended.")
        self.ended = True
        if message["msg"] == "queue_full":
            raise QueueFullError("The Space's queue is full.")
        raise error_of_run(message.get("message"))


def apply_diff(value: Any, edits: list[Any]) -> Any:  # noqa: ANN401  # any JSON
    """Return `value` after Gradio's edits `[action, path, value]`; an empty list leaves it as it is.

    Raises:
        ProtocolError: an edit doesn't apply.

    """
    if not edits:
        return value
    try:
        for action, path, new in edits:
            value = _edited(value, action, path, new)
    except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(
            "The Space sent a change that doesn't fit what it sent before."
        ) from error
    return value


def _edited(value: Any, action: str, path: list[Any], new: Any) -> Any:  # noqa: ANN401  # any JSON
    """Return `value` after one edit: only what lies on the path is copied."""
    if not path:
        return _at_its_place(value, action, new)
    if not isinstance(value, list | dict):
        raise TypeError(action)
    key, *rest = path
    copied = value.copy()
    if not rest and action == "replace":
        copied[key] = new
    elif rest or action == "append":
        copied[key] = _edited(value[key], action, rest, new)
    elif action == "add" and isinstance(copied, list):
        copied.insert(int(key), new)
    elif action == "add":
        copied[key] = new
    elif action == "delete":
        del copied[key]
    else:
        raise ValueError(action)
    return copied


def _at_its_place(value: Any, action: str, new: Any) -> Any:  # noqa: ANN401  # any JSON
    if action == "replace":
        return new
    if action == "append":
        return value + new
    raise ValueError(action)


def _picture(value: object) -> RemotePicture | None:
    """The picture in an output: Gradio's FileData, or (older servers) a bare address or data URL."""
    if isinstance(value, str) and value:
        return RemotePicture(value)
    if not isinstance(value, dict):
        return None
    url, path = (value[key] if isinstance(value.get(key), str) else None for key in ("url", "path"))
    return RemotePicture(url or "", path) if url or path else None


def _seed(value: object) -> int | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**63
    return int(value) if usable else None  # type: ignore[call-overload]  # narrowed by `usable`


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e6 else None


def _progress(data: object) -> tuple[Progress, ...]:
    if not (isinstance(data, list) and data and isinstance(data[-1], dict)):
        return ()
    unit = data[-1]  # the innermost bar is the one that moves
    step, total, fraction = (
        _count(unit.get("index")),
        _count(unit.get("length")),
        _seconds(unit.get("progress")),
    )
    description = clean(unit["desc"]) if unit.get("desc") else None
    return (
        Progress(
            step, total, clean(unit["unit"]) if unit.get("unit") else None, description, fraction
        ),
    )


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and 0 <= value < 1e9 else None


def _notice(message: Mapping[str, Any]) -> tuple[Notice, ...]:
    text, title = clean(message.get("log") or ""), message.get("title")
    if not text:
        return ()
    return (
        Notice(text, str(message.get("level") or "info")[:20], clean(title) if title else None),
    )
