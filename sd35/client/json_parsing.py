"""JSON of a Space, with a limit on the number of its values."""

from typing import Any, Final

import orjson

__all__ = ["parse_json"]

# A few million values take seconds to parse, in which nothing else runs, and half a gigabyte. The
# descriptions of large apps have some ten thousand.
MAX_VALUES: Final = 1 << 18


def parse_json(data: bytes) -> Any:  # noqa: ANN401  # JSON
    """Return the value of a JSON document.

    Raises:
        ValueError: it isn't JSON, or has more than `MAX_VALUES`.
    """
    # An upper bound: these occur in texts, too. In the data of an image they don't.
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise ValueError("too many values")
    return orjson.loads(data)
