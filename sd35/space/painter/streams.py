"""Random streams with the same numbers on every machine."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


class RandomStream:
    """Random numbers for one purpose, determined by the parts of its key."""

    def __init__(self, *key: str | int) -> None:
        text = "\x1f".join(str(part) for part in key)
        # PCG64's raw output is the same in all versions of NumPy. The distributions of `Generator`
        # may change (NEP 19), so that every draw here is built on raw output.
        digest = hashlib.sha256(text.encode(errors="backslashreplace")).digest()
        self._generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))

    def uniform(self, low: float, high: float) -> float:
        """Return a number from `low` up to, but not including, `high`."""
        return low + (high - low) * float(self._generator.random())

    def chance(self, probability: float) -> bool:
        """Return true with this probability."""
        return self.uniform(0.0, 1.0) < probability

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options, with equal probability."""
        return options[int(self.uniform(0.0, len(options)))]

    def normal(self, *shape: int) -> npt.NDArray[np.float32]:
        """Return noise of mean 0 and variance 1 of this shape.

        It is the sum of four random bytes, near enough to normal, because a true normal draw goes
        through the machine's own logarithm.
        """
        count = 4 * int(np.prod(shape))
        sample_bytes = np.frombuffer(self._generator.bytes(count), dtype=np.uint8).reshape(
            4, *shape
        )
        total = sample_bytes[0].astype(np.int16)
        for octets in sample_bytes[1:]:
            total += octets
        # The variance of one byte is (256² − 1) / 12 = 5461.25, and of four 21845.
        noise: npt.NDArray[np.float32] = (
            total.astype(np.float32) - np.float32(510.0)
        ) * np.float32(1 / 147.8005)
        return noise
