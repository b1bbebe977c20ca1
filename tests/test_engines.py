"""The contract of an engine: the same for the demo painter, Stable Diffusion, and ZeroGPU."""

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from sd35.core.model_options import ModelOptions
from sd35.core.request import GenerationRequest
from sd35.space import replicas
from sd35.space.engine import Broken, Engine, Loading, Ready, Step
from sd35.space.engine_options import EngineOptions
from sd35.space.models import Weights
from sd35.space.painter import DemoPainter
from sd35.space.previews import LONGEST_SIDE, MAX_BYTES, PREVIEWS_PER_RUN, has_preview
from sd35.space.replicas import ReplicaRange
from sd35.space.zerogpu import ZeroGPUEngine

if TYPE_CHECKING:
    from sd35.core.model_options import Precision

LIMIT_SECONDS = 120
REQUEST = GenerationRequest(
    "a lighthouse", "rain", 256, 192, 4.5, num_inference_steps=6, seed=7, randomize_seed=False
)
MODEL_ENGINES = [
    pytest.param(precision, marks=pytest.mark.model)
    for precision in ("float32", "bfloat16", "int8")
]
ZEROGPU_ENGINE = pytest.param("zerogpu", marks=pytest.mark.zerogpu)
REPLICA_ENGINE = pytest.param("replicas", marks=pytest.mark.ray)


@pytest.fixture(scope="module", params=["painter", *MODEL_ENGINES, ZEROGPU_ENGINE, REPLICA_ENGINE])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    match request.param:
        case "painter":
            engine: Engine = DemoPainter()
        case "zerogpu":
            # Off Hugging Face, the package calls its functions in this process.
            engine = ZeroGPUEngine(DemoPainter(), Weights(0, 0, 0), pytest.importorskip("spaces"))
        case "replicas":
            engine = replicas.create_engine(EngineOptions(), ReplicaRange(2, 2))
        case precision:
            engine = create_model_engine(tmp_path_factory.mktemp("model"), precision)
    engine.start()
    wait_until_loaded(engine)
    yield engine
    engine.close()


def create_model_engine(folder: Path, precision: "Precision") -> Engine:
    """Return an engine over a tiny model."""
    from sd35.space.diffusion.build import create_engine  # noqa: PLC0415  # needs torch
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # see above

    name = str(save_tiny_model(folder))
    return create_engine(EngineOptions(name, ModelOptions("cpu", precision, "none")))


def wait_until_loaded(engine: Engine) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while isinstance(engine.state, Loading):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if isinstance(engine.state, Broken):
        raise engine.state.error


def run(engine: Engine, request: GenerationRequest) -> tuple[list[Step], Image.Image]:
    *steps, image = engine.generate(request)
    assert isinstance(image, Image.Image)
    return [step for step in steps if isinstance(step, Step)], image


def test_run_yields_each_step_and_the_image(engine: Engine) -> None:
    """Steps are numbered to the last, and the image has the requested size."""
    assert engine.state == Ready()
    steps, image = run(engine, REQUEST)
    assert [(step.number, step.total) for step in steps] == [(n, 6) for n in range(1, 7)]
    assert (image.mode, image.size) == ("RGB", (256, 192))


def test_previews_are_small_jpegs(engine: Engine) -> None:
    """Previews differ from step to step, are small, and have the image's shape."""
    steps, _ = run(engine, replace(REQUEST, width=1024, height=512, num_inference_steps=3))
    previews = [step.preview for step in steps if step.preview is not None]
    assert len(previews) == len(set(previews)) == 2, "the last step is followed by the image"
    for preview in previews:
        assert len(preview) <= MAX_BYTES
        image = Image.open(io.BytesIO(preview))
        assert (image.format, image.size) == ("JPEG", (LONGEST_SIDE, LONGEST_SIDE // 2))


def test_number_of_previews_is_limited() -> None:
    """A long run has as many previews as one of 13 steps, at equal distances."""
    for total in range(1, 100):
        numbers = [number for number in range(1, total + 1) if has_preview(number, total)]
        assert len(numbers) == min(PREVIEWS_PER_RUN, total - 1)
        distances = {after - before for before, after in pairwise(numbers)}
        assert max(distances, default=0) - min(distances, default=0) <= 1


def test_seed_and_prompts_decide_about_the_image(engine: Engine) -> None:
    """The same request gives the same bytes; another seed, prompt or negative prompt others."""
    images = {
        run(engine, request)[1].tobytes()
        for request in (
            *(REQUEST, REQUEST),
            replace(REQUEST, seed=8),
            replace(REQUEST, prompt="a mountain"),
            replace(REQUEST, negative_prompt="lighthouse"),
        )
    }
    assert len(images) == 4


def test_without_guidance_the_negative_prompt_is_ignored(engine: Engine) -> None:
    """At a guidance scale of 1 or below, only the prompt counts."""
    request = replace(REQUEST, guidance_scale=0)
    other = replace(request, negative_prompt="lighthouse")
    assert run(engine, request)[1].tobytes() == run(engine, other)[1].tobytes()


@pytest.mark.parametrize("step_count", [0, 1, 3])
def test_closed_run_ends_and_leaves_nothing(engine: Engine, step_count: int) -> None:
    """After a run that was closed at any step, the next one gives the same image as before."""
    expected = run(engine, REQUEST)[1].tobytes()
    steps = engine.generate(replace(REQUEST, num_inference_steps=50))
    for _ in range(step_count):
        next(steps)
    steps.close()
    assert list(steps) == []
    assert run(engine, REQUEST)[1].tobytes() == expected
