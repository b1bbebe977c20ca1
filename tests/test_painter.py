"""The demo painter: its arithmetic, its vocabulary, and the same image on every machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sd35.core.request import GenerationRequest
from sd35.space.painter import Step, paint
from sd35.space.painter.flow import sigmas
from sd35.space.painter.scene import compose
from sd35.space.painter.streams import RandomStream
from sd35.space.painter.vocabulary import (
    CANONICAL,
    KNOWN_WORDS,
    Mention,
    ParsedPrompt,
    parse_prompt,
)

SMALL_REQUEST = GenerationRequest(
    "a lighthouse by the sea at sunset", seed=3, width=96, height=64, num_inference_steps=8
)


def run_flow(request: GenerationRequest) -> tuple[list[Step], Image.Image]:
    steps = []
    flow = paint(request)
    while True:
        try:
            steps.append(next(flow))
        except StopIteration as end:
            return steps, end.value


@cache
def final_image(request: GenerationRequest) -> Image.Image:
    return run_flow(request)[1]


def mean_difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference of two images of one size, from 0 to 255."""
    return float(np.abs(np.asarray(first).astype(int) - np.asarray(second).astype(int)).mean())


def digest(image: Image.Image) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_same_request_gives_the_same_bytes() -> None:
    """A request with the same seed gives the same image."""
    assert run_flow(SMALL_REQUEST)[1].tobytes() == run_flow(SMALL_REQUEST)[1].tobytes()


@pytest.mark.parametrize(
    ("prompt", "sha256"),
    [
        (
            "a lighthouse by the sea at sunset",
            "5ed3ff5870bae3d80a49aea1bda6056b4add23a8e8a65f5f4fc3b16327fe401f",
        ),
        (
            "fox, stars, winter forest",
            "c50ae77c8d13a48eaf8c703d18b1bf0f4715350f8b9583406b287626be259885",
        ),
        ("zzz", "1769da2ecd7892d5fd97bb6b347d64e34a2d585cf97ce2d12eb2f64748b255b6"),
    ],
)
def test_images_are_pinned(prompt: str, sha256: str) -> None:
    """Every machine and every version paints these pixels for these requests."""
    assert digest(final_image(replace(SMALL_REQUEST, prompt=prompt))) == sha256


def test_seeds_give_different_images() -> None:
    """Each seed gives another image."""
    images = [final_image(replace(SMALL_REQUEST, seed=seed)) for seed in range(4)]
    assert len({digest(image) for image in images}) == 4
    assert mean_difference(images[0], images[1]) > 4


@pytest.mark.parametrize("word", sorted(CANONICAL))
def test_every_known_word_is_visible(word: str) -> None:
    """Each known word changes the image visibly, with all random streams fixed."""
    base = "tree" if word != "tree" else "house"
    plain, with_word = (
        compose(parse_prompt(text), ParsedPrompt(), "key", (72, 54)).image
        for text in (base, f"{base}, {word}")
    )
    change = np.abs(np.asarray(plain).astype(int) - np.asarray(with_word).astype(int)).max(axis=2)
    assert float((change >= 12).mean()) > 0.012  # of the pixels, visibly


def test_every_known_word_is_parsed() -> None:
    """The vocabulary has at least 70 words, and the parser finds each."""
    assert len(KNOWN_WORDS) >= 70
    assert all(parse_prompt(word).known_words for word in KNOWN_WORDS)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A red fox", ParsedPrompt(mentions=(Mention("fox", "red"),))),
        ("two CATS and a dog", ParsedPrompt(mentions=(Mention("cat", None, 2), Mention("dog")))),
        (
            "boats at night, line art",
            ParsedPrompt((Mention("boat", None, 3),), (), ("night",), ("lineart",)),
        ),
        ("northern lights, teal", ParsedPrompt(colors=("teal",), modifiers=("aurora",))),
        ("butterflies", ParsedPrompt(mentions=(Mention("butterfly", None, 3),))),
        ("catastrophe", ParsedPrompt()),
    ],
)
def test_prompts_are_parsed(prompt: str, expected: ParsedPrompt) -> None:
    """Colors, numbers, plurals, phrases and look-alikes are parsed correctly."""
    assert parse_prompt(prompt) == expected


def test_unknown_prompts_give_different_images() -> None:
    """Each prompt without a known word gives another abstract image."""
    images = [
        final_image(replace(SMALL_REQUEST, prompt=text)) for text in ("qwx", "blorb", "ζ", "")
    ]
    pairs = [(a, b) for i, a in enumerate(images) for b in images[:i]]
    assert all(mean_difference(a, b) > 8 for a, b in pairs)


@pytest.mark.parametrize("size", [(256, 256), (192, 64), (64, 192), (65, 97)])
def test_image_and_preview_have_the_requested_size(size: tuple[int, int]) -> None:
    """Images have the requested size, and previews fit into theirs."""
    steps, image = run_flow(
        replace(SMALL_REQUEST, width=size[0], height=size[1], num_inference_steps=2)
    )
    assert (image.mode, image.size) == ("RGB", size)
    assert max(steps[0].preview(48).size) == 48
    assert steps[0].preview().size == size


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    prompt=st.text(st.characters(), max_size=300), negative=st.text(st.characters(), max_size=60)
)
def test_any_text_can_be_painted(prompt: str, negative: str) -> None:
    """Every text, even with lone surrogates, gives an image."""
    image = run_flow(
        GenerationRequest(prompt, negative, width=32, height=32, num_inference_steps=1)
    )[1]
    assert image.size == (32, 32)


@pytest.mark.parametrize(
    "prompt", ["x" * 100_000, "red " * 25_000, "\ud800" * 100_000, "İ ﷽ \x00" * 20_000]
)
def test_long_prompts_can_be_painted(prompt: str) -> None:
    """A very long prompt gives an image quickly."""
    assert run_flow(replace(SMALL_REQUEST, prompt=prompt, num_inference_steps=1))[1].size == (
        96,
        64,
    )


def test_sigmas() -> None:
    """Noise levels are those of SD3: evenly spaced times under a shift of 3."""
    assert sigmas(1) == [1.0, 0.0]
    assert sigmas(4) == pytest.approx([1.0, 0.9, 0.75, 0.5, 0.0])
    steps, _ = run_flow(replace(SMALL_REQUEST, num_inference_steps=4))
    assert [step.sigma for step in steps] == pytest.approx([0.9, 0.75, 0.5, 0.0])
    assert [(step.number, step.total) for step in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_noise_is_normal() -> None:
    """The flow begins at unit noise."""
    noise = RandomStream("noise").normal(64, 64, 3)
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 1) < 0.05


def test_previews_approach_the_image() -> None:
    """Each preview is closer to the final image than the one before."""
    steps, image = run_flow(replace(SMALL_REQUEST, num_inference_steps=20))
    differences = [mean_difference(step.preview(), image) for step in steps]
    assert all(later <= previous + 0.75 for previous, later in pairwise(differences))
    assert differences[0] > 20
    assert differences[-1] < 1


def test_more_steps_finish_the_image() -> None:
    """Few steps leave an image unfinished, as with the model."""
    finished = final_image(replace(SMALL_REQUEST, num_inference_steps=40))
    differences = [
        mean_difference(final_image(replace(SMALL_REQUEST, num_inference_steps=n)), finished)
        for n in (1, 4, 8, 20)
    ]
    assert differences == sorted(differences, reverse=True)
    assert differences[1] > 3
    assert differences[3] < 1


def test_guidance_raises_contrast() -> None:
    """Guidance takes the image from washed out to overcooked."""
    contrast = [
        float(np.asarray(final_image(replace(SMALL_REQUEST, guidance_scale=g))).std())
        for g in (1.0, 3.0, 4.5, 7.5)
    ]
    assert contrast == sorted(contrast)
    assert contrast[0] < 0.6 * contrast[2]


@pytest.mark.parametrize("negative", ["sea", "lighthouse", "sunset", "purple", "ugly"])
def test_negative_prompt_counts_only_under_guidance(negative: str) -> None:
    """The negative prompt changes the image with guidance, and not without."""
    without_guidance = replace(SMALL_REQUEST, guidance_scale=1.0)
    assert digest(final_image(replace(without_guidance, negative_prompt=negative))) == digest(
        final_image(without_guidance)
    )
    assert (
        mean_difference(
            final_image(replace(SMALL_REQUEST, negative_prompt=negative)),
            final_image(SMALL_REQUEST),
        )
        > 0.3
    )


def test_negative_color_is_removed() -> None:
    """A color in the negative prompt leaves less of this color in the image."""
    blue = [
        float(np.asarray(final_image(replace(SMALL_REQUEST, negative_prompt=n)))[..., 2].mean())
        for n in ("", "blue")
    ]
    assert blue[1] < blue[0] - 5


def test_flow_can_be_closed() -> None:
    """A flow that is closed midway leaves no error, and its last preview stays usable."""
    flow = paint(SMALL_REQUEST)
    step = next(flow)
    flow.close()
    assert step.preview(32).size == (32, 21)
