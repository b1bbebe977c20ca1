"""The effect at a Space of leaving a run before its end."""

from enum import Enum
from typing import Final

__all__ = ["StopOutcome"]


class StopOutcome(Enum):
    """The effect at the Space of leaving a run before its end."""

    REMOVED = "removed"  # it was still in the queue, and isn't any more
    ENDED = "ended"  # it was running in a generator, which the Space ended
    MAY_FINISH = "may finish"  # it was running in a plain function, which Gradio can't interrupt
    UNCONFIRMED = "unconfirmed"  # the Space didn't confirm the cancellation in time

    @property
    def message(self) -> str:
        """The effect, as a sentence for people."""
        return _MESSAGES[self]


_MESSAGES: Final = {
    StopOutcome.REMOVED: "Removed from the queue before it started.",
    StopOutcome.ENDED: "The Space cancelled the job.",
    StopOutcome.MAY_FINISH: (
        "Stopped waiting. This Space can't cancel a running job, so it may still use your quota."
    ),
    StopOutcome.UNCONFIRMED: (
        "Stopped waiting. The Space didn't confirm, so the job may still finish."
    ),
}
