"""Stable Diffusion 3 in diffusers' own pipeline, step by step."""

import contextlib
import gc
import logging
import math
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch
from cachetools import LRUCache
from diffusers import AutoencoderTiny, StableDiffusion3Pipeline
from PIL import Image

from sd35.core.model_info import ModelInfo
from sd35.core.request import GenerationRequest
from sd35.space.diffusion.devices import find_machine
from sd35.space.diffusion.failures import Failures, is_device_failure, is_memory_error
from sd35.space.diffusion.latent_preview import LatentPreviews, PendingPreview
from sd35.space.diffusion.pipeline import load_pipeline
from sd35.space.diffusion.prompt_length import MAX_SEQUENCE_LENGTH, describe_cuts
from sd35.space.diffusion.run_ahead import DeviceMark, RunAheadLimit
from sd35.space.diffusion.speed import describe_speed
from sd35.space.diffusion.weights import ModelFiles
from sd35.space.engine import (
    Broken,
    EngineError,
    EngineState,
    Loading,
    Notice,
    Ready,
    Result,
    Step,
)
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine, Plan, smaller_plan
from sd35.space.previews import has_preview

__all__ = ["DiffusersEngine"]

log = logging.getLogger(__name__)

MAX_CACHED_PROMPTS: Final = 8  # of some 5.5 MB each
STEP_LIMIT_SECONDS: Final = 3600.0  # a step of the largest model on a slow CPU takes minutes
STOP_LIMIT_SECONDS: Final = 600.0

_NAN_REMEDY: Final = (
    "Try another seed. If each image fails, copy or download the model's files again, or choose "
    "another --precision."
)
_TINY_DECODER: Final = "madebyollin/taesd3"


class _StopRun(Exception):  # noqa: N818  # no error: it ends the pipeline's loop
    """Raised in the pipeline's callback: nothing more is computed, not even the decoding."""


@dataclass(frozen=True, slots=True)
class _LoadedModel:
    """A pipeline with what its runs share."""

    pipeline: StableDiffusion3Pipeline
    previews: LatentPreviews
    run_ahead: RunAheadLimit
    can_stop_in_step: bool
    embeddings: LRUCache[tuple[str, str, bool], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _PendingStep:
    """Step that was handed to the device."""

    number: int
    total: int
    preview: PendingPreview | None
    end: DeviceMark

    def wait(self) -> Step:
        """Return the step once the device has finished it."""
        self.end.wait()
        preview = None if self.preview is None else self.preview.encode()
        return Step(self.number, self.total, preview)


class DiffusersEngine:
    """Engine over `StableDiffusion3Pipeline`, loaded in the background.

    Args:
        files: of the model.
        plan: how it runs.
        machine: where it runs.
        engine_options: what the user has decided.

    Attributes:
        weights: of the model.
    """

    concurrency = 1  # scheduler and tokenizers have state, and one image fills a GPU

    def __init__(
        self, files: ModelFiles, plan: Plan, machine: Machine, engine_options: EngineOptions
    ) -> None:
        model = files.model
        self.title = model.title
        self.description = f"Live previews. {plan.describe(machine, model.weights)}."
        self.warning = describe_speed(model, plan, machine)
        self.limits = model.limits
        self.size_multiple = int(model.limits.width.step)
        self.weights = model.weights
        self._files = files
        self._plan = plan
        self._machine = machine
        self._engine_options = engine_options
        self._failures = Failures(engine_options, model, plan, machine)
        self.model_info = ModelInfo(
            name=model.repository or model.key,
            revision=files.revision,
            precision=plan.number_format,
            device=machine.name,
            options=plan.options,
            max_pixels=model.limits.max_pixels,
        )
        self._state: EngineState = Loading("Starting")
        self._model: _LoadedModel | None = None
        self._run_lock = threading.Lock()
        self._run: _Run | None = None
        self._is_closed = threading.Event()

    @property
    def state(self) -> EngineState:
        """The state now."""
        return self._state

    @property
    def pipeline(self) -> StableDiffusion3Pipeline | None:
        """The pipeline; `None` until it is loaded."""
        return None if self._model is None else self._model.pipeline

    def start(self) -> None:
        """Begin to load the model, in a thread."""
        threading.Thread(target=self.load, name="load model", daemon=True).start()

    def load(self) -> None:
        """Load the model in this thread; the state says whether that has worked."""
        error = self._try_to_load()
        if error is not None:
            try:
                self._state = self._explain(error)
            except EngineError as failure:
                self._state = Broken(failure)

    def _try_to_load(self) -> Exception | None:
        try:
            folder = self._files.fetch(self._set_loading)
            self._set_loading(Loading("Loading the model"))
            pipeline = load_pipeline(folder, self._plan, self._machine)
            self.use_pipeline(pipeline)
        except Exception as error:
            if not isinstance(error, EngineError) and not is_memory_error(error):
                log.exception("The model can't be loaded.")
            # The tracebacks refer to what was loaded, and would keep it in memory.
            error.__context__ = error.__cause__ = None
            return error.with_traceback(None)
        return None

    def _explain(self, error: Exception) -> Broken:
        """Return why the model isn't loaded; after a lack of memory, with a plan that may fit."""
        if isinstance(error, EngineError):
            return Broken(error)
        failure = self._failures.load_error(error)
        if not is_memory_error(error) or self._engine_options.is_decided:
            return Broken(failure)
        _free_memory()
        machine = find_machine(self._machine.device)  # other programs use memory, too
        options = self._engine_options.model_options
        plan = smaller_plan(machine, self._files.model.weights, self._plan, options)
        if plan is None:
            return Broken(failure)
        return Broken(failure, self._engine_options.with_plan(plan).model_options)

    def use_pipeline(self, pipeline: StableDiffusion3Pipeline) -> None:
        """Make images with a pipeline that was loaded already."""
        pipeline.set_progress_bar_config(disable=True)
        decoder = _load_tiny_decoder(self._machine, pipeline.transformer.config.in_channels)
        self._model = _LoadedModel(
            pipeline,
            LatentPreviews(pipeline.scheduler, pipeline.vae_scale_factor, decoder),
            RunAheadLimit(pipeline, self._machine.device),
            # The order of layers that are streamed is learnt from a first step, as a whole.
            can_stop_in_step=self._plan.offload != "group",
            embeddings=LRUCache(MAX_CACHED_PROMPTS),
        )
        self._state = Ready()

    def _set_loading(self, loading: Loading) -> None:
        self._state = loading

    def close(self) -> None:
        """Free the device, once a run that is under way has ended."""
        self._is_closed.set()
        # Not `_run_lock`: a generator that nobody iterates over any more keeps it.
        run = self._run
        if run is not None:
            run.close()
        self._model = None
        _free_memory()

    def generate(self, request: GenerationRequest) -> Generator[Result, None, None]:
        """Yield each step, and last the image; see `Engine.generate`."""
        with self._run_lock:
            if self._model is None:
                raise EngineError("The model isn't loaded.")
            cuts = describe_cuts(self._model.pipeline, request)
            if cuts:
                yield Notice(cuts)
            run = _Run(self._model, request, self._is_closed)
            self._run = run
            try:
                yield from run.results()
            except EngineError:
                raise
            except Exception as error:  # noqa: BLE001  # the run has logged it
                run.close()
                failure = self._failures.run_error(error, request)
                if is_device_failure(error):
                    self._state = Broken(failure)
                else:
                    _free_memory()
                raise failure from None
            finally:
                if not run.close():
                    # The next run would use the pipeline at the same time.
                    self._state = Broken(
                        EngineError("The device no longer answers.", "The Space starts again.")
                    )


class _Run:
    """One run of the pipeline in a thread of its own.

    The thread hands work to the device, and waits for nobody who takes the results: they wait in a
    queue. Whoever takes them waits for the device and encodes previews, so that neither costs the
    device time.
    """

    def __init__(
        self, model: _LoadedModel, request: GenerationRequest, is_closed: threading.Event
    ) -> None:
        self._model = model
        self._pipeline = model.pipeline
        self._request = request
        self._is_closed = is_closed
        self._is_stopped = threading.Event()
        self._results: queue.SimpleQueue[_PendingStep | Image.Image | BaseException]
        self._results = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="run", daemon=True)
        self._thread.start()

    def results(self) -> Iterator[Step | Image.Image]:
        """Yield the results up to the image; raise the error that ends the run."""
        while True:
            try:
                result = self._results.get(timeout=STEP_LIMIT_SECONDS)
            except queue.Empty:
                raise EngineError("A step took longer than an hour.") from None
            if isinstance(result, _StopRun):
                raise EngineError("The model is being closed.")
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Image.Image):
                yield result
                return
            yield result.wait()

    def close(self) -> bool:
        """End the run before its next step, and return whether the device is free then."""
        self._is_stopped.set()
        self._thread.join(STOP_LIMIT_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            with self._model.run_ahead.hold(self._on_layer):
                self._results.put(self._call_pipeline())
        except BaseException as error:
            # It belongs to the one who iterates, but without its traceback.
            if not isinstance(error, _StopRun | EngineError) and not is_memory_error(error):
                log.exception("The run failed.")
            # Which the pipeline doesn't reach: with offload, a part would stay on the device.
            with contextlib.suppress(Exception):
                self._pipeline.maybe_free_model_hooks()
                DeviceMark(self._model.run_ahead.device).wait()
            # The traceback refers to the tensors of the run, which would stay in memory.
            self._results.put(error.with_traceback(None))

    def _call_pipeline(self) -> Image.Image:
        request = self._request
        embeddings = self._encode_prompt()
        # On the CPU, as at the public Space: there and here, a seed gives the same noise.
        generator = torch.Generator("cpu").manual_seed(request.seed)
        output = self._pipeline(
            prompt_embeds=embeddings[0],
            negative_prompt_embeds=embeddings[1],
            pooled_prompt_embeds=embeddings[2],
            negative_pooled_prompt_embeds=embeddings[3],
            width=request.width,
            height=request.height,
            num_inference_steps=request.num_inference_steps,
            guidance_scale=request.guidance_scale,
            generator=generator,
            callback_on_step_end=self._on_step_end,
            output_type="pt",
        )
        # The pipeline would return a black image.
        if not output.images.isfinite().all():
            raise EngineError(
                "The model has computed no image, but values that aren't numbers.", _NAN_REMEDY
            )
        processor = self._pipeline.image_processor
        image: Image.Image = processor.numpy_to_pil(processor.pt_to_numpy(output.images))[0]
        return image.convert("RGB")

    def _encode_prompt(self) -> tuple[Any, ...]:
        """Return the embeddings of the prompts; those of the last prompts are remembered.

        With offload, an image with the same prompt needs no text encoder on the device.
        """
        request = self._request
        has_guidance = request.guidance_scale > 1
        key = (request.prompt, request.negative_prompt if has_guidance else "", has_guidance)
        embeddings: tuple[Any, ...] | None = self._model.embeddings.get(key)
        if embeddings is None:
            self._raise_if_stopped()
            # Not `inference_mode`: in it, int8 weights can't be moved to the device.
            with torch.no_grad():
                embeddings = self._pipeline.encode_prompt(
                    prompt=request.prompt,
                    prompt_2=None,
                    prompt_3=None,
                    negative_prompt=request.negative_prompt if has_guidance else None,
                    do_classifier_free_guidance=has_guidance,
                    max_sequence_length=MAX_SEQUENCE_LENGTH,
                )
            self._model.embeddings[key] = embeddings
        return embeddings

    def _on_step_end(
        self,
        pipeline: StableDiffusion3Pipeline,
        index: int,
        _timestep: object,
        _tensors: object,
    ) -> dict[str, Any]:
        # Heun's method, of order 2, calls the model twice a step; a call is when a run can end.
        order = pipeline.scheduler.order
        number, total = index // order + 1, math.ceil(pipeline.num_timesteps / order)
        preview = None
        if index % order == 0 and has_preview(number, total):
            preview = self._model.previews.start()
        end = DeviceMark(self._model.run_ahead.device)
        self._results.put(_PendingStep(number, total, preview, end))
        self._raise_if_stopped()
        return {}

    def _on_layer(self) -> None:
        if self._model.can_stop_in_step:
            self._raise_if_stopped()

    def _raise_if_stopped(self) -> None:
        # Not `pipeline._interrupt`: it skips the steps but still decodes, and each call resets it.
        if self._is_stopped.is_set() or self._is_closed.is_set():
            raise _StopRun


def _load_tiny_decoder(machine: Machine, latent_channels: int) -> AutoencoderTiny | None:
    """Return TAESD3, whose previews are sharper, if its weights are in the cache."""
    dtype = torch.float32 if machine.device == "cpu" else torch.float16
    try:
        decoder = AutoencoderTiny.from_pretrained(_TINY_DECODER, dtype=dtype, local_files_only=True)
        if decoder.config.latent_channels == latent_channels:
            return decoder.to(machine.device)
    except (OSError, ValueError):
        pass  # it isn't there
    except Exception:
        # Previews work without it, in whichever way its files are damaged.
        log.warning("The small decoder for previews can't be used.", exc_info=True)
    return None


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        with contextlib.suppress(RuntimeError):  # of a GPU that has failed
            torch.cuda.empty_cache()
