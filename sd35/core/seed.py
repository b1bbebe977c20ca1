"""Seeds: whole numbers of up to 64 bits, exact to the last digit."""

import re
from decimal import Decimal
from typing import Final

__all__ = ["MAX_SEED", "RANDOM_SEED", "parse_seed", "parse_whole_number"]

MAX_SEED: Final = 2**64 - 1  # the largest that PyTorch's generators take

# The seed that stands for a random one in AUTOMATIC1111, ComfyUI's nodes and many scripts.
RANDOM_SEED: Final = -1

_MAX_BITS: Final = 128  # enough for any seed, and for saying that a number is none

# Above it two whole numbers may be the same float, which doesn't tell which of them was meant.
_MAX_FLOAT: Final = 2**53 - 1

_WHOLE_NUMBER: Final = re.compile(r"[-+]?0*\d{1,38}", re.ASCII)
_DECIMAL_NUMBER: Final = re.compile(
    r"[-+]?\d{1,40}(\.\d{0,40})?(e[-+]?\d{1,3})?", re.ASCII | re.IGNORECASE
)


def parse_seed(value: object) -> int | None:
    """Return a seed, given as a number or as text; `None` for anything that isn't surely one."""
    number = parse_whole_number(value)
    return number if number is not None and 0 <= number <= MAX_SEED else None


def parse_whole_number(value: object) -> int | None:
    """Return a whole number, given as a number or as text, such as 40, 40.0 and `1e15`.

    Nothing is rounded: `None` stands for 1.5, and for a float of more than 53 bits.
    """
    if isinstance(value, str):
        text = value.strip()[:1000]
        if _WHOLE_NUMBER.fullmatch(text):
            return int(text)
        return _from_decimal(Decimal(text)) if _DECIMAL_NUMBER.fullmatch(text) else None
    if isinstance(value, float):
        return _from_decimal(value)
    if isinstance(value, bool) or not isinstance(value, int):  # to Python, True is the number 1
        return None
    return value if value.bit_length() <= _MAX_BITS else None


def _from_decimal(number: float | Decimal) -> int | None:
    # NaN compares false with everything.
    is_exact = -_MAX_FLOAT <= number <= _MAX_FLOAT and number == int(number)
    return int(number) if is_exact else None
