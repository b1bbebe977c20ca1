"""Mutations of valid inputs: what is almost right gets further than noise."""

from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

__all__ = ["mutations"]

_MAX_MUTATIONS = 8
_MAX_COPIES = 2000

# Limits of integers and sizes, in both byte orders where it makes a difference.
_NUMBERS = tuple(
    number.to_bytes(size, byte_order)
    for size in (1, 2, 4)
    for number in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for byte_order in ("big", "little")
)


def mutations(
    samples: Sequence[bytes], tokens: Sequence[bytes] = (), max_bytes: int = 1 << 20
) -> SearchStrategy[bytes]:
    """Return a strategy of samples with parts overwritten, removed, repeated, moved and spliced.

    `tokens` are words of the format, which chance wouldn't find.
    """
    pieces = st.sampled_from([*_NUMBERS, *tokens]) | st.binary(max_size=16)

    @st.composite
    def mutate(draw: st.DrawFn) -> bytes:
        data = draw(st.sampled_from(samples))
        for _ in range(draw(st.integers(0, _MAX_MUTATIONS))):
            data = _mutate_once(draw, data, draw(st.sampled_from(samples)), draw(pieces))
        return data[:max_bytes]

    return mutate()


def _mutate_once(draw: st.DrawFn, data: bytes, other: bytes, piece: bytes) -> bytes:
    first = draw(st.integers(0, len(data)))
    # Most damage is local: a number, a word, a chunk.
    second = min(first + draw(st.integers(0, 64) | st.integers(0, len(data))), len(data))
    part = data[first:second]
    match draw(st.sampled_from(["overwrite", "insert", "remove", "repeat", "move", "splice"])):
        case "overwrite":
            return data[:first] + piece + data[first + len(piece) :]
        case "insert":
            return data[:first] + piece + data[first:]
        case "remove":
            return data[:first] + data[second:]
        case "repeat":
            copies = draw(st.integers(1, 3) | st.integers(1, _MAX_COPIES))
            return data[:second] + part * min(copies, _copies_within(part)) + data[second:]
        case "move":
            target = draw(st.integers(0, len(data)))
            return data[:target] + part + data[target:]
        case _:
            return data[:first] + other[draw(st.integers(0, len(other))) :]


def _copies_within(part: bytes, limit: int = 1 << 19) -> int:
    return limit // max(len(part), 1)
