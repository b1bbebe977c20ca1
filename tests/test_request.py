"""Requests, their check against a Space's limits, and the sizes of aspect ratios."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.errors import FieldError, InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range
from sd35.core.request import GenerationRequest, RequestOptions, check_request, random_seed
from sd35.core.seed import MAX_SEED, parse_seed
from sd35.core.sizes import ASPECT_RATIOS, Size, SizeUnavailableError, size_for

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
def test_a_preset_is_the_largest_size_of_the_public_space(
    ratio: str, size: tuple[int, int]
) -> None:
    resolved_size = size_for(ratio, PUBLIC_LIMITS)
    assert (resolved_size.width, resolved_size.height) == size


@pytest.mark.parametrize("limits", SPACE_LIMITS.values(), ids=SPACE_LIMITS)
@pytest.mark.parametrize("ratio", ASPECT_RATIOS)
def test_a_preset_has_its_ratio_and_is_accepted_or_is_unavailable(
    ratio: str, limits: Limits
) -> None:
    width, height = (int(part) for part in ratio.split(":"))
    try:
        size = size_for(ratio, limits)
    except SizeUnavailableError as error:
        assert limits is PUBLIC_LIMITS  # the others can make every preset
        assert ratio in {"21:9", "9:21"}
        assert "at least 512 px per side" in str(error)
        return
    assert size.width % 16 == size.height % 16 == 0
    assert (size.width - limits.width.minimum) % limits.width.step == 0
    check_request(GenerationRequest("a cat", width=size.width, height=size.height), limits)
    assert math.isclose(size.width / size.height, width / height, rel_tol=0.03)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(0, 60),
    st.sampled_from([8, 16, 32, 64]),
)
def test_a_computed_size_is_on_both_grids_and_within_the_limits(
    across: int, down: int, low: int, more: int, step: int
) -> None:
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


@pytest.mark.parametrize("default", [256, 1024])
def test_presets_of_our_own_space_have_the_area_that_the_model_was_trained_for(
    default: int,
) -> None:
    """Every ratio is available, with about the area of the default size, however much may be."""
    side = Range(256, 1536, 16, default)
    limits = replace(PUBLIC_LIMITS, width=side, height=side, max_pixels=1_600_000)
    assert size_for("1:1", limits) == Size(default, default)
    for ratio in ASPECT_RATIOS:
        size = size_for(ratio, limits)
        shorter_side = min(size.width, size.height)
        assert size.width * size.height <= default**2 or shorter_side == side.minimum


@pytest.mark.parametrize(
    "ratio",
    ["", "1", "0:1", "1:0", "-1:1", "a:b", "nan:1", "inf:1", "1e-300:1", "1:1:1"],
)
def test_nonsense_is_no_ratio(ratio: str) -> None:
    with pytest.raises(ValueError, match="aspect ratio"):
        size_for(ratio, PUBLIC_LIMITS)


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"prompt": " \n"}, "prompt", "Enter a prompt."),
        ({"prompt": None}, "prompt", "Enter a prompt."),
        ({"prompt": "x" * 10_001}, "prompt", "Prompt too long: 10,001 of 10,000 characters."),
        ({"prompt": "\udcff"}, "prompt", "The prompt contains invalid characters."),
        (
            {"negative_prompt": "\udcff"},
            "negative_prompt",
            "The negative prompt contains invalid characters.",
        ),
        ({"width": 1344}, "width", "Width must be between 512 and 1024 px."),
        ({"height": 440}, "height", "Height must be between 512 and 1024 px."),
        ({"width": 682}, "width", "Width must be a multiple of 16, such as 688."),
        ({"width": "wide"}, "width", "Enter a width."),
        ({"guidance_scale": 8}, "guidance_scale", "Guidance scale must be between 0 and 7.5."),
        ({"guidance_scale": math.nan}, "guidance_scale", "Enter a guidance scale."),
        (
            {"num_inference_steps": 0},
            "num_inference_steps",
            "Number of steps must be between 1 and 50.",
        ),
        ({"num_inference_steps": "40"}, "num_inference_steps", "Enter the number of steps."),
        (
            {"num_inference_steps": 2.5},
            "num_inference_steps",
            "The number of steps must be a whole number.",
        ),
        (
            {"seed": 2147483648},
            "seed",
            "Enter a seed from 0 to 2,147,483,647, or leave it empty for a random one.",
        ),
        ({"seed": True}, "seed", "Enter a seed."),
        ({"seed": math.inf}, "seed", "Enter a seed."),
        (
            {"aspect_ratio": "wide"},
            "aspect_ratio",
            "An aspect ratio is two positive numbers, such as 16:9, not 'wide'.",
        ),
        (
            {"aspect_ratio": "21:9"},
            "aspect_ratio",
            "21:9 isn't available: this Space needs at least 512 px per side.",
        ),
    ],
)
def test_an_error_names_its_field_and_what_is_allowed(
    values: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        RequestOptions(**{"prompt": "a cat"} | values).resolve(PUBLIC_LIMITS)
    assert caught.value.field_errors == (FieldError(field, message),)
    assert str(caught.value) == message


def test_an_image_has_no_more_pixels_than_the_space_makes() -> None:
    """Where the area is limited, too, each side alone may be within its limits."""
    limits = replace(PUBLIC_LIMITS, max_pixels=1_000_000)
    with pytest.raises(InvalidRequestError, match="this Space makes up to 1"):
        RequestOptions(prompt="a cat", width=1024, height=1024).resolve(limits)
    assert RequestOptions(prompt="a cat", width=1024, height=960).resolve(limits)


def test_sides_are_multiples_of_what_the_model_needs() -> None:
    """Of a model whose sides are multiples of 48: presets, the side from a ratio, and the error."""
    side = Range(48, 1536, 48, 1008)
    limits = replace(PUBLIC_LIMITS, width=side, height=side, max_pixels=1_600_000, size_multiple=48)
    for ratio in ASPECT_RATIOS:
        size = size_for(ratio, limits)
        assert (size.width % 48, size.height % 48) == (0, 0)
    request = RequestOptions(prompt="a cat", width=1440, aspect_ratio="16:9").resolve(limits)
    assert request.height == 816
    with pytest.raises(InvalidRequestError, match="a multiple of 48, such as 1008"):
        RequestOptions(prompt="a cat", width=1024, height=1008).resolve(limits)


def test_every_wrong_field_is_named() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        RequestOptions(prompt="", width=100, seed=-2).resolve(PUBLIC_LIMITS)
    assert [error.field for error in caught.value.field_errors] == ["prompt", "width", "seed"]


def test_missing_values_are_the_space_s_defaults() -> None:
    limits = replace(PUBLIC_LIMITS, num_inference_steps=Range(1, 8, 1, 4), guidance_scale=None)
    request = RequestOptions(prompt=" a cat ").resolve(limits)
    assert replace(request, seed=0) == GenerationRequest(
        "a cat", num_inference_steps=4, randomize_seed=False
    )


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, (1024, 1024)),
        ({"width": 512}, (512, 1024)),
        ({"aspect_ratio": "16:9"}, (1024, 576)),
        ({"aspect_ratio": "16:9", "width": 960}, (960, 544)),
        ({"aspect_ratio": "9:16", "height": 960}, (544, 960)),
        ({"aspect_ratio": "16:9", "width": 512, "height": 512}, (512, 512)),
        ({"width": 512.0, "height": 640.0}, (512, 640)),
    ],
)
def test_a_side_takes_precedence_over_the_ratio(
    values: dict[str, Any], size: tuple[int, int]
) -> None:
    request = RequestOptions(prompt="a cat", **values).resolve(PUBLIC_LIMITS)
    assert (request.width, request.height) == size


def test_a_seed_is_ignored_where_a_random_one_is_drawn() -> None:
    check_request(GenerationRequest("a cat", seed=-1, randomize_seed=True), PUBLIC_LIMITS)


def test_a_random_seed_lies_within_the_limits() -> None:
    limits = replace(PUBLIC_LIMITS, seed=Range(5, 6, 1, 5))
    assert {random_seed(limits) for _ in range(50)} == {5, 6}


def test_a_negative_prompt_is_refused_where_there_is_no_such_parameter() -> None:
    limits = replace(PUBLIC_LIMITS, negative_prompt=False)
    with pytest.raises(InvalidRequestError, match="doesn't support negative prompts"):
        RequestOptions(prompt="a cat", negative_prompt="dog").resolve(limits)


@pytest.mark.parametrize(
    ("value", "seed"),
    [
        *((seed, seed) for seed in (0, 2**31, 2**53 - 1, 2**53 + 1, 10**15, 2**63, 2**64 - 1)),
        *((str(seed), seed) for seed in (0, 2**31, 2**53 + 1, 10**15, 2**63, 2**64 - 1)),
        *(("007", 7), (" 7 ", 7), ("123.0", 123), (123.0, 123), ("1e15", 10**15), (1e15, 10**15)),
        *((-1, None), ("-1", None), (2**64, None), (str(2**64), None), (10**400, None)),
        *((1.5, None), ("1.5", None), ("9007199254740991.5", None), (math.nan, None)),
        # As floats these could have been other numbers, too.
        *((2.0**53, None), (1.8446744073709552e19, None), ("1.8446744073709552e+19", None)),
        *((True, None), (None, None), ("", None), ("7 8", None), ("٧", None), ("1e999", None)),
    ],
)  # fmt: skip
def test_a_seed_is_exact_or_none(value: object, seed: int | None) -> None:
    """Each number and text is a seed of up to 64 bits to its last digit, or none at all."""
    assert parse_seed(value) == seed


def test_the_largest_seed_is_requested_to_the_last_digit() -> None:
    """A Space that takes seeds of 64 bits gets the one that was given, and no float of it."""
    limits = replace(PUBLIC_LIMITS, seed=Range(0, MAX_SEED, 1, 0))
    for seed in (MAX_SEED, str(MAX_SEED)):
        assert RequestOptions(prompt="a cat", seed=seed).resolve(limits).seed == MAX_SEED
    with pytest.raises(InvalidRequestError, match=r"from 0 to 18,446,744,073,709,551,615,"):
        RequestOptions(prompt="a cat", seed=MAX_SEED + 1).resolve(limits)
    assert str(limits.seed) == f"0 to {MAX_SEED}"
