"""The engine over diffusers: what previews and the engine itself cost, and how fast a run stops.

With random weights, which cost what the real ones do: the tiny model on a CPU, or one in its true
size on a GPU, which takes 28 GB of memory for Large, 17 GB for Medium.
"""

import statistics
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.tables import format_ms, format_number, print_table
from sd35.core.request import GenerationRequest

__all__ = ["SHAPES", "measure", "run_engine", "step_seconds"]

SHAPES: Final = ("tiny", "medium", "large")
STEPS: Final = 12
GUIDANCE_SCALES: Final = (4.5, 0.0)


def measure(rounds: int, shape: str, side: int) -> None:
    """Print the times of runs of the bare pipeline and of the engine, in turn."""
    import torch  # noqa: PLC0415  # only this benchmark needs it

    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {shape}, {side} × {side}, {STEPS} steps\n")
    engine = _build_engine(shape, device)
    print_table(
        ["guidance", "pipeline, s", "engine, s", "ratio", "step, ms", "stop, ms"],
        (_row(engine, _request(side, scale), rounds) for scale in GUIDANCE_SCALES),
    )
    print_table(["part of a run", "ms"], _part_rows(engine, side))
    if device == "cuda":
        print(f"Peak memory: {torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


def _request(side: int, guidance_scale: float) -> GenerationRequest:
    return GenerationRequest(
        "a lighthouse at dusk", "", side, side, guidance_scale, STEPS, 7, randomize_seed=False
    )


def _build_engine(shape: str, device: str) -> Any:  # noqa: ANN401  # its module needs torch
    from sd35.space.diffusion.devices import find_machine  # noqa: PLC0415  # see above
    from sd35.space.diffusion.engine import DiffusersEngine  # noqa: PLC0415  # see above
    from sd35.space.diffusion.weights import ModelFiles  # noqa: PLC0415  # see above
    from sd35.space.engine_options import EngineOptions  # noqa: PLC0415  # see above
    from sd35.space.fit import Plan  # noqa: PLC0415  # see above
    from sd35.space.model_folder import read_model_folder  # noqa: PLC0415  # see above
    from tests.random_model import build_random_model  # noqa: PLC0415  # see above

    with TemporaryDirectory() as folder:
        path = Path(folder)
        tiny_model = build_random_model("tiny")
        tiny_model.save_pretrained(path)
        model = read_model_folder(path)
        plan = Plan("float32" if shape == "tiny" else "bfloat16")
        machine = find_machine(device)
        engine = DiffusersEngine(ModelFiles(model, path), plan, machine, EngineOptions(shape))
    engine.use_pipeline(build_random_model(shape, device).to(device))
    return engine


def _row(engine: Any, request: GenerationRequest, rounds: int) -> list[str]:  # noqa: ANN401  # see above
    run_engine(engine, request)  # a warm-up
    bare_times = []
    engine_runs = []
    for _ in range(rounds):
        bare_times.append(_run_pipeline(engine, request))
        engine_runs.append(run_engine(engine, request))
    bare = statistics.median(bare_times)
    run = statistics.median(times[-1] - times[0] for times in engine_runs)
    step = statistics.median(map(step_seconds, engine_runs))
    stop = statistics.median(_stop(engine, request) for _ in range(rounds))
    return [
        format_number(request.guidance_scale, 1),
        *(format_number(seconds, 2) for seconds in (bare, run)),
        f"{run / bare:.3f}×",
        *(format_ms(seconds, 1) for seconds in (step, stop)),
    ]


def run_engine(engine: Any, request: GenerationRequest) -> list[float]:  # noqa: ANN401  # see above
    """Return the moments of a run: its start, each step, and the image."""
    times = [time.perf_counter()]
    times.extend(time.perf_counter() for _ in engine.generate(request))
    return times


def step_seconds(times: list[float]) -> float:
    """Return the time between the steps of a run, from its moments."""
    return statistics.median(later - earlier for earlier, later in pairwise(times[1:-1]))


def _run_pipeline(engine: Any, request: GenerationRequest) -> float:  # noqa: ANN401  # see above
    """Return the seconds of a run without previews, as diffusers itself does it."""
    import torch  # noqa: PLC0415  # only this benchmark needs it

    # As the engine does for a prompt that it has had before.
    with torch.no_grad():
        embeddings = engine.pipeline.encode_prompt(
            request.prompt, None, None, negative_prompt=request.negative_prompt
        )
    started_at = time.perf_counter()
    engine.pipeline(
        prompt_embeds=embeddings[0],
        negative_prompt_embeds=embeddings[1],
        pooled_prompt_embeds=embeddings[2],
        negative_pooled_prompt_embeds=embeddings[3],
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale,
        num_inference_steps=request.num_inference_steps,
        generator=torch.Generator().manual_seed(request.seed),
    )
    return time.perf_counter() - started_at


def _stop(engine: Any, request: GenerationRequest) -> float:  # noqa: ANN401  # see above
    """Return the seconds until a run has ended that is closed after its second step."""
    steps = engine.generate(request)
    next(steps)
    next(steps)
    started_at = time.perf_counter()
    steps.close()
    return time.perf_counter() - started_at


def _part_rows(engine: Any, side: int) -> list[list[str]]:  # noqa: ANN401  # see above
    import torch  # noqa: PLC0415  # only this benchmark needs it

    from sd35.space.diffusion.latent_preview import LatentPreviews  # noqa: PLC0415  # see above

    device = engine.pipeline.device
    latents = torch.randn(1, 16, side // 8, side // 8, device=device)
    previews = LatentPreviews(engine.pipeline.scheduler, engine.pipeline.vae_scale_factor)

    def preview() -> None:
        pending = previews.preview(latents)
        if latents.is_cuda:
            torch.cuda.synchronize()
        pending.encode()

    def encode_prompt() -> None:
        with torch.no_grad():
            engine.pipeline.encode_prompt(
                "a lighthouse", None, None, negative_prompt="", device=device
            )

    def decode() -> None:
        with torch.no_grad():
            engine.pipeline.vae.decode(latents.to(engine.pipeline.vae.dtype))

    parts = {"preview": preview, "both prompts": encode_prompt, "decoding the image": decode}
    return [[name, format_ms(_median_seconds(part), 2)] for name, part in parts.items()]


def _median_seconds(work: Any, times: int = 7) -> float:  # noqa: ANN401  # any function
    import torch  # noqa: PLC0415  # only this benchmark needs it

    seconds = []
    for _ in range(times + 1):
        started_at = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started_at)
    return statistics.median(seconds[1:])
