"""The corpus of the fuzzer: inputs that failed once, and samples of each kind."""

import pytest

from tests.fuzz.target import corpus_files, load_target, target_names


@pytest.mark.parametrize("name", target_names())
def test_corpus_does_no_harm(name: str) -> None:
    """No input of the corpus does harm again."""
    files = corpus_files(name)
    assert files
    with load_target(name).open_check() as check:
        for file in files:
            try:
                check(file.read_bytes())
            except Exception as error:
                error.add_note(f"Input: {file}")
                raise
