"""The messages of the queue, as recorded from Gradio 5.0, 5.49 and 6.31, and as garbage."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.client.contract import Contract
from sd35.client.json_parsing import MAX_VALUES
from sd35.client.protocol import RunParser, apply_diff
from sd35.client.sse import MAX_EVENT_BYTES, EventStreamDecoder
from sd35.core.errors import (
    GenerationFailedError,
    ProtocolError,
    QuotaError,
    SD35Error,
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
from sd35.core.limits import PUBLIC_LIMITS

CONTRACT = Contract("Fake Space", "6.31.0", "/gradio_api", 0, True, (), 0, 1, PUBLIC_LIMITS)  # noqa: FBT003
CONVERSATIONS_DIR = Path(__file__).parent / "conversations"
VERSIONS = ["5.0.2", "5.49.1", "6.31.0"]


def replay(stream: bytes, *, chunk_size: int = 1 << 20) -> tuple[list[Event], SD35Error | None]:
    """Return the events of a recorded stream, read in chunks, and the error at its end."""
    decoder = EventStreamDecoder()
    events = list[Event]()
    conversation = None
    for start in range(0, len(stream), chunk_size):
        for payload in decoder.feed(stream[start : start + chunk_size]):
            conversation = conversation or RunParser(CONTRACT, orjson.loads(payload)["event_id"])
            try:
                events += conversation.feed(payload)
            except SD35Error as error:
                return events, error
            if conversation.has_ended:
                return events, None
    return events, None


def read_recording(name: str) -> bytes:
    return (CONVERSATIONS_DIR / f"gradio-{name}.sse").read_bytes()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_a_recorded_generator_yields_its_previews_and_steps(version: str, chunk: int) -> None:
    events, error = replay(read_recording(f"{version}-generator"), chunk_size=chunk)
    assert error is None
    assert [type(event) for event in events] == [
        *(Queued, Started, Notice),
        *(Progress, Preview) * 3,
        Finished,
    ]
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2, 3]
    previews = [event.picture.url for event in events if isinstance(event, Preview)]
    assert len(set(previews)) == 3
    assert isinstance(events[-1], Finished)
    assert events[-1].seed == 7
    assert events[-1].picture.url == previews[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_plain_function_yields_no_previews(version: str) -> None:
    events, error = replay(read_recording(f"{version}-plain"))
    assert error is None
    assert [type(event) for event in events] == [
        Queued,
        Started,
        Progress,
        Progress,
        Progress,
        Finished,
    ]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["generator", "plain"])
def test_a_recorded_failure_has_its_message(version: str, kind: str) -> None:
    _, error = replay(read_recording(f"{version}-{kind}-quota"))
    assert isinstance(error, QuotaError)
    assert error.retry_after_seconds == 56
    assert "(59s left vs. 60s requested)" in error.happened
    _, error = replay(read_recording(f"{version}-{kind}-silent"))
    assert isinstance(error, GenerationFailedError)
    assert "without details" in error.happened


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ({"msg": "process_completed", "success": True, "output": {}}, GenerationFailedError),
        (
            {"msg": "process_completed", "success": True, "output": {"data": [None, 7]}},
            GenerationFailedError,
        ),
        (
            {"msg": "process_completed", "success": True, "output": {"data": []}},
            GenerationFailedError,
        ),
        ({"msg": "server_stopped"}, SpaceStoppedError),
        (
            {"msg": "unexpected_error", "message": "Cancelled via cancel scope 7f12 by <Task>"},
            SpaceStoppedError,
        ),
        ({"msg": "unexpected_error", "message": ""}, SpaceStoppedError),
        (
            {"msg": "unexpected_error", "message": "Session not found", "session_not_found": True},
            StreamInterruptedError,
        ),
        ({"msg": "unexpected_error", "message": "boom"}, GenerationFailedError),
        ({"msg": "close_stream"}, StreamInterruptedError),
    ],
)
def test_every_other_ending_is_an_error(message: dict[str, Any], kind: type[SD35Error]) -> None:
    with pytest.raises(kind):
        RunParser(CONTRACT, "e").feed(orjson.dumps(message | {"event_id": "e"}))


def test_messages_of_other_runs_are_ignored() -> None:
    message = {
        "msg": "process_completed",
        "event_id": "other",
        "success": False,
        "output": {"error": "no"},
    }
    assert RunParser(CONTRACT, "e").feed(orjson.dumps(message)) == ()


FINISHED: dict[str, Any] = {
    "msg": "process_completed",
    "event_id": "e",
    "success": True,
    "output": {"data": ["http://x/final", 7]},
}


@pytest.mark.parametrize(
    "outputs",
    [
        5,
        [[["replace", ["a"], 1]], []],
        [[["append", [], "x"]] * 40_000, []],
        [[5], []],
        [[]],
        [[], [], []],
        {"data": 1},
    ],
)
def test_a_preview_that_can_not_be_understood_costs_no_image(outputs: object) -> None:
    parser = RunParser(CONTRACT, "e")
    first = FINISHED | {
        "msg": "process_generating",
        "output": {"data": ["data:" + "x" * 10_000, 7]},
    }
    broken = FINISHED | {"msg": "process_generating", "output": {"data": outputs}}
    assert len(parser.feed(orjson.dumps(first))) == 1
    assert parser.feed(orjson.dumps(broken)) == ()
    assert parser.feed(orjson.dumps(FINISHED)) == (Finished(RemotePicture("http://x/final"), 7),)


def test_outputs_that_grow_fill_no_memory() -> None:
    parser = RunParser(CONTRACT, "e")
    outputs: list[Any] = ["http://x/a", 7, *[""] * 20]
    for index in range(len(outputs)):
        message = FINISHED | {"msg": "process_generating", "output": {"data": outputs}}
        parser.feed(orjson.dumps(message))
        outputs = [[] for _ in outputs]
        outputs[index] = [["replace", [], "x" * (MAX_EVENT_BYTES // 8)]]
    assert len(orjson.dumps(parser._outputs)) <= MAX_EVENT_BYTES


def test_endless_nesting_is_a_protocol_error() -> None:
    nested_value: Any = []
    for _ in range(5000):
        nested_value = [nested_value]
    with pytest.raises(ProtocolError):
        apply_diff(nested_value, [["replace", [0] * 4000, 1]])


@pytest.mark.parametrize(
    ("edits", "result"),
    [
        ([], {"a": [1, "x"]}),
        ([["replace", [], 5]], 5),
        ([["replace", ["a", 0], 2]], {"a": [2, "x"]}),
        ([["append", ["a", 1], "yz"]], {"a": [1, "xyz"]}),
        ([["add", ["a", 1], "new"]], {"a": [1, "new", "x"]}),
        ([["add", ["b"], 1], ["delete", ["a", 0], None]], {"a": ["x"], "b": 1}),
    ],
)
def test_a_diff_is_applied_like_gradio_does(edits: list[Any], result: object) -> None:
    original = {"a": [1, "x"]}
    assert apply_diff(original, edits) == result
    assert original == {"a": [1, "x"]}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
messages = st.fixed_dictionaries(
    {
        "msg": st.sampled_from(
            [
                "estimation",
                "process_starts",
                "progress",
                "log",
                "process_generating",
                "process_completed",
            ]
        )
    },
    optional=dict.fromkeys(
        ("rank", "queue_size", "eta", "success", "log", "level", "title", "progress_data"),
        json_values,
    )
    | {
        "output": json_values
        | st.fixed_dictionaries({}, optional={"data": json_values, "error": json_values})
    },
)


@given(st.lists(messages, max_size=4))
def test_any_json_is_an_event_or_an_error_of_ours(conversation: list[dict[str, Any]]) -> None:
    talk = RunParser(CONTRACT, "e")
    for message in conversation:
        try:
            talk.feed(orjson.dumps(message))
        except SD35Error as error:
            assert str(error)


@given(
    json_values,
    st.lists(
        st.tuples(st.text(max_size=8), st.lists(json_values, max_size=3), json_values), max_size=3
    ),
)
def test_any_diff_applies_or_is_an_error_of_ours(value: object, edits: list[Any]) -> None:
    try:
        apply_diff(value, edits)
    except ProtocolError as error:
        assert str(error)


def test_a_message_of_endless_values_is_refused_before_it_is_parsed() -> None:
    payload = b'{"msg":"log","event_id":"e","log":[' + b"[]," * MAX_VALUES + b"[]]}"
    with pytest.raises(ProtocolError):
        RunParser(CONTRACT, "e").feed(payload)


@given(st.binary(max_size=50))
def test_garbage_is_a_protocol_error(payload: bytes) -> None:
    try:
        RunParser(CONTRACT, "e").feed(payload)
    except SD35Error as error:
        assert str(error)
