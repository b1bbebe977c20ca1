"""Visits to a running Space, as `bench.traffic` plans them."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bench.queue_simulation import Fate, Outcome
from bench.traffic import PlannedRun, Visit
from sd35.client import SpaceClient
from sd35.core.errors import QueueFullError
from sd35.core.events import Progress, Started
from sd35.core.request import GenerationRequest

__all__ = ["USUAL_STEPS", "play_visits", "round_to_steps"]

USUAL_STEPS: Final = 20
MIN_STEPS: Final = 2
MAX_STEPS: Final = 50
LIMIT_SECONDS: Final = 600.0
REQUEST: Final = GenerationRequest(
    "a lighthouse", "", 512, 512, 4.5, USUAL_STEPS, 7, randomize_seed=False
)


def round_to_steps(visits: Sequence[Visit]) -> list[Visit]:
    """Return the visits with runs that a Space can do: of whole steps, and stopped after one."""
    return [
        Visit(visit.begins_at, tuple(_round_run(run) for run in visit.runs)) for visit in visits
    ]


def _round_run(run: PlannedRun) -> PlannedRun:
    steps = min(max(MIN_STEPS, round(run.work * USUAL_STEPS)), MAX_STEPS)
    last_step = min(max(MIN_STEPS, round(run.stop_at * steps)), steps)
    return replace(run, work=steps / USUAL_STEPS, stop_at=last_step / steps)


async def play_visits(address: str, visits: Sequence[Visit]) -> list[list[Outcome]]:
    """Visit a Space as planned, and return the outcomes of each visit's requests."""
    async with (
        SpaceClient.connect(address) as space,
        asyncio.timeout(visits[-1].begins_at + LIMIT_SECONDS),
    ):
        began_at = time.perf_counter()
        return await asyncio.gather(*(_visit(space, visit, began_at) for visit in visits))


async def _visit(space: SpaceClient, visit: Visit, began_at: float) -> list[Outcome]:
    outcomes: list[Outcome] = []
    await asyncio.sleep(visit.begins_at)
    for run in visit.runs:
        await asyncio.sleep(run.pause_seconds)
        asked_at = time.perf_counter()
        fate, started_at = await _run(space, run)
        outcomes.append(
            Outcome(
                fate,
                asked_at - began_at,
                (started_at or time.perf_counter()) - asked_at,
                time.perf_counter() - started_at if started_at else 0.0,
            )
        )
        if not outcomes[-1].is_served:
            break
    return outcomes


async def _run(space: SpaceClient, run: PlannedRun) -> tuple[Fate, float | None]:
    """Ask for a run; return how it ended, and when it started."""
    steps = round(run.work * USUAL_STEPS)
    # A run that is stopped ends with the step that is under way.
    stop_step = round(run.stop_at * steps) - 1 if run.stop_at < 1 else steps
    request = replace(REQUEST, num_inference_steps=steps)
    started_at = None
    fate = Fate.FINISHED
    try:
        async with (
            space.generate(request, max_wait_seconds=0) as generation,
            asyncio.timeout(None) as patience,
        ):
            if math.isfinite(run.patience_seconds):
                patience.reschedule(asyncio.get_running_loop().time() + run.patience_seconds)
            async for event in generation:
                match event:
                    case Started():
                        started_at = time.perf_counter()
                        patience.reschedule(None)
                    case Progress(step=int(step)) if stop_step <= step < steps:
                        fate = Fate.STOPPED
                        break
    except QueueFullError:
        fate = Fate.REFUSED
    except TimeoutError:
        fate = Fate.ABANDONED
    return fate, started_at
