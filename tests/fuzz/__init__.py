"""Fuzzing: hostile inputs without end, made by Hypothesis or by atheris, against one target each.

A target is a module `TARGET.py` here with a `Target` named `TARGET` (see `target.py`), and a folder
`corpus/TARGET` with at least one input. `python -m tests.fuzz TARGET --seconds 60` runs it: an
input that fails is made smaller and saved in the corpus, which `tests/test_fuzz_corpus.py` replays.
"""

import tests.conftest  # noqa: F401  # Gradio's environment, as pytest prepares it
