"""What can be asked for, and the sizes of aspect ratios."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.limits import PUBLIC_LIMITS, Limits, Range
from sd35.core.request import GenerationRequest, validate
from sd35.core.sizes import ASPECT_RATIOS, SizeUnavailableError, size_for

SPACE_LIMITS = {
    "large, large-turbo": PUBLIC_LIMITS,
    "medium": replace(
        PUBLIC_LIMITS, width=Range(512, 1440, 32, 1024), height=Range(512, 1440, 32, 1024)
    ),
    "sd3-medium": replace(
        PUBLIC_LIMITS, width=Range(256, 1344, 64, 1024), height=Range(256, 1344, 64, 1024)
    ),
}


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("1:1", (1024, 1024)),
        ("5:4", (960, 768)),
        ("4:3", (1024, 768)),
        ("3:2", (960, 640)),
        ("16:9", (1024, 576)),
        ("2:1", (1024, 512)),
        ("9:16", (576, 1024)),
        ("2:3", (640, 960)),
    ],
)
def test_presets_on_the_public_space(ratio: str, size: tuple[int, int]) -> None:
    """A preset would be refused by the public Space, or be smaller or further off than need be."""
    resolved_size = size_for(ratio, PUBLIC_LIMITS)
    assert (resolved_size.width, resolved_size.height) == size


@pytest.mark.parametrize("limits", SPACE_LIMITS.values(), ids=SPACE_LIMITS)
@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
def test_every_preset_on_every_sister_space(ratio: str, limits: Limits) -> None:
    """A preset gives a size that a Space refuses, or isn't its ratio, without being called unavailable."""
    width, height = (int(part) for part in ratio.split(":"))
    try:
        size = size_for(ratio, limits)
    except SizeUnavailableError as error:
        assert limits is PUBLIC_LIMITS  # the others can make every preset
        assert ratio in {"21:9", "9:21"}
        assert "439 pixels" in str(error)
        assert "smallest is 512" in str(error)
        return
    assert size.width % 16 == size.height % 16 == 0
    assert (size.width - limits.width.minimum) % limits.width.step == 0
    assert not validate(GenerationRequest("a cat", width=size.width, height=size.height), limits)
    assert math.isclose(size.width / size.height, width / height, rel_tol=0.03)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(0, 60),
    st.sampled_from([8, 16, 32, 64]),
)
def test_any_ratio_within_any_limits(
    across: int, down: int, low: int, more: int, step: int
) -> None:
    """A computed size isn't on the pipeline's or the slider's grid, or outside the limits."""
    value_range = Range(low * step, (low + more) * step, step, low * step)
    limits = replace(PUBLIC_LIMITS, width=value_range, height=value_range)
    try:
        size = size_for(f"{across}:{down}", limits)
    except SizeUnavailableError:
        return
    for side in (size.width, size.height):
        assert side % 16 == 0
        assert side % step == 0
        assert value_range.contains(side)
    assert abs(size.width / size.height / (across / down) - 1) <= 0.03


@pytest.mark.parametrize("ratio", ["", "1", "0:1", "1:0", "-1:1", "a:b", "nan:1", "inf:1", "1:1:1"])
def test_what_is_no_ratio(ratio: str) -> None:
    """Nonsense is taken for a ratio, or ends in another error than ValueError."""
    with pytest.raises(ValueError, match="aspect ratio"):
        size_for(ratio, PUBLIC_LIMITS)


@pytest.mark.parametrize(
    ("changes", "field", "expected_message"),
    [
        ({"prompt": " \n"}, "prompt", "prompt is empty"),
        ({"prompt": "x" * 10_001}, "prompt", "10,001 characters"),
        ({"width": 1344}, "width", "512 to 1024 pixels"),
        ({"height": 440}, "height", "512 to 1024 pixels"),
        ({"width": 682}, "width", "try 688 instead of 682"),
        ({"guidance_scale": 8.0}, "guidance_scale", "0 to 7.5"),
        ({"guidance_scale": math.nan}, "guidance_scale", "0 to 7.5"),
        ({"num_inference_steps": 0}, "num_inference_steps", "1 to 50"),
        (
            {"seed": 2147483648, "randomize_seed": False},
            "seed",
            "0 to 2147483647 on this Space, not 2147483648.",
        ),
    ],
)
def test_problems_are_said_at_their_field(
    changes: dict[str, object], field: str, expected_message: str
) -> None:
    """A request that the Space would refuse is sent, or the sentence doesn't say what would do."""
    (problem,) = validate(replace(GenerationRequest("a cat"), **changes), PUBLIC_LIMITS)  # type: ignore[arg-type]
    assert problem.field == field
    assert expected_message in problem.message


def test_a_seed_that_does_not_count_is_no_problem() -> None:
    """With “Randomize seed”, a leftover in the seed field stops the request."""
    assert not validate(GenerationRequest("a cat", seed=-1, randomize_seed=True), PUBLIC_LIMITS)


def test_a_negative_prompt_where_there_is_none() -> None:
    """On a Space without one, the negative prompt is dropped without a word."""
    limits = replace(PUBLIC_LIMITS, negative_prompt=False)
    assert (
        validate(GenerationRequest("a cat", negative_prompt="dog"), limits)[0].field
        == "negative_prompt"
    )
