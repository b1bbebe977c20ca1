"""Several replicas of an engine, by Ray Serve: real Ray, with the demo painter on the CPU."""

import pytest

from sd35.space.replicas import ReplicaRange


@pytest.mark.parametrize(
    ("text", "minimum", "maximum"), [("1", 1, 1), ("4", 4, 4), ("1-4", 1, 4), (" 2–3 ", 2, 3)]
)
def test_number_of_replicas_is_a_number_or_a_range(text: str, minimum: int, maximum: int) -> None:
    """A single number is fixed; of a range, the queue decides."""
    replicas = ReplicaRange.parse(text)
    assert replicas == ReplicaRange(minimum, maximum)
    assert replicas.is_fixed == (minimum == maximum)


@pytest.mark.parametrize("text", ["", "0", "-1", "2-1", "0-2", "65", "1-2-3", "²", "1.5", "a"])
def test_other_numbers_of_replicas_are_refused(text: str) -> None:
    """A range begins with at least one replica, and ends with at most 64."""
    with pytest.raises(ValueError, match=r"neither|between"):
        ReplicaRange.parse(text)
