"""What the page remembers: prompts, words, presets, the last form, and images already made."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.errors import InvalidRequestError, LibraryError
from sd35.core.limits import PUBLIC_LIMITS
from sd35.core.origin import RequestOrigin
from sd35.core.request import GenerationRequest
from sd35.jobs.prompt_history import PromptHistory
from sd35.jobs.record import JobStatus
from sd35.jobs.repository import JobRepository
from sd35.library.layout import PRESETS_FILE
from sd35.library.library import Library
from sd35.library.presets import PresetFile, PresetList
from sd35.library.prompt_history import ModelIdentity, find_identical
from sd35.prompts.lexicon import find_phrases
from sd35.prompts.plan import BatchOptions
from sd35.prompts.styles import NO_STYLES
from sd35.ui.create.form import FormValues
from sd35.ui.create.presets import apply_preset, apply_request
from tests.library_fixtures import ANN, BOB, NOON, add_picture, folder, library
from tests.test_job_repository import make_record

__all__ = ["folder", "library"]

TEMPLATE = ("Template", "a {red|blue} fox")


def search(library: Library, text: str = "", owner: str = "") -> list[tuple[str, int]]:
    """Return the prompts that a search finds, with the number of their images."""
    page = PromptHistory(library).search(text, owner, 100)
    return [(used.prompt, used.picture_count) for used in page.prompts]


def test_prompts_are_listed_once_and_the_newest_first(library: Library) -> None:
    """A prompt has its newest time and image, and counts its images outside of the trash."""
    first, _, again = (
        add_picture(library, index, prompt=prompt) for index, prompt in enumerate("aba")
    )
    add_picture(library, 3, prompt="only in the trash")
    library.trash([library.search().entries[0].id], "")
    assert search(library) == [("only in the trash", 0), ("a", 2), ("b", 1)]
    history = PromptHistory(library)
    assert history.search("", "", 3).prompts[1].picture_id == again.id
    library.trash([again.id], "")
    assert history.search("", "", 3).prompts[1].picture_id == first.id
    page = history.search("", "", 1, 1)
    assert [used.prompt for used in page.prompts] == ["a"]
    assert page.has_more
    assert not history.search("", "", 2, 1).has_more


def test_prompts_are_their_owners_alone(library: Library) -> None:
    """Nobody finds a prompt of another one: neither of an image nor of a job."""
    repository = JobRepository(library)
    for owner in ("", ANN, BOB):
        add_picture(library, 1, owner, prompt=f"the image of {owner or 'me'}")
        repository.add(make_record(f"job of {owner}", owner=owner))
    assert search(library, "image of", ANN) == [(f"the image of {ANN}", 1)]
    assert search(library, "job", ANN) == [(f"a job of {ANN}", 0)]
    assert len(search(library)) == 2


def test_prompts_of_jobs_without_an_image_are_found(library: Library) -> None:
    """Prompts that wait, failed or were stopped are there; a removed image's isn't."""
    repository = JobRepository(library)
    after = NOON.timestamp() + 1000
    for index, status in enumerate((JobStatus.PENDING, JobStatus.FAILED, JobStatus.CANCELLED)):
        repository.add(make_record(status.value, status=status, created_at=after + index))
    repository.add(make_record("program's", status=JobStatus.FAILED, is_api_call=True))
    repository.add(make_record("removed image", status=JobStatus.COMPLETED))
    entry = add_picture(library, prompt="a failed")
    assert search(library) == [("a cancelled", 0), ("a failed", 1), ("a pending", 0)]
    [used] = PromptHistory(library).search("FAIL", "", 9).prompts
    assert (used.job_id, used.picture_id) == ("failed", entry.id)


@pytest.mark.parametrize(
    ("text", "expected_count"),
    [
        *(("mist light", 1), ("LIGHT misty", 1), ("château", 1), ("chateau", 1), ("灯台", 1)),
        *(("ight", 0), ("sea-view", 0), ("tagged", 0), ('"', 0), ("light AND", 0), ("misty*", 1)),
    ],
)
def test_prompts_are_searched_by_beginnings_of_words(
    library: Library, text: str, expected_count: int
) -> None:
    """All words must begin so, in any order, case and accents; signs mean nothing, tags neither."""
    prompt = "a misty lighthouse, Château, 夜の灯台"
    add_picture(library, prompt=prompt, tags=("tagged",))
    assert len(search(library, text)) == expected_count
    request = GenerationRequest(prompt)
    job = make_record("x", owner=ANN, original_request=request, status=JobStatus.FAILED)
    JobRepository(library).add(job)
    assert len(search(library, text, ANN)) == expected_count


def test_prompt_of_a_template_is_the_template(library: Library) -> None:
    """The prompt is what was typed: a template, or a prompt without the words of its styles."""
    origin = RequestOrigin((TEMPLATE,))
    JobRepository(library).add(make_record("red fox", origin=origin, created_at=NOON.timestamp()))
    for index, color in enumerate(("red", "blue")):
        add_picture(library, index, prompt=f"a {color} fox", extra=(TEMPLATE,))
    add_picture(library, 9, prompt="a cat, oil painting", extra=(("Base prompt", "a cat"),))
    assert search(library) == [("a cat", 1), (TEMPLATE[1], 2)]
    assert search(library, "blue red") == [(TEMPLATE[1], 2)]


REQUEST = GenerationRequest("a cat", "dog", 1024, 768, 4.5, 40, 2**64 - 1, randomize_seed=False)
SD35_LARGE = ModelIdentity("sd35", "stabilityai/sd35", is_demo=False)
IDENTICAL: dict[str, Any] = {
    "prompt": "a cat",
    "negative_prompt": "dog",
    "width": 1024,
    "height": 768,
    "guidance_scale": 4.5,
    "num_inference_steps": 40,
    "seed": 2**64 - 1,
    "model": "sd35",
    "space": "stabilityai/sd35",
}


@pytest.mark.parametrize(
    "change",
    [
        *({"prompt": "a Cat"}, {"negative_prompt": ""}, {"width": 1040}, {"guidance_scale": 4.0}),
        *({"num_inference_steps": 41}, {"seed": 1}, {"seed": None}, {"model": "turbo"}),
        *({"space": "http://localhost"}, {"is_demo": True}),
    ],
    ids=str,
)
def test_image_with_another_setting_is_another_image(
    library: Library, change: dict[str, Any]
) -> None:
    """Only an image of the same prompts, settings, seed and Space is the same."""
    add_picture(library, **IDENTICAL | change)
    with library.database.read_transaction() as connection:
        assert find_identical(connection, REQUEST, SD35_LARGE, "") is None


def test_identical_image_is_found(library: Library) -> None:
    """The newest counts, before one in the trash; a deleted one and another owner's don't."""
    add_picture(library, 0, ANN, **IDENTICAL)
    old, new = (add_picture(library, index, **IDENTICAL) for index in (1, 2))

    def find(request: GenerationRequest = REQUEST) -> tuple[str, bool] | None:
        with library.database.read_transaction() as connection:
            entry = find_identical(connection, request, SD35_LARGE, "")
        return None if entry is None else (entry.id, entry.is_trashed)

    assert find() == (new.id, False)
    assert find(replace(REQUEST, seed=8)) is None
    library.trash([new.id], "")
    assert find() == (old.id, False)
    library.trash([old.id], "")
    assert find() == (new.id, True)
    library.empty_trash("")
    assert find() is None
    at_plain_space = IDENTICAL | {"guidance_scale": None, "num_inference_steps": None}
    plain = add_picture(library, 3, **at_plain_space)
    assert find() == (plain.id, False)


def test_suggestions_are_words_and_phrases_of_prompts() -> None:
    """The most used come first, as they were spelled last; no syntax and no wildcards."""
    prompts = [
        "Soft light, a {red|blue} fox of __animal__",
        "a fox, soft LIGHT",
        "(owl:1.3)",
        "__a" * 999,
    ]
    assert find_phrases(prompts) == ["Soft", "light", "Soft light", "blue", "fox of"]


PRESETS: list[Any] = [{"name": "Portrait", "settings": {"size": "2:3"}, "note": "kept"}]


def test_presets_are_saved_unless_they_have_changed(library: Library) -> None:
    """A page replaces the presets that it knows; what else is in the file stays there."""
    file = PresetFile(library)
    assert file.read() == PresetList([])
    saved = file.write(PRESETS, "")
    assert saved == file.read() == PresetList(PRESETS, saved.version if saved else "")
    assert file.write([], "") is None
    path = library.folder / PRESETS_FILE
    path.write_text('{"comment": "mine", "presets": []}')
    assert file.write(PRESETS, file.read().version) is not None
    assert json.loads(path.read_text()) == {"comment": "mine", "presets": PRESETS}
    assert not library.rescan().skipped_files


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 1: Expecting property name"),
        ("[1]", 'no "presets"'),
        ('{"presets": {}}', "isn't a list of objects"),
        ('{"presets": [{"name": "x"}]}', 'has no "settings"'),
        ('{"presets": [{"name": " ", "settings": {}}]}', "needs a name"),
        ("[" * 10**5, "recursion"),
        ("\xff", "decode"),
        (f'{{"presets": [], "x": "{"x" * 600_000}"}}', "larger than 0.5 MB"),
    ],
    ids=range(8),
)
def test_file_of_presets_that_is_not_valid_stays_as_it_is(
    library: Library, text: str, reason: str
) -> None:
    """The message says where the file is and what is wrong with it, and nothing is saved."""
    path = library.folder / PRESETS_FILE
    path.write_bytes(text.encode("latin-1"))
    file = PresetFile(library)
    for call in (file.read, partial(file.write, PRESETS, "")):
        with pytest.raises(LibraryError, match=re.escape(reason)) as caught:
            call()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == text.encode("latin-1")


def test_link_in_place_of_the_presets_is_not_followed(library: Library, tmp_path: Path) -> None:
    """The file that a link leads to is neither read nor written."""
    target = tmp_path / "target.json"
    target.write_text('{"presets": []}')
    (library.folder / PRESETS_FILE).symlink_to(target)
    with pytest.raises(LibraryError, match="isn't a regular file"):
        PresetFile(library).write(PRESETS, "")
    assert target.read_text() == '{"presets": []}'


@pytest.mark.parametrize("presets", [None, [1], [{"name": "x"}], PRESETS * 2, [*PRESETS] * 201])
def test_presets_of_a_page_are_checked(library: Library, presets: object) -> None:
    """What isn't a list of presets under names of their own isn't saved."""
    with pytest.raises(InvalidRequestError):
        PresetFile(library).write(presets, "")
    assert not (library.folder / PRESETS_FILE).exists()


FORM = FormValues("a cat", "dog", "custom", 512, 640, 4.5, 40, "7", False, '{"count": 4}')  # noqa: FBT003


def test_preset_has_all_settings_but_prompt_and_seed() -> None:
    """A preset fills the form within the limits of the Space, and says what it has changed."""
    preset = {"size": "16:9", "guidance_scale": 99, "num_inference_steps": 20, "styles": ["Comic"]}
    applied = apply_preset({**preset, "seed": 9, "prompt": "x"}, FORM, PUBLIC_LIMITS)
    options = BatchOptions(count=4, styles=("Comic",)).to_json()
    expected = replace(FORM, size="16:9", width=1024, height=576, guidance_scale=7.5)
    assert applied.values == replace(expected, num_inference_steps=20, batch_options=options)
    assert applied.applied_names == ["styles", "size", "guidance scale", "steps"]
    assert applied.changes == ["Guidance scale 99 changed to 7.5, the maximum."]
    custom = apply_preset({"size": "custom", "width": 1024, "height": 768}, FORM, PUBLIC_LIMITS)
    assert (custom.values.size, custom.values.width) == ("4:3", 1024)


@given(
    st.dictionaries(
        st.sampled_from(["size", "width", "guidance_scale", "styles", "count", "negative_prompt"]),
        st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers()),
    )
)
def test_forged_preset_leaves_a_form(settings: dict[str, Any]) -> None:
    """Whatever a browser's storage has, the fields get values of their types."""
    values = apply_preset(settings, FORM, PUBLIC_LIMITS).values
    assert isinstance(values.negative_prompt, str)
    assert isinstance(values.guidance_scale, float | int)


def test_form_of_an_earlier_image_is_as_it_was() -> None:
    """A template is there again with its styles, and a random seed is random again."""
    request = GenerationRequest("a red fox", seed=5)
    origin = RequestOrigin((TEMPLATE,))
    values = apply_request(request, origin, FORM, PUBLIC_LIMITS, NO_STYLES).values
    assert (values.prompt, values.negative_prompt) == (TEMPLATE[1], "")
    assert (values.seed, values.randomize_seed, values.size) == ("5", True, "1:1")
    assert json.loads(values.batch_options)["is_literal"] is False
