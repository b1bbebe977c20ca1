"""A picture's record → the form: with what it was made, as far as the connected Space makes such pictures. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range, plain
from sd35.core.request import GenerationRequest
from sd35.core.sizes import nearest_size
from sd35.metadata.model import OURS, Record
from sd35.ui.create.form import CUSTOM_SIZE, FormValues, preset_of, read_request

__all__ = ["WHAT", "Recalled", "recall", "record_asked", "requests_like"]


NEIGHBOURS = (-2, -1, 1, 2)


def requests_like(record: Record, what: object, limits: Limits) -> list[GenerationRequest]:
    """Return what is asked for to vary a picture: `same` with a new seed, or its four `neighbours`.

    Raises:
        InvalidRequestError: it can't be made at a Space with these limits.

    """
    values = recall(record, _defaults(limits), limits).values
    request, found = read_request(replace(values, randomize_seed=True), limits)
    if request is None:
        raise InvalidRequestError(" ".join(problem.message for problem in found))
    if what != "neighbours":
        return [request]
    if record.seed is None:
        raise InvalidRequestError("The seed of this picture isn't known, so it has no neighbours.")
    return [
        replace(request, seed=seed, randomize_seed=False) for seed in _beside(record.seed, limits)
    ]


def _beside(seed: int, limits: Limits) -> Iterator[int]:
    """The seeds beside this one; beside the Space's largest comes its smallest."""
    span = limits.seed or PUBLIC_LIMITS.seed
    assert span is not None
    low, high = round(span.minimum), round(span.maximum)
    return (low + (seed + step - low) % (high - low + 1) for step in NEIGHBOURS)


def _defaults(limits: Limits) -> FormValues:
    return FormValues(
        prompt="",
        negative_prompt="",
        size=CUSTOM_SIZE,
        width=limits.width.default,
        height=limits.height.default,
        guidance_scale=0 if limits.guidance_scale is None else limits.guidance_scale.default,
        num_inference_steps=0
        if limits.num_inference_steps is None
        else limits.num_inference_steps.default,
        seed=0,
        randomize_seed=True,
    )


WHAT: Final = ("all", "prompt", "seed")
"""What is taken: everything, the words, or the seed alone."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """The form's fields with what was taken; which were (`taken`), and what couldn't be used, each with its value."""

    values: FormValues
    taken: tuple[str, ...]
    unused: tuple[str, ...]


def recall(record: Record, now: FormValues, limits: Limits, what: str = "all") -> Recalled:
    """Return the fields as they are after this record was taken; what it doesn't say stays as it is `now`."""
    fields, taken, unused = asdict(now), list[str](), list[str]()
    if what != "seed":
        _words(record, limits, fields, taken, unused)
    if what == "all":
        _size(record, limits, fields, taken, unused)
        _number(
            "guidance_scale",
            "guidance scale",
            record.guidance_scale,
            limits.guidance_scale,
            fields,
            taken,
            unused,
        )
        steps = record.num_inference_steps
        _number(
            "num_inference_steps", "steps", steps, limits.num_inference_steps, fields, taken, unused
        )
        if record.tool != OURS and record.model:
            unused.append(f"model {record.model}")
        unused += [f"{name} {value}" for name, value in record.others]
    if what != "prompt":
        _seed(record, limits, fields, taken, unused)
    return Recalled(replace(now, **fields), tuple(taken), tuple(unused))


def record_asked(request: GenerationRequest) -> Record:
    """Return the record that a picture of this request would have."""
    return Record(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale,
        num_inference_steps=request.num_inference_steps,
        seed=request.seed,
    )


def _words(
    record: Record, limits: Limits, fields: dict[str, Any], taken: list[str], unused: list[str]
) -> None:
    if record.prompt:
        fields["prompt"] = record.prompt
        taken.append("prompt")
    if not record.prompt and not record.negative_prompt:
        return
    if limits.negative_prompt:
        fields["negative_prompt"] = record.negative_prompt
        taken += ["negative prompt"] * bool(record.negative_prompt)
    elif record.negative_prompt:
        unused.append("negative prompt: this Space takes none")


def _size(
    record: Record, limits: Limits, fields: dict[str, Any], taken: list[str], unused: list[str]
) -> None:
    width, height = record.width, record.height
    if not width or not height or width < 1 or height < 1:
        return
    ratio = preset_of(width, height, limits)
    if ratio == CUSTOM_SIZE and not _fits(width, height, limits):
        try:
            near = nearest_size(f"{width}:{height}", limits)
        except ValueError:
            return
        unused.append(
            f"{width} × {height} pixels: this Space makes {near.width} × {near.height} of it"
        )
        width, height = near.width, near.height
        ratio = preset_of(width, height, limits)
    fields |= {"size": ratio, "width": width, "height": height}
    taken.append("size")


def _fits(width: int, height: int, limits: Limits) -> bool:
    return (
        limits.width.holds(width)
        and limits.height.holds(height)
        and not width % 16
        and not height % 16
    )


def _number(  # one line for each field
    field: str,
    name: str,
    value: float | None,
    span: Range | None,
    fields: dict[str, Any],
    taken: list[str],
    unused: list[str],
) -> None:
    if value is None:
        return
    if span is None:
        unused.append(f"{name} {plain(value)}: this Space takes none")
        return
    near = min(max(value, span.minimum), span.maximum)
    if near != value:
        unused.append(f"{name} {plain(value)}: this Space takes {span}")
    fields[field] = near
    taken.append(name)


def _seed(
    record: Record, limits: Limits, fields: dict[str, Any], taken: list[str], unused: list[str]
) -> None:
    if record.seed is None:
        return
    if limits.seed is None or not limits.seed.holds(record.seed):
        unused.append(f"seed {record.seed}: this Space takes {limits.seed or 'none'}")
        return
    fields |= {"seed": record.seed, "randomize_seed": False}
    taken.append("seed")
