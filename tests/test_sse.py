"""The event stream decoder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.client.sse import EventStreamDecoder
from sd35.core.errors import ProtocolError


def decode(*chunks: bytes) -> list[bytes]:
    decoder = EventStreamDecoder()
    return [data for chunk in chunks for data in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": comment\nevent: x\nid: 1\ndata: a\nretry: 5\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: unfinished\n", []),
        (b"database: a\n\n", []),
    ],
)
def test_events_are_split_as_in_the_standard(stream: bytes, events: list[bytes]) -> None:
    assert decode(stream) == events


lines = st.sampled_from(
    [b"data: a", b"data: {}", b"data:", b"", b": x", b"event: y", "data: ü€".encode()]
)


@given(
    st.lists(st.tuples(lines, st.sampled_from([b"\n", b"\r\n"])), max_size=20).map(
        lambda parts: b"".join(line + end for line, end in parts)
    ),
    st.data(),
)
def test_events_do_not_depend_on_the_chunks(stream: bytes, data: st.DataObject) -> None:
    split_points = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [
        stream[a:b] for a, b in zip([0, *split_points], [*split_points, len(stream)], strict=True)
    ]
    assert decode(*pieces) == decode(stream)


@pytest.mark.parametrize(
    "chunk", [b"x" * 100, b"data: " + b"x" * 100 + b"\n", b"data:\n" * 20, b"data:\r" * 20]
)
def test_an_endless_event_is_an_error(chunk: bytes) -> None:
    decoder = EventStreamDecoder(limit_bytes=1000)
    with pytest.raises(ProtocolError):
        for _ in range(20):
            list(decoder.feed(chunk))
