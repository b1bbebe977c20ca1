"""Metadata of an image → values of the form, within the limits of the connected Space."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any, Final

from sd35.core.errors import InvalidRequestError
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range, format_number
from sd35.core.model_info import PROVENANCE_NAMES
from sd35.core.request import GenerationRequest, RequestOptions
from sd35.core.sizes import nearest_size
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.prompts.parser import has_template_syntax
from sd35.prompts.plan import parse_batch_options
from sd35.prompts.resolved import ORIGIN_NAMES
from sd35.prompts.styles import NO_STYLES, StyleBook, apply_styles
from sd35.ui.create.form import CUSTOM_SIZE, FIELD_NAMES, FormValues, preset_for_size

__all__ = [
    "SETTING_GROUPS",
    "AppliedSettings",
    "apply_settings",
    "metadata_from_request",
    "variations",
]

SETTING_GROUPS: Final = ("all", "prompt", "seed")
"""The parts that can be imported: all settings, the prompts alone, or the seed alone."""

SEED_OFFSETS: Final = (-2, -1, 1, 2)

MAX_SEED_CHARACTERS: Final = 60  # of what a file has in place of a seed


class AppliedSettings:
    """The form's values, into which settings of an image are imported.

    Attributes:
        applied_names: names of the settings that were imported.
        changes: sentences about what differs from the image, or isn't in it.
    """

    def __init__(
        self,
        metadata: GenerationMetadata,
        limits: Limits,
        current_values: FormValues,
        style_book: StyleBook,
    ) -> None:
        self._metadata = metadata
        self._style_book = style_book
        self._limits = limits
        self._fields: dict[str, Any] = asdict(current_values)
        self._ignored: list[tuple[str, str]] = []
        self.applied_names: list[str] = []
        self.changes: list[str] = []

    @property
    def ignored(self) -> list[str]:
        """Settings that the Space doesn't support, with their values; first what matters most."""
        pairs = sorted(self._ignored, key=lambda pair: _rank(pair[0]))
        return [f"{name[:1].upper()}{name[1:]} {value}".strip() for name, value in pairs]

    def ignore(self, name: str, value: str = "") -> None:
        """Note a setting that isn't supported."""
        self._ignored.append((name, value))

    @property
    def values(self) -> FormValues:
        """The form's values after the import."""
        return FormValues(**self._fields)

    def set_fields(self, **fields: Any) -> None:  # noqa: ANN401  # of the form
        """Set fields of the form."""
        self._fields |= fields

    def apply_prompts(self) -> None:
        """Import the prompts."""
        prompt, negative_prompt, styles = _prompt_sources(self._metadata, self._style_book)
        if prompt:
            self._fields["prompt"] = prompt
            self._apply_batch_options(prompt, styles)
            self.applied_names.append("prompt")
        elif self._fields["prompt"]:
            self.changes.append("Prompt: not found, yours is unchanged.")
        else:
            self.changes.append("Prompt: not found.")
        if negative_prompt and not self._limits.negative_prompt:
            self.ignore("negative prompt")
        elif negative_prompt:
            self._fields["negative_prompt"] = negative_prompt
            self.applied_names.append("negative prompt")
        elif prompt and self._limits.negative_prompt:
            # An image with a prompt alone was made without a negative one.
            self._fields["negative_prompt"] = ""

    def _apply_batch_options(self, prompt: str, styles: tuple[str, ...]) -> None:
        """Let a press make this prompt again: one, with its styles, and whatever its characters."""
        options = replace(
            parse_batch_options(self._fields["batch_options"]),
            one_per_line=False,
            combinations=False,
            is_literal=has_template_syntax(prompt),
            styles=styles,
        )
        self._fields["batch_options"] = options.to_json()

    def apply_size(self) -> None:
        """Import the size, or the closest one that the Space offers."""
        width = self._metadata.width
        height = self._metadata.height
        if not width or not height or width < 1 or height < 1:  # files are untrusted
            return
        preset = preset_for_size(width, height, self._limits)
        if preset == CUSTOM_SIZE and not _is_valid_size(width, height, self._limits):
            try:
                nearest = nearest_size(f"{width}:{height}", self._limits)
            except ValueError:  # the limits leave no size at all
                return
            self.changes.append(
                f"Size {width} × {height} changed to {nearest}, the closest available."
            )
            width = nearest.width
            height = nearest.height
            preset = preset_for_size(width, height, self._limits)
        self._fields |= {"size": preset, "width": width, "height": height}
        self.applied_names.append("size")

    def apply_number(self, field: str, label: str) -> None:
        """Import a number, limited to the Space's range."""
        value: float | None = getattr(self._metadata, field)
        value_range: Range | None = getattr(self._limits, field)
        if value is None:
            return
        if value_range is None:
            self.ignore(label, format_number(value))
            return
        clamped = min(max(value, value_range.minimum), value_range.maximum)
        if clamped != value:
            bound = "maximum" if value > clamped else "minimum"
            self.changes.append(
                f"{label.capitalize()} {format_number(value)} changed to "
                f"{format_number(clamped)}, the {bound}."
            )
        self._fields[field] = clamped
        self.applied_names.append(label)

    def apply_seed(self) -> None:
        """Import the seed, or turn on random ones instead of keeping another image's."""
        seed = self._metadata.seed
        seed_range = self._limits.seed
        # Unlike other numbers a seed isn't clamped: a near one makes a quite different image.
        if seed is not None and seed_range is not None and seed_range.contains(seed):
            self._fields |= {"seed": str(seed), "randomize_seed": False}
            self.applied_names.append("seed")
            return
        self._fields |= {"seed": "", "randomize_seed": True}
        text = dict(self._metadata.extra).get("Seed", "") if seed is None else str(seed)
        if text:
            limits = "" if seed_range is None else f" ({seed_range.whole_numbers})"
            reason = f"Seed {text[:MAX_SEED_CHARACTERS]} can't be used here{limits}"
        else:
            reason = "Seed: not found"
        self.changes.append(f"{reason}, so Random seed is on.")


def _prompt_sources(
    metadata: GenerationMetadata, style_book: StyleBook
) -> tuple[str, str, tuple[str, ...]]:
    """Return prompt, negative prompt and names of styles that make the prompts of an image."""
    sources = dict(metadata.extra) if metadata.tool == THIS_TOOL else {}
    base_prompt = sources.get("Base prompt", "")
    base_negative = sources.get("Base negative", "")
    names = tuple(filter(None, sources.get("Styles", "").split(", ")))
    with suppress(InvalidRequestError):  # a style may be gone, or have other words now
        prompt, _ = apply_styles(base_prompt, base_negative, style_book.find(names))
        if names and prompt == metadata.prompt:
            return base_prompt, base_negative, names
    return metadata.prompt, metadata.negative_prompt, ()


def apply_settings(
    metadata: GenerationMetadata,
    current_values: FormValues,
    limits: Limits,
    group: str = "all",
    style_book: StyleBook = NO_STYLES,
) -> AppliedSettings:
    """Return the form's values with the image's settings; unknown ones stay as they are."""
    settings = AppliedSettings(metadata, limits, current_values, style_book)
    if group != "seed":
        settings.apply_prompts()
    if group != "prompt":
        settings.apply_seed()
    if group == "all":
        settings.apply_size()
        settings.apply_number("guidance_scale", "guidance scale")
        settings.apply_number("num_inference_steps", "steps")
        # In this app's own images the model is that of their Space, which needs no mention.
        if metadata.tool != THIS_TOOL and metadata.model:
            settings.ignore("model", metadata.model)
    for name, value in metadata.extra:
        is_in_group = group == "all" or (group == "prompt" and _rank(name) == _PROMPT_RANK)
        is_provenance = metadata.tool == THIS_TOOL and name in {*PROVENANCE_NAMES, *ORIGIN_NAMES}
        if is_in_group and name != "Seed" and not is_provenance:
            settings.ignore(name, value)
    return settings


# By importance, a pattern of names: a list of hundreds ends after the first few.
_RANKED_NAMES: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        "seed",
        "lora|lycoris|hypernetwork|embedding",
        "prompt",
        "sampler|schedule|passes",
    )
)
_PROMPT_RANK: Final = 2
_HASH_NAME: Final = re.compile("hash", re.IGNORECASE)


def _rank(name: str) -> int:
    """Return the place of a setting in the list of those that aren't supported."""
    count = len(_RANKED_NAMES)
    if _HASH_NAME.search(name):
        return count + 1
    return next((rank for rank, pattern in enumerate(_RANKED_NAMES) if pattern.search(name)), count)


def _is_valid_size(width: int, height: int, limits: Limits) -> bool:
    is_in_range = limits.width.contains(width) and limits.height.contains(height)
    return limits.is_on_grid(width, height) and is_in_range and limits.allows_area(width, height)


def metadata_from_request(request: GenerationRequest) -> GenerationMetadata:
    """Return the metadata that an image of this request would have."""
    values = asdict(request)
    del values["randomize_seed"]
    return GenerationMetadata(**values)


def variations(
    metadata: GenerationMetadata, kind: object, limits: Limits
) -> list[GenerationRequest]:
    """Return requests like an image: with `adjacent` four with the seeds around, else one.

    Raises:
        InvalidRequestError: a Space with these limits can't make them, or the seed is unknown.
    """
    # Fields that stay `None` are resolved to the Space's defaults. Without a style book, the prompt
    # is the image's own, with the words of its styles.
    blank = FormValues(*(None for _ in FIELD_NAMES))
    values = apply_settings(metadata, blank, limits).values
    request = RequestOptions(
        prompt=values.prompt or "",
        negative_prompt=values.negative_prompt or "",
        width=values.width,
        height=values.height,
        guidance_scale=values.guidance_scale,
        num_inference_steps=values.num_inference_steps,
    ).resolve(limits)
    if kind != "adjacent":
        return [replace(request, randomize_seed=True)]
    if metadata.seed is None:
        raise InvalidRequestError("This image has no recorded seed.")
    if limits.seed is not None and not limits.seed.contains(metadata.seed):
        raise InvalidRequestError(
            f"Seed {metadata.seed} can't be used here ({limits.seed.whole_numbers})."
        )
    return [
        replace(request, seed=seed, randomize_seed=False)
        for seed in _adjacent_seeds(metadata.seed, limits)
    ]


def _adjacent_seeds(seed: int, limits: Limits) -> Iterator[int]:
    """Yield the seeds around this one; the smallest follows the largest."""
    seed_range = limits.seed or PUBLIC_LIMITS.seed
    assert seed_range is not None
    low = round(seed_range.minimum)
    high = round(seed_range.maximum)
    return (low + (seed + offset - low) % (high - low + 1) for offset in SEED_OFFSETS)
