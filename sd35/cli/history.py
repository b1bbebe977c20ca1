"""Durations of a Space's runs, from the library and from the command's own images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio.to_thread

from sd35.cli.environment import read_settings
from sd35.client import SpaceClient
from sd35.core.errors import LibraryError, SD35Error
from sd35.core.limits import PUBLIC_LIMITS
from sd35.core.request import GenerationRequest, RequestOptions
from sd35.core.run_time import RunSample, RunTimes, run_work
from sd35.core.space_ref import DEMO, LOCAL, PUBLIC_SPACE, local_model, parse_space_ref
from sd35.jobs.provenance import DEMO_LABEL, space_label
from sd35.jobs.repository import JobRepository
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library

__all__ = ["BatchTimes", "planned_seconds", "read_run_times", "read_space_times"]


def read_run_times(
    folder: Path, space: str, model: str | None = None, *, is_demo: bool = False
) -> RunTimes:
    """Return the durations of the newest runs of a Space; of none without such images.

    Args:
        folder: of the library, which isn't made if it is missing.
        space: its name, as in the metadata.
        model: the model there, as in the metadata; `None` stands for that of the newest image.
        is_demo: whether the runs are those of the demo painter.
    """
    try:
        if not (folder / STATE_DIR).is_dir():
            return RunTimes()
        with Library.open(folder) as library:
            return RunTimes(JobRepository(library).run_samples(space, model, is_demo=is_demo))
    except (LibraryError, OSError):  # nothing that would be a reason to make no images
        return RunTimes()


def planned_seconds(
    target: str | None,
    options: RequestOptions,
    count: int,
    requests: Sequence[GenerationRequest] = (),
) -> float | None:
    """Return how long images would take at a Space that isn't connected; `None` if unknown.

    They are `count` images with these options, or else these requests.
    """
    try:
        settings = read_settings(space=target)
        folder = settings.library_folder
        request = replace(options, prompt="x", negative_prompt="").resolve(PUBLIC_LIMITS)
    except SD35Error:  # a real run would tell it, or the Space has other limits
        return None
    name = PUBLIC_SPACE if settings.space == "auto" else settings.space
    # Without a connection, no other Space's default is known.
    if options.num_inference_steps is None and name not in {PUBLIC_SPACE, DEMO}:
        return None
    if name == DEMO:
        times = read_run_times(folder, DEMO_LABEL, is_demo=True)
    elif local_model(name) is not None:
        times = read_run_times(folder, LOCAL)
    else:
        times = read_run_times(folder, str(parse_space_ref(name)))
    return BatchTimes(requests or [request] * count, times).seconds()


async def read_space_times(space: SpaceClient) -> RunTimes:
    """Return the durations of the newest runs of a connected Space."""
    try:
        folder = read_settings().library_folder
    except LibraryError:  # there is no home folder
        return RunTimes()
    name = space_label(space)
    read = partial(read_run_times, folder, name, space.model, is_demo=space.contract.is_demo)
    return await anyio.to_thread.run_sync(read)


class BatchTimes:
    """Estimates of how long the images of a batch take, from former runs and from its own."""

    def __init__(self, requests: Sequence[GenerationRequest], run_times: RunTimes) -> None:
        self._works = [run_work(request) for request in requests]
        self._run_times = run_times

    def add(self, request: GenerationRequest, seconds: float) -> None:
        """Take the time of a finished image into account."""
        self._run_times = self._run_times.with_sample(RunSample(run_work(request), seconds))

    def seconds(self, start: int = 0, end: int | None = None) -> float | None:
        """Return how long the images between two indexes take; `None` if that isn't known."""
        total = 0.0
        for work, count in Counter(self._works[start:end]).items():
            seconds = self._run_times.run_seconds(work)
            if seconds is None:
                return None
            total += count * seconds
        return total
