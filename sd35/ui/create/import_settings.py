"""A picture's record → the form: with what it was made, as far as the connected Space makes such pictures. Pure."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range, format_number
from sd35.core.request import GenerationRequest
from sd35.core.sizes import nearest_size
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.ui.create.form import CUSTOM_SIZE, FormValues, parse_request, preset_for_size

__all__ = [
    "SETTING_GROUPS",
    "AppliedSettings",
    "apply_settings",
    "metadata_from_request",
    "variations",
]


SEED_OFFSETS = (-2, -1, 1, 2)


def variations(
    metadata: GenerationMetadata, kind: object, limits: Limits
) -> list[GenerationRequest]:
    """Return what is asked for to vary a picture: `same` with a new seed, or its four `neighbours`.

    Raises:
        InvalidRequestError: it can't be made at a Space with these limits.

    """
    values = apply_settings(metadata, _default_values(limits), limits).values
    request, field_errors = parse_request(replace(values, randomize_seed=True), limits)
    if request is None:
        raise InvalidRequestError(
            " ".join(field_error.message for field_error in field_errors), field_errors=field_errors
        )
    if kind != "neighbours":
        return [request]
    if metadata.seed is None:
        raise InvalidRequestError("The seed of this picture isn't known, so it has no neighbours.")
    return [
        replace(request, seed=seed, randomize_seed=False)
        for seed in _adjacent_seeds(metadata.seed, limits)
    ]


def _adjacent_seeds(seed: int, limits: Limits) -> Iterator[int]:
    """The seeds beside this one; beside the Space's largest comes its smallest."""
    seed_range = limits.seed or PUBLIC_LIMITS.seed
    assert seed_range is not None
    low, high = round(seed_range.minimum), round(seed_range.maximum)
    return (low + (seed + offset - low) % (high - low + 1) for offset in SEED_OFFSETS)


def _default_values(limits: Limits) -> FormValues:
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


SETTING_GROUPS: Final = ("all", "prompt", "seed")
"""What is taken: everything, the words, or the seed alone."""


@dataclass(frozen=True, slots=True)
class AppliedSettings:
    """The form's fields with what was taken; which were (`taken`), and what couldn't be used, each with its value."""

    values: FormValues
    applied: tuple[str, ...]
    ignored: tuple[str, ...]


def apply_settings(
    metadata: GenerationMetadata, current_values: FormValues, limits: Limits, group: str = "all"
) -> AppliedSettings:
    """Return the fields as they are after this record was taken; what it doesn't say stays as it is `now`."""
    fields, applied, ignored = asdict(current_values), list[str](), list[str]()
    if group != "seed":
        _apply_prompt(metadata, limits, fields, applied, ignored)
    if group == "all":
        _apply_size(metadata, limits, fields, applied, ignored)
        _apply_number(
            "guidance_scale",
            "guidance scale",
            metadata.guidance_scale,
            limits.guidance_scale,
            fields,
            applied,
            ignored,
        )
        steps = metadata.num_inference_steps
        _apply_number(
            "num_inference_steps",
            "steps",
            steps,
            limits.num_inference_steps,
            fields,
            applied,
            ignored,
        )
        if metadata.tool != THIS_TOOL and metadata.model:
            ignored.append(f"model {metadata.model}")
        ignored += [f"{name} {value}" for name, value in metadata.extra]
    if group != "prompt":
        _apply_seed(metadata, limits, fields, applied, ignored)
    return AppliedSettings(replace(current_values, **fields), tuple(applied), tuple(ignored))


def metadata_from_request(request: GenerationRequest) -> GenerationMetadata:
    """Return the record that a picture of this request would have."""
    return GenerationMetadata(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        width=request.width,
        height=request.height,
        guidance_scale=request.guidance_scale,
        num_inference_steps=request.num_inference_steps,
        seed=request.seed,
    )


def _apply_prompt(
    metadata: GenerationMetadata,
    limits: Limits,
    fields: dict[str, Any],
    applied: list[str],
    ignored: list[str],
) -> None:
    if metadata.prompt:
        fields["prompt"] = metadata.prompt
        applied.append("prompt")
    if not metadata.prompt and not metadata.negative_prompt:
        return
    if limits.negative_prompt:
        fields["negative_prompt"] = metadata.negative_prompt
        applied += ["negative prompt"] * bool(metadata.negative_prompt)
    elif metadata.negative_prompt:
        ignored.append("negative prompt: this Space takes none")


def _apply_size(
    metadata: GenerationMetadata,
    limits: Limits,
    fields: dict[str, Any],
    applied: list[str],
    ignored: list[str],
) -> None:
    width, height = metadata.width, metadata.height
    if not width or not height or width < 1 or height < 1:
        return
    preset = preset_for_size(width, height, limits)
    if preset == CUSTOM_SIZE and not _is_valid_size(width, height, limits):
        try:
            nearest = nearest_size(f"{width}:{height}", limits)
        except ValueError:
            return
        ignored.append(
            f"{width} × {height} pixels: this Space makes {nearest.width} × {nearest.height} of it"
        )
        width, height = nearest.width, nearest.height
        preset = preset_for_size(width, height, limits)
    fields |= {"size": preset, "width": width, "height": height}
    applied.append("size")


def _is_valid_size(width: int, height: int, limits: Limits) -> bool:
    return (
        limits.width.contains(width)
        and limits.height.contains(height)
        and not width % 16
        and not height % 16
    )


def _apply_number(  # one line for each field
    field: str,
    label: str,
    value: float | None,
    value_range: Range | None,
    fields: dict[str, Any],
    applied: list[str],
    ignored: list[str],
) -> None:
    if value is None:
        return
    if value_range is None:
        ignored.append(f"{label} {format_number(value)}: this Space takes none")
        return
    clamped = min(max(value, value_range.minimum), value_range.maximum)
    if clamped != value:
        ignored.append(f"{label} {format_number(value)}: this Space takes {value_range}")
    fields[field] = clamped
    applied.append(label)


def _apply_seed(
    metadata: GenerationMetadata,
    limits: Limits,
    fields: dict[str, Any],
    applied: list[str],
    ignored: list[str],
) -> None:
    if metadata.seed is None:
        return
    if limits.seed is None or not limits.seed.contains(metadata.seed):
        ignored.append(f"seed {metadata.seed}: this Space takes {limits.seed or 'none'}")
        return
    fields |= {"seed": metadata.seed, "randomize_seed": False}
    applied.append("seed")
