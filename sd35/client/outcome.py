"""What stopping a run did at the Space."""

from enum import Enum

__all__ = ["StopOutcome"]


class StopOutcome(Enum):
    """What leaving a run before its end did at the Space."""

    REMOVED = "removed"
    """It was still waiting in the queue, and is no longer."""
    ENDED = "ended"
    """It was running in a generator, which the Space ended."""
    MAY_FINISH = "may finish"
    """It was running in a plain function, which Gradio can't end: the Space may finish it for nobody."""
    UNCONFIRMED = "unconfirmed"
    """The Space didn't confirm the cancel in time."""

    @property
    def sentence(self) -> str:
        """What that means, for the person who has stopped it."""
        return _SENTENCES[self]


_SENTENCES = {
    StopOutcome.REMOVED: "It was removed from the queue before it began.",
    StopOutcome.ENDED: "The Space ended the run.",
    StopOutcome.MAY_FINISH: "No longer waited for. This Space can't end a run that has begun: its GPU may finish it, "
    "and it counts against your quota.",
    StopOutcome.UNCONFIRMED: "No longer waited for. The Space didn't confirm that it stopped; it may finish the run.",
}
