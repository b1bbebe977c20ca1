"""Stable Diffusion's own classes, tiny, as a Space."""

import contextlib
import gc
import io
import json
import os
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest
from PIL import Image

from sd35.client import Previews, SpaceClient
from sd35.core.errors import GenerationFailedError
from sd35.core.events import Event, Finished, Preview, Progress
from sd35.core.model_options import ModelOptions
from sd35.core.request import GenerationRequest
from sd35.jobs.provenance import build_metadata
from sd35.metadata.embedding import embed_metadata, read_metadata
from sd35.provider import ImagePreview, ImageResponse, ResponseError
from sd35.server import launch
from sd35.space.engine import Broken, EngineError, Loading, Notice, Ready
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine, Plan
from sd35.space.models import GB, MODELS
from sd35.space.server import build_space
from sd35.ui.create.form import FormValues
from sd35.ui.create.import_settings import apply_settings
from tests.test_engines import LIMIT_SECONDS, create_model_engine, wait_until_loaded
from tests.test_provider import provider_for

pytestmark = [pytest.mark.anyio, pytest.mark.model]

REQUEST = GenerationRequest(
    "a lighthouse", "rain", 256, 256, 4.5, num_inference_steps=6, seed=7, randomize_seed=False
)


@dataclass(frozen=True, slots=True)
class ModelSpace:
    """A Space over a tiny model in bfloat16."""

    engine: Any  # DiffusersEngine, whose module needs torch
    address: str


@contextlib.contextmanager
def serve_model(folder: Path) -> Iterator[ModelSpace]:
    engine = create_model_engine(folder, "bfloat16")
    demo = build_space(engine)
    try:
        yield ModelSpace(engine, launch.launch(demo, port=launch.free_port()))
    finally:
        launch.close(demo)
        engine.close()


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelSpace]:
    with serve_model(tmp_path_factory.mktemp("model")) as space:
        space.engine.start()
        wait_until_loaded(space.engine)
        yield space


async def run(client: SpaceClient, request: GenerationRequest) -> list[Event]:
    async with client.generate(request, previews=Previews.ALL) as generation:
        return [event async for event in generation]


async def test_space_says_what_it_runs(space: ModelSpace) -> None:
    """The client learns the model, its precision, its device and its limits from the Space."""
    async with SpaceClient.connect(space.address) as client:
        info = client.contract.model_info
        assert (info.precision, info.device) == ("bfloat16", "CPU")
        assert client.model == info.name
        assert client.contract.limits == space.engine.limits
        assert not client.contract.is_demo
        assert client.contract.is_generator


def test_page_names_the_licence(space: ModelSpace) -> None:
    """A model of this kind is Stability's, or made from one: its page says so."""
    assert "Powered by [Stability AI]" in httpx.get(f"{space.address}config").text


async def test_run_has_previews_progress_and_the_seeds_image(space: ModelSpace) -> None:
    """A run shows each step, and the same seed gives the same image as the engine itself."""
    async with SpaceClient.connect(space.address) as client:
        events = await run(client, REQUEST)
        finished = events[-1]
        assert isinstance(finished, Finished)
        assert finished.seed == REQUEST.seed
        picture = await client.fetch(finished.picture)
        assert (picture.format, picture.width, picture.height) == ("PNG", 256, 256)
        assert len({event.picture.url for event in events if isinstance(event, Preview)}) >= 3
        assert [event.step for event in events if isinstance(event, Progress)][-1] == 6
        again = (await run(client, REQUEST))[-1]
        assert isinstance(again, Finished)
        assert (await client.fetch(again.picture)).data == picture.data


def test_gradio_client_gets_previews_and_the_same_image_again(space: ModelSpace) -> None:
    """Of gradio_client: each step's output, and for one seed one image, to the last pixel."""
    client = gradio_client.Client(space.address, verbose=False)
    data = ["a lighthouse", "rain", 7, False, 256, 256, 4.5, 6]
    images = []
    for _ in range(2):
        job = client.submit(*data, api_name="/infer")
        path, seed = job.result(timeout=LIMIT_SECONDS)
        assert seed == 7
        assert len(job.outputs()) >= 6
        images.append(Image.open(path).tobytes())
    assert images[0] == images[1]


async def test_provider_class_gets_previews_image_and_errors(space: ModelSpace) -> None:
    """Of a subclass of the provider for our Space: previews, the image, and why there is none."""
    provider = provider_for(space.address)
    messages = [{"role": "user", "content": "a lighthouse"}]
    results = [
        image
        async for image in provider.create_async_generator("", messages, num_inference_steps=6)
    ]
    *previews, response = results
    assert len(previews) >= 3
    assert all(isinstance(preview, ImagePreview) for preview in previews)
    assert isinstance(response, ImageResponse)
    with pytest.raises(ResponseError, match="multiple of 16"):
        await anext(provider.create_async_generator("", messages, width=264, height=256))


async def test_image_names_its_model_precision_and_device(space: ModelSpace) -> None:
    """The image's file says what made it, for other tools, too; none of it hinders its reuse."""
    async with SpaceClient.connect(space.address) as client:
        finished = (await run(client, REQUEST))[-1]
        assert isinstance(finished, Finished)
        picture = replace(await client.fetch(finished.picture), seed=finished.seed)
        model = space.engine.model_info.name
        metadata = build_metadata(REQUEST, picture, client, picture_id="1", elapsed_seconds=1)
        data = embed_metadata(picture.data, metadata)
        read = read_metadata(data)
        assert read is not None
        assert read.model == model
        assert dict(read.extra) == {"Precision": "bfloat16", "Device": "CPU"}
        infotext = Image.open(io.BytesIO(data)).info["parameters"]
        assert f"Model: {model}" in infotext
        form = FormValues(
            "", "", "1:1", 256, 256, 4.5, 6, 7, randomize_seed=False, batch_options=""
        )
        assert apply_settings(read, form, client.contract.limits).changes == []


async def test_stop_ends_the_run_at_its_next_step(space: ModelSpace) -> None:
    """Whoever leaves a run frees the model for the next one at once."""
    async with SpaceClient.connect(space.address) as client:
        async with client.generate(replace(REQUEST, num_inference_steps=50)) as generation:
            async for event in generation:
                if isinstance(event, Progress):
                    break
        assert generation.stopped is not None
        assert generation.stopped.name == "ENDED"
        assert isinstance((await run(client, REQUEST))[-1], Finished)


@pytest.mark.parametrize(
    ("width", "expected_message"),
    [(264, "multiples of 16"), (8, "less than minimum"), (1536, "up to 1.6 megapixels")],
)
def test_bad_size_never_reaches_the_model(
    space: ModelSpace, monkeypatch: pytest.MonkeyPatch, width: int, expected_message: str
) -> None:
    """A size that the model can't make is refused before the GPU has the request."""
    monkeypatch.setattr(space.engine, "generate", pytest.fail)
    url = f"{space.address}gradio_api/call/infer"
    data = ["a cat", "", 7, False, width, 1536, 4.5, 4]
    event_id = httpx.post(url, json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{url}/{event_id}", timeout=LIMIT_SECONDS).text
    assert "event: error" in answer
    assert expected_message in answer


async def test_memory_error_names_a_size_that_fits(
    space: ModelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a run that didn't fit into the GPU's memory, the Space goes on serving."""
    import torch  # noqa: PLC0415  # only with the model's packages

    transformer = type(space.engine.pipeline.transformer)  # where memory runs out
    forward = transformer.forward
    monkeypatch.setattr(transformer, "forward", raise_error(torch.OutOfMemoryError("2.3 GiB")))
    expected_message = (
        r"640 × 512 doesn't fit.*512 × 512, or start again with --model \S+ --device cpu "
        r"--precision int8 --offload none"
    )
    async with SpaceClient.connect(space.address) as client:
        with pytest.raises(GenerationFailedError, match=expected_message):
            await run(client, replace(REQUEST, width=640, height=512))
        assert space.engine.state == Ready()
        monkeypatch.setattr(transformer, "forward", forward)
        assert isinstance((await run(client, REQUEST))[-1], Finished)


def use_heun(folder: Path) -> None:
    """Name the scheduler of Heun's method, with a setting that it doesn't know."""
    scheduler = {"_class_name": "FlowMatchHeunDiscreteScheduler", "use_dynamic_shifting": True}
    change_json(folder / "scheduler" / "scheduler_config.json", **scheduler)
    change_json(folder / "model_index.json", scheduler=["diffusers", scheduler["_class_name"]])


def use_pickles(folder: Path) -> None:
    """Store all weights as PyTorch did before safetensors."""
    import torch  # noqa: PLC0415  # only with the model's packages
    from safetensors.torch import load_file  # noqa: PLC0415  # see above

    for path in folder.glob("*/*.safetensors"):
        stem = "pytorch_model" if path.stem == "model" else path.stem
        torch.save(load_file(path), path.with_name(f"{stem}.bin"))
        path.unlink()


def use_variants(folder: Path) -> None:
    """Store the weights of one part as a variant alone, and of another one twice."""
    t5_path = folder / "text_encoder_3" / "model.safetensors"
    t5_path.rename(t5_path.with_name("model.bf16.safetensors"))
    vae_path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    shutil.copy(vae_path, vae_path.with_name("diffusion_pytorch_model.bf16.safetensors"))


def leave_settings_out(folder: Path) -> None:
    """Leave out what the pipeline has no default for: tokens of a prompt, and the VAE's shift."""
    for path in folder.glob("tokenizer*/tokenizer_config.json"):
        path.unlink()
    change_json(folder / "vae" / "config.json", shift_factor=None)
    change_json(folder / "model_index.json", image_encoder=["transformers", "SiglipVisionModel"])


def quantize(folder: Path) -> None:
    """Store the transformer in int8."""
    from diffusers import SD3Transformer2DModel, TorchAoConfig  # noqa: PLC0415  # see above
    from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415  # see above

    config = TorchAoConfig(Int8WeightOnlyConfig())
    part = folder / "transformer"
    model = SD3Transformer2DModel.from_pretrained(part, quantization_config=config)
    shutil.rmtree(part)
    model.save_pretrained(part)


def use_tiny_vae(folder: Path) -> None:
    """Replace the VAE with a small decoder."""
    from diffusers import AutoencoderTiny  # noqa: PLC0415  # see above

    channels = {f"{coder}_block_out_channels": (8, 8, 8, 8) for coder in ("encoder", "decoder")}
    shutil.rmtree(folder / "vae")
    AutoencoderTiny(latent_channels=16, **channels).save_pretrained(folder / "vae")
    change_json(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("shape", "options", "change"),
    [
        ("unusual", {}, None),
        ("tiny", {"variant": "fp16", "safe_serialization": False}, None),
        ("tiny", {"max_shard_size": "40KB"}, use_heun),
        ("tiny", {}, use_pickles),
        ("tiny", {}, use_variants),
        ("tiny", {}, leave_settings_out),
        ("tiny", {}, quantize),
        ("tiny", {}, use_tiny_vae),
    ],
)
def test_folders_as_tools_write_them(
    tmp_path: Path, shape: str, options: dict[str, Any], change: Callable[[Path], None] | None
) -> None:
    """Each way to store a model makes its image, with previews of the image's shape."""
    from tests.random_model import build_random_model  # noqa: PLC0415  # needs torch

    pipeline = build_random_model(shape)
    if shape == "unusual":
        pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipeline.save_pretrained(tmp_path, **options)
    if change is not None:
        change(tmp_path)
    engine = load_engine(tmp_path)
    request = replace(REQUEST, width=256, height=512, num_inference_steps=2)
    *steps, image = engine.generate(request)
    assert image.size == (256, 512)
    assert (steps[-1].number, steps[-1].total) == (2, 2)
    assert len(steps) == (3 if change == use_heun else 2), "with Heun's method, each call counts"
    preview = Image.open(io.BytesIO(steps[0].preview))
    assert preview.size == (256, 512), "the image's shape, whatever the VAE's depth"
    has_t5 = shape == "tiny"
    assert ("without T5" in engine.model_info.options) is not has_t5
    assert engine.model_info.precision == ("torchao" if change == quantize else "bfloat16")
    engine.close()


@pytest.mark.parametrize(("has_t5", "limit"), [(True, 256), (False, 77)])
def test_prompt_beyond_the_limit_of_the_text_encoders_is_told(
    tmp_path: Path, *, has_t5: bool, limit: int
) -> None:
    """What isn't read of a prompt is said before the run, and of a negative one if it counts."""
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # needs torch

    engine = load_engine(save_tiny_model(tmp_path), no_t5=not has_t5)
    request = replace(REQUEST, prompt="x" * 300, negative_prompt="y" * 9, num_inference_steps=1)

    def notices(request: GenerationRequest) -> list[str]:
        return [result.text for result in engine.generate(request) if isinstance(result, Notice)]

    (text,) = notices(request)
    assert text.startswith(f"The model reads the first {limit} of the prompt's 30")
    negative = replace(request, prompt="x", negative_prompt="y" * 300)
    assert "of the negative prompt's 30" in notices(negative)[0]
    assert notices(replace(negative, guidance_scale=0)) == notices(REQUEST) == []
    engine.close()


class StopError(Exception):
    """Ends a run."""


@pytest.mark.parametrize("layer_count", [1, 4, 7])
def test_run_can_end_before_any_layer(layer_count: int) -> None:
    """A stopped run ends before its next layer: on a CPU, a step takes minutes."""
    from sd35.space.diffusion.run_ahead import RunAheadLimit  # noqa: PLC0415  # needs torch
    from tests.random_model import build_random_model  # noqa: PLC0415  # see above

    pipeline = build_random_model("tiny")
    limit = RunAheadLimit(pipeline, "cpu")
    calls = []

    def on_layer() -> None:
        calls.append(1)
        if len(calls) == layer_count:
            raise StopError

    for _ in range(2):
        calls.clear()
        with limit.hold(on_layer), pytest.raises(StopError):
            pipeline("a", width=128, height=128, num_inference_steps=3)
    pipeline("a", width=128, height=128, num_inference_steps=1)
    assert len(calls) == layer_count, "outside of a run nothing is called"


def test_int8_weights_can_be_moved_while_a_run_encodes_and_computes(tmp_path: Path) -> None:
    """Parts of an int8 model that wait in RAM get to the GPU."""
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # needs torch

    engine = load_engine(save_tiny_model(tmp_path), precision="int8", offload="none")
    t5_layer = engine.pipeline.text_encoder_3.encoder.block[0]
    layer = engine.pipeline.transformer.transformer_blocks[0]
    devices = []
    for module, part in ((t5_layer, t5_layer.layer[0].SelfAttention.q), (layer, layer.attn.to_q)):
        module.register_forward_pre_hook(
            lambda *_, part=part: devices.append(part.weight.to("meta").device.type)
        )
    list(engine.generate(replace(REQUEST, num_inference_steps=1)))
    assert devices == ["meta"] * 3, "for both prompts, and for one step"
    engine.close()


def test_streamed_model_keeps_no_large_part_on_the_device(tmp_path: Path) -> None:
    """Each layer of the transformer and of T5 comes to the GPU and leaves it by itself."""
    from sd35.space.diffusion.pipeline import load_pipeline  # noqa: PLC0415  # needs torch
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # see above

    machine = Machine("cpu", "CPU", 64 * GB, 64 * GB)
    pipeline = load_pipeline(save_tiny_model(tmp_path), Plan("bfloat16", "group"), machine)
    for layer in (*pipeline.text_encoder_3.encoder.block, *pipeline.transformer.transformer_blocks):
        assert layer._diffusers_hook.get_hook("group_offloading") is not None
    assert pipeline("a", width=128, height=128, num_inference_steps=1).images


def test_tiles_are_smaller_than_an_image_of_a_megapixel(tmp_path: Path) -> None:
    """A plan with tiles decodes in tiles, also if the VAE was trained with large images."""
    import torch  # noqa: PLC0415  # only with the model's packages

    from sd35.space.diffusion.pipeline import load_pipeline  # noqa: PLC0415  # needs torch
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # see above

    change_json(save_tiny_model(tmp_path) / "vae" / "config.json", sample_size=1024)
    plan = Plan("bfloat16", is_tiled=True)
    vae = load_pipeline(tmp_path, plan, Machine("cpu", "CPU", 64 * GB, 64 * GB)).vae
    sides = []
    vae.decoder.register_forward_pre_hook(lambda _, latents: sides.append(latents[0].shape[-1]))
    vae.decode(torch.zeros(1, 16, 128, 128, dtype=torch.bfloat16))
    assert max(sides) == 64
    assert len(sides) > 4


class Malice:
    """Object whose pickle runs a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("code-was-run",)


def test_pickles_run_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle of weights that would call a function is refused, in each part."""
    import torch  # noqa: PLC0415  # only with the model's packages

    from tests.random_model import save_tiny_model  # noqa: PLC0415  # see above

    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "model")
    for name in ("transformer/diffusion_pytorch_model", "text_encoder_3/model"):
        path = tmp_path / "model" / f"{name}.safetensors"
        path.rename(tmp_path / "weights")
        pickle_path = path.with_name(
            "pytorch_model.bin" if path.stem == "model" else f"{path.stem}.bin"
        )
        torch.save({"weight": torch.zeros(9), "malice": Malice()}, pickle_path)
        with pytest.raises(EngineError, match="can't be loaded"):
            load_engine(tmp_path / "model")
        assert not (tmp_path / "code-was-run").exists()
        pickle_path.unlink()
        (tmp_path / "weights").rename(path)


@pytest.mark.parametrize(
    ("quantization", "options", "expected_message"),
    [
        ("", {"offload": "group"}, "--offload group needs a GPU"),
        ("", {"offload": "model"}, "--offload model needs a GPU"),
        ("", {"precision": "nf4"}, "--precision nf4 needs an NVIDIA GPU"),
        ("bitsandbytes nf4", {}, "bitsandbytes nf4 needs an NVIDIA GPU"),
        ("torchao", {"precision": "int8"}, "are torchao already"),
    ],
)
def test_impossible_plans_are_refused_before_loading(
    quantization: str, options: dict[str, Any], expected_message: str
) -> None:
    """What the device or the files don't allow is said at once."""
    from sd35.space.diffusion.build import plan_model  # noqa: PLC0415  # needs torch

    model = replace(MODELS["medium"], quantization=quantization)
    with pytest.raises(EngineError, match=expected_message):
        plan_model(
            model,
            Machine("cpu", "CPU", 64 * GB, 64 * GB),
            EngineOptions("medium", ModelOptions(**options)),
        )


def test_folder_has_no_revision(tmp_path: Path) -> None:
    """An option that would have no effect is refused."""
    from sd35.space.diffusion.build import find_model  # noqa: PLC0415  # needs torch

    with pytest.raises(EngineError, match="A folder has no revisions"):
        find_model(str(tmp_path), "main")


def load_engine(folder: Path, **options: Any) -> Any:  # noqa: ANN401  # its module needs torch
    from sd35.space.diffusion.build import create_engine  # noqa: PLC0415  # see above

    engine = create_engine(EngineOptions(str(folder), ModelOptions("cpu", **options)))
    engine.start()
    wait_until_loaded(engine)
    return engine


@pytest.mark.parametrize("is_working", [True, False])
def test_small_decoder_in_the_cache_makes_the_previews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_working: bool
) -> None:
    """TAESD3 is used if it is there; if it fails, the run goes on with the linear map."""
    import torch  # noqa: PLC0415  # only with the model's packages
    from diffusers import AutoencoderTiny  # noqa: PLC0415  # see above

    from sd35.space.diffusion import engine as engine_module  # noqa: PLC0415  # see above

    decoder = AutoencoderTiny(
        latent_channels=16,
        decoder_block_out_channels=(8, 8, 8, 8),
        encoder_block_out_channels=(8, 8, 8, 8),
    )
    decoder.decoder.layers[-1].weight.data.zero_()
    decoder.decoder.layers[-1].bias.data = torch.tensor([1.0, 0.5, 0.0])  # of 0 to 1
    decoder.save_pretrained(tmp_path / "decoder")
    monkeypatch.setattr(engine_module, "_TINY_DECODER", str(tmp_path / "decoder"))
    if not is_working:
        error = torch.OutOfMemoryError("2.3 GiB")
        monkeypatch.setattr(AutoencoderTiny, "decode", raise_error(error))
    engine: Any = create_model_engine(tmp_path, "bfloat16")
    engine.start()
    wait_until_loaded(engine)
    *steps, _ = engine.generate(replace(REQUEST, num_inference_steps=3))
    previews = [Image.open(io.BytesIO(step.preview)) for step in steps[:2]]
    assert {preview.size for preview in previews} == {(256, 256)}
    assert (previews[0].getpixel((100, 50)) == (255, 127, 0)) is is_working
    engine.close()


@pytest.mark.parametrize(
    ("options", "expected_options", "expected_remedy"),
    [
        ({}, {"precision": "int8", "offload": "none"}, "--precision int8 --offload none"),
        ({"no_t5": True}, {"precision": "int8", "offload": "none", "no_t5": True}, "--no-t5"),
        ({"precision": "bfloat16", "offload": "none"}, None, "--precision int8 --offload none"),
        ({"precision": "int8", "offload": "none", "no_t5": True}, None, "a Space elsewhere"),
    ],
)
def test_lack_of_memory_while_loading(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    expected_options: dict[str, Any] | None,
    expected_remedy: str,
) -> None:
    """A smaller plan is named, and may be tried unless the user has decided about the memory."""
    import torch  # noqa: PLC0415  # only with the model's packages
    from diffusers import StableDiffusion3Pipeline  # noqa: PLC0415  # see above

    from sd35.space.diffusion.build import create_engine  # noqa: PLC0415  # see above
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # see above

    folder = str(save_tiny_model(tmp_path))
    parts = []

    def run_out_of_memory(pipeline: Any, *_: object) -> None:  # noqa: ANN401  # as diffusers has it
        parts.append(weakref.ref(pipeline.transformer))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(StableDiffusion3Pipeline, "to", run_out_of_memory)
    engine = create_engine(EngineOptions(folder, ModelOptions("cpu", **options), is_child=True))
    engine.start()
    with pytest.raises(EngineError, match="doesn't fit into the memory of CPU") as failure:
        wait_until_loaded(engine)
    gc.collect()
    assert [part() for part in parts] == [None], "the memory is free for the next plan"
    assert expected_remedy in failure.value.remedy
    assert ("--space local:" in failure.value.remedy) is ("--" in expected_remedy)
    assert isinstance(engine.state, Broken)
    expected = None if expected_options is None else ModelOptions("cpu", **expected_options)
    assert engine.state.smaller_options == expected


async def test_time_of_a_slow_step_is_shown(
    space: ModelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the first step of a slow device learns how long it takes."""
    from sd35.space.diffusion.speed import describe_speed  # noqa: PLC0415  # needs torch

    cpu = Machine("cpu", "CPU", 64 * GB, 64 * GB)
    assert space.engine.warning == "", "a tiny model is fast anywhere"
    warning = describe_speed(MODELS["large"], Plan("bfloat16"), cpu)
    assert re.fullmatch(r"On this CPU, a step takes about .+, and an image 40 steps\.", warning)
    monkeypatch.setattr(space.engine, "warning", warning)
    async with SpaceClient.connect(space.address) as client:
        events = await run(client, REQUEST)
    assert next(event.description for event in events if isinstance(event, Progress)) == warning


def raise_error(error: Exception) -> Any:  # noqa: ANN401  # any method of the model
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_engine_closes_while_a_run_is_left_alone(tmp_path: Path) -> None:
    """A run that nobody iterates over any more doesn't keep the engine from closing."""
    engine = create_model_engine(tmp_path, "float32")
    engine.start()
    wait_until_loaded(engine)
    steps = engine.generate(replace(REQUEST, num_inference_steps=50))
    next(steps)
    engine.close()
    with pytest.raises(EngineError, match="being closed"):
        list(steps)


@pytest.mark.parametrize(
    ("error", "expected_message", "is_broken"),
    [
        ("CUDA error: an illegal memory access was encountered", "GPU has failed: CUDA err", True),
        ("CUDA error: no kernel image is available for execution", "can't compute on CPU", True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "GPU has failed: cuDNN error", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "fit into", False),
        ("MPS backend out of memory (MPS allocated: 9.00 GB)", "doesn't fit into", False),
        ("mat1 and mat2 shapes cannot be multiplied", "run failed: RuntimeError", False),
    ],
)
async def test_errors_of_the_device_become_sentences(
    space: ModelSpace,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    expected_message: str,
    *,
    is_broken: bool,
) -> None:
    """After an error of the GPU itself every later run would fail: the engine says so."""
    transformer = type(space.engine.pipeline.transformer)
    monkeypatch.setattr(transformer, "forward", raise_error(RuntimeError(error)))
    monkeypatch.setattr(space.engine, "_state", Ready())  # and restored after the test
    with pytest.raises(EngineError, match=expected_message):
        list(space.engine.generate(REQUEST))
    assert isinstance(space.engine.state, Broken) is is_broken


@pytest.mark.parametrize("part", ["transformer.proj_out", "vae.decoder.conv_out"])
def test_no_black_image_is_made_of_values_that_are_no_numbers(space: ModelSpace, part: str) -> None:
    """If the model computes no numbers, the run fails, and the next one works."""
    module = space.engine.pipeline
    for name in part.split("."):
        module = getattr(module, name)
    hook = module.register_forward_hook(lambda _module, _inputs, output: output * float("nan"))
    with pytest.raises(EngineError, match=r"aren't numbers\. Try another seed"):
        list(space.engine.generate(REQUEST))
    hook.remove()
    *_, image = space.engine.generate(REQUEST)
    assert image.size == (256, 256)


def test_run_itself_copies_its_results_from_the_device(
    space: ModelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Apple GPU, which a second thread would crash, is used by the thread of the run alone."""
    import torch  # noqa: PLC0415  # only with the model's packages

    threads = []
    copy = torch.Tensor.cpu

    def copy_to_host(tensor: torch.Tensor) -> torch.Tensor:
        threads.append(threading.current_thread().name)
        return copy(tensor)

    monkeypatch.setattr(torch.Tensor, "cpu", copy_to_host)
    *steps, _image = space.engine.generate(REQUEST)
    assert sum(step.preview is not None for step in steps) == 5
    assert threads.count("run") == 5 + 1, "the previews and the image; later they are copied again"


def test_device_that_hangs_gets_no_second_run(
    space: ModelSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a run that can't be ended the engine is broken, and its process begins again."""
    from sd35.space.diffusion import engine as engine_module  # noqa: PLC0415  # needs torch

    end = threading.Event()
    monkeypatch.setattr(engine_module, "STEP_LIMIT_SECONDS", 0)
    monkeypatch.setattr(engine_module, "STOP_LIMIT_SECONDS", 0)
    monkeypatch.setattr(space.engine, "_state", Ready())  # and restored after the test
    hook = space.engine.pipeline.transformer.register_forward_pre_hook(lambda *_: end.wait())
    try:
        with pytest.raises(EngineError, match="longer than an hour"):
            list(space.engine.generate(REQUEST))
        assert isinstance(space.engine.state, Broken)
    finally:
        end.set()
        hook.remove()
        space.engine._run._thread.join()


async def test_download_and_loading_are_shown(tmp_path: Path) -> None:
    """A request that comes before the model is there sees the download, and then its image."""
    with serve_model(tmp_path) as space:
        space.engine._state = Loading("Downloading the model: 3.0 of 27.6 GB", 0.11)
        progress: list[Progress] = []
        async with SpaceClient.connect(space.address) as client:
            async with client.generate(REQUEST) as generation:
                async for event in generation:
                    if isinstance(event, Progress):
                        progress.append(event)
                        if len(progress) == 1:
                            space.engine.start()
            assert isinstance(event, Finished)
    assert progress[0].description == "Downloading the model: 3.0 of 27.6 GB"
    assert progress[0].fraction == pytest.approx(0.11)
    assert progress[-1].step == 6


async def test_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    """A request to a Space whose model is damaged gets the reason instead of an image."""
    with serve_model(tmp_path) as space:
        (tmp_path / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
        space.engine.start()
        async with SpaceClient.connect(space.address) as client:
            with pytest.raises(GenerationFailedError, match="can't be loaded"):
                await run(client, REQUEST)


@pytest.mark.parametrize(
    ("message", "expected_message"),
    [
        (
            "The NVIDIA driver on your system is too old (found version 11040). Please update it.",
            r"used: The NVIDIA driver on your system is too old \(found version 11040\)\. Check",
        ),
        ("CUDA unknown error - this may be due to an incorrect environment", "CUDA unknown error"),
        ("Found no NVIDIA driver on your system. Please check that you have one.", ""),
        ("No CUDA GPUs are available", ""),
    ],
)
def test_gpu_with_an_unusable_driver_is_named(
    monkeypatch: pytest.MonkeyPatch, message: str, expected_message: str
) -> None:
    """The CPU isn't used in place of a GPU that only lacks a driver, but where there is none."""
    import torch  # noqa: PLC0415  # only with the model's packages

    from sd35.space.diffusion.devices import find_machine  # noqa: PLC0415  # see above

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", raise_error(RuntimeError(message)))
    if expected_message:
        with pytest.raises(EngineError, match=expected_message):
            find_machine()
    else:
        assert find_machine().device == "cpu"
    assert find_machine("cpu").device == "cpu"


def test_memory_of_a_container_is_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan is for the memory that the container may use, not for that of the machine."""
    from sd35.space.diffusion import devices  # noqa: PLC0415  # needs torch

    monkeypatch.setattr(devices, "_CONTROL_GROUPS", tmp_path)
    installed = devices.find_machine("cpu").ram_bytes
    for text, expected in (("max", installed), (f"{2**63 - 4096}", installed), ("5000", 5000)):
        (tmp_path / "memory.max").write_text(text)
        assert devices.find_machine("cpu").ram_bytes == expected


@pytest.mark.parametrize(
    ("dtype_name", "name", "options"),
    [
        ("float32", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("bfloat16", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        ("float16", "FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 100}),
        ("bfloat16", "FlowMatchHeunDiscreteScheduler", {"shift": 3.0}),
        ("float32", "FlowMatchLCMScheduler", {}),
        ("float32", "DPMSolverMultistepScheduler", {"use_flow_sigmas": True}),
        ("bfloat16", "UniPCMultistepScheduler", {"use_flow_sigmas": True}),
    ],
)
def test_estimate_is_the_image_without_its_noise(
    dtype_name: str, name: str, options: dict[str, Any]
) -> None:
    """With a perfect velocity, the estimate of each step is the clean image, in any precision."""
    import diffusers  # noqa: PLC0415  # only with the model's packages
    import torch  # noqa: PLC0415  # see above

    from sd35.space.diffusion.latent_preview import EstimateRecorder  # noqa: PLC0415  # see above

    dtype = getattr(torch, dtype_name)
    if "use_flow_sigmas" in options:
        options = {**options, "prediction_type": "flow_prediction"}
    scheduler = getattr(diffusers, name)(**options)
    recorder = EstimateRecorder(scheduler)
    scheduler.set_timesteps(40)
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 1, 16, 32, 32, generator=generator)
    latents = noise.to(dtype)
    for timestep in scheduler.timesteps:
        sigma = timestep / scheduler.config.num_train_timesteps
        velocity = ((latents.float() - clean) / sigma).to(dtype)
        latents = scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        assert recorder.estimate is not None
        error = (recorder.estimate - clean).square().mean().sqrt().item()
        assert error < 0.02, "the clean image's own root mean square is 1"
