"""Targets: what is fuzzed, with which inputs, and what must hold for all of them."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

__all__ = ["CORPUS", "Check", "Target", "corpus_files", "load_target", "target_names"]

CORPUS = Path(__file__).parent / "corpus"

Check = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes input from strangers.

    Attributes:
        inputs: strategy of the inputs that Hypothesis tries; `mutation.mutations` makes one from
            valid samples. atheris makes its own from the corpus.
        open_check: context manager that yields the check: a function of one input that raises
            anything at all if the input does harm, and else returns. It is entered once for many
            inputs, so it is the place to start a server. Inputs must not affect one another.
    """

    inputs: SearchStrategy[bytes]
    open_check: Callable[[], AbstractContextManager[Check]]


def target_names() -> list[str]:
    """Return the names of all targets: those of the folders in the corpus."""
    return sorted(folder.name for folder in CORPUS.iterdir() if folder.is_dir())


def load_target(name: str) -> Target:
    """Return the target of this name."""
    target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    assert isinstance(target, Target)
    return target


def corpus_files(name: str) -> list[Path]:
    """Return the files of a target's corpus, in a stable order."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())
