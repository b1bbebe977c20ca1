"""What keeps a folder from being a Space, in words."""

from dataclasses import dataclass

__all__ = ["Problem", "ProblemError"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is amiss: `happened` says what and where, and `remedy` what to do, each as a sentence."""

    happened: str
    remedy: str


class ProblemError(Exception):
    """A file that is needed can't be used at all; `problem` says why."""

    def __init__(self, happened: str, remedy: str) -> None:
        self.problem = Problem(happened, remedy)
        super().__init__(happened)
