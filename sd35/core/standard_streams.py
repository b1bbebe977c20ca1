"""Standard streams of a program that has no console, or one that can't show every letter."""

import codecs
import io
import os
import sys
from typing import Final

__all__ = ["prepare_standard_streams"]

_ASCII_REPLACEMENTS: Final = str.maketrans(
    {"…": "...", "×": "x", "·": "-", "–": "-", "“": '"', "”": '"', "✓": "+", "✗": "!", "■": "!"}
)


def prepare_standard_streams() -> None:
    """Open the streams that are missing, and replace letters that the encoding of one lacks.

    Without a console (`pythonw`, a service, `>&-`), Python sets the streams to None, for which
    Uvicorn and other libraries aren't prepared.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # In this order: each gets the number of the stream for which it stands. Otherwise, the
            # next connection would get it.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115  # stays open
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    # The default, "strict", would end the program with a UnicodeEncodeError at the first "…" in the
    # C locale, or at the name of a folder that is no text.
    codecs.register_error("ascii-fallback", _ascii_fallback)
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="ascii-fallback")


def _ascii_fallback(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(_ASCII_REPLACEMENTS)
    return "".join(char if char.isascii() else "?" for char in text), error.end
