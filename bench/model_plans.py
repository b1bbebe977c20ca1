"""Plans of a model on a GPU: the memory that each takes, beside its sum, and its speed."""

import gc
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.model import run_engine, step_seconds
from bench.tables import format_ms, format_number, print_table
from sd35.core.request import GenerationRequest
from sd35.space.engine import Broken, EngineError, Loading
from sd35.space.fit import Machine, Plan, plans

__all__ = ["measure"]

GB: Final = 1e9
STEPS: Final = 6
LOAD_LIMIT_SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.05

HEADER: Final = [
    *("plan", "sum, GB", "peak of loading, GB", "peak of a run, GB", "fits into its sum"),
    *("loading, s", "run, s", "step, ms", "left, GB"),
]


def measure(shape: str, side: int, names: list[str]) -> None:
    """Print a row for each plan: the model is saved once, and loaded as the Space loads it."""
    import torch  # noqa: PLC0415  # only this benchmark needs it

    from sd35.space.diffusion.devices import find_machine  # noqa: PLC0415  # see above
    from tests.random_model import build_random_model  # noqa: PLC0415  # see above

    machine = find_machine("cuda")
    print(f"{machine.name}, torch {torch.__version__}, {shape}, {side} × {side}, with guidance\n")
    with TemporaryDirectory() as folder:
        path = Path(folder)
        started_at = time.perf_counter()
        build_random_model(shape, "cuda").save_pretrained(path)
        _free_memory()
        print(f"Built and saved in {time.perf_counter() - started_at:.0f} s", flush=True)
        print_table(HEADER, _rows(path, machine, side, names))


def _rows(folder: Path, machine: Machine, side: int, names: list[str]) -> Iterator[list[str]]:
    extra_plans = (Plan("nf4"),)
    for plan in (*plans(machine), *extra_plans):
        if not names or str(plan) in names:
            yield _row(folder, machine, plan, side)


def _row(folder: Path, machine: Machine, plan: Plan, side: int) -> list[str]:
    import torch  # noqa: PLC0415  # only this benchmark needs it

    from sd35.space.diffusion.engine import DiffusersEngine  # noqa: PLC0415  # see above
    from sd35.space.diffusion.weights import ModelFiles  # noqa: PLC0415  # see above
    from sd35.space.engine_options import EngineOptions  # noqa: PLC0415  # see above
    from sd35.space.model_folder import read_model_folder  # noqa: PLC0415  # see above

    model = read_model_folder(folder)
    sum_bytes = plan.device_bytes(model.weights)
    row = [str(plan), format_number(sum_bytes / GB, 1)]
    request = GenerationRequest("a lighthouse", "", side, side, num_inference_steps=STEPS, seed=7)
    torch.cuda.reset_peak_memory_stats()
    engine = DiffusersEngine(ModelFiles(model, folder), plan, machine, EngineOptions(model.key))
    try:
        load_seconds = _load(engine)
        load_peak = torch.cuda.max_memory_allocated()
        run_engine(engine, request)  # a warm-up
        torch.cuda.reset_peak_memory_stats()
        other = replace(request, prompt="a mountain")  # a prompt that isn't remembered
        times = run_engine(engine, other)
        run_peak = torch.cuda.max_memory_allocated()
        fits = _run_limited(engine, replace(request, prompt="a river"), sum_bytes)
    except EngineError as error:
        return [*row, str(error), *[""] * (len(HEADER) - len(row) - 1)]
    finally:
        engine.close()
        del engine
        _free_memory()
    return [
        *row,
        *(format_number(peak / GB, 1) for peak in (load_peak, run_peak)),
        fits,
        format_number(load_seconds, 1),
        format_number(times[-1] - times[0], 2),
        format_ms(step_seconds(times), 0),
        format_number(torch.cuda.memory_allocated() / GB, 2),
    ]


def _load(engine: Any) -> float:  # noqa: ANN401  # its module needs torch
    started_at = time.perf_counter()
    engine.start()
    while isinstance(state := engine.state, Loading):
        assert time.perf_counter() - started_at < LOAD_LIMIT_SECONDS
        time.sleep(POLL_SECONDS)
    if isinstance(state, Broken):
        raise state.error
    return time.perf_counter() - started_at


def _run_limited(engine: Any, request: GenerationRequest, limit_bytes: int) -> str:  # noqa: ANN401  # see above
    """Return whether a run succeeds on a GPU of just the given memory."""
    import torch  # noqa: PLC0415  # only this benchmark needs it

    torch.cuda.empty_cache()
    total_bytes = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total_bytes))
    try:
        run_engine(engine, request)
    except EngineError as error:
        return f"no: {error.happened}"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    return "yes"


def _free_memory() -> None:
    import torch  # noqa: PLC0415  # only this benchmark needs it

    gc.collect()
    torch.cuda.empty_cache()
