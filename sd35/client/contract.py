"""The contract of a Space: inputs and outputs, as in its `/config` and `/gradio_api/info`. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from sd35.client.error_parsing import sanitize
from sd35.core.errors import ContractError
from sd35.core.limits import PIPELINE_MULTIPLE, PUBLIC_LIMITS, Limits, Range
from sd35.core.model_info import MODEL_INFO_ID, UNKNOWN_MODEL, ModelInfo
from sd35.core.request import GenerationRequest
from sd35.core.seed import MAX_SEED

__all__ = [
    "DEMO_TITLE_MARKER",
    "Contract",
    "Json",
    "Parameter",
    "check_api_prefix",
    "read_contract",
]

Json = Any  # a value from the JSON of a Space

# A Space with this in its title doesn't run Stable Diffusion, and its images are marked as such.
DEMO_TITLE_MARKER: Final = "demo painter"

# The limits come from the Space, and decide how many sizes are tried for an aspect ratio.
MAX_SIDE_PIXELS = 4096

# Reading hostile names takes a millisecond each.
MAX_PARAMETERS: Final = 200
MAX_NAME_CHARACTERS: Final = 60

SUPPORTED_PROTOCOLS: Final = ("sse_v1", "sse_v2", "sse_v2.1", "sse_v3")

# Inputs that callers don't set, so that `/info` doesn't describe them. Newer versions of Gradio
# mark them with `skip_api`.
NON_API_COMPONENTS: Final = frozenset({"state", "button", "html", "uploadbutton", "downloadbutton"})

_API_PREFIX_PATTERN = re.compile(r"(?:/[A-Za-z0-9_-]+)*/?")
_REQUEST_FIELDS = frozenset(GenerationRequest.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input of the endpoint; without a `name` it isn't set by callers, such as a state."""

    name: str | None
    default: Any
    range: Range | None

    @property
    def default_text(self) -> str:
        """The default as a short text for people."""
        if isinstance(self.default, str):
            return sanitize(self.default)
        return sanitize(orjson.dumps(self.default).decode())


@dataclass(frozen=True, slots=True)
class Contract:
    """The inputs, outputs and limits of one Space's endpoint."""

    title: str
    version: str
    api_prefix: str
    fn_index: int
    is_generator: bool
    parameters: tuple[Parameter, ...]
    image_output: int
    seed_output: int | None
    limits: Limits
    sends_diffs: bool = True  # whether each preview after the first is sent as a diff
    model_info: ModelInfo = UNKNOWN_MODEL  # unless the Space announces it

    @property
    def can_cancel_queued(self) -> bool:
        """Return whether a cancel removes a request from the queue."""
        # Before Gradio 6.14, /cancel confirms it and does nothing.
        version_parts = tuple(int(part) for part in re.findall(r"\d{1,6}", self.version)[:2])
        return version_parts >= (6, 14)

    @property
    def is_demo(self) -> bool:
        """Return whether the Space is the demo painter."""
        return DEMO_TITLE_MARKER in self.title.lower()

    def has_parameter(self, parameter_name: str) -> bool:
        """Return whether the endpoint has a parameter of this name."""
        return any(parameter.name == parameter_name for parameter in self.parameters)

    def build_inputs(self, request: GenerationRequest) -> list[Any]:
        """Return the endpoint's inputs in their order; unknown parameters keep their defaults."""
        return [
            getattr(request, parameter.name)
            if parameter.name in _REQUEST_FIELDS
            else parameter.default
            for parameter in self.parameters
        ]


def read_contract(
    config: Mapping[str, Any], info: Mapping[str, Any], endpoint: str = "infer"
) -> Contract:
    """Return the contract of an endpoint, from a Space's `/config` and `/info`.

    Raises:
        ContractError: there is no such endpoint, or it can't be used: it requires an unknown
            parameter, has no prompt, width or height, or returns no image.
    """
    try:
        return _parse_contract(config, info, endpoint)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        # Without the cause: a KeyError, for example, repeats words of the Space.
        raise ContractError("The Space's description can't be understood.") from None


def check_api_prefix(config: Mapping[str, Any]) -> str:
    """Return the path of the Space's API.

    Raises:
        ContractError: it isn't a plain path, and could lead to another server.
    """
    prefix = config.get("api_prefix") or ""
    if not isinstance(prefix, str) or _API_PREFIX_PATTERN.fullmatch(prefix) is None:
        raise ContractError("The address of the Space's API isn't a path.")
    return prefix


def _parse_contract(config: Mapping[str, Any], info: Mapping[str, Any], endpoint: str) -> Contract:
    dependency, fn_index = _find_dependency(config, endpoint)
    components = {component["id"]: component for component in config["components"]}
    inputs = [components[component_id] for component_id in dependency["inputs"]]
    parameters = _parse_parameters(inputs, info["named_endpoints"][f"/{endpoint}"]["parameters"])
    outputs = [components[component_id] for component_id in dependency["outputs"]]
    model_info = _parse_model_info(config["components"])
    seed_inputs = [
        component["id"]
        for component, parameter in zip(inputs, parameters, strict=True)
        if parameter.name == "seed"
    ]
    return Contract(
        title=(sanitize(config.get("title")) or "Gradio")[:80],
        version=sanitize(config.get("version"))[:20],
        api_prefix=check_api_prefix(config),
        fn_index=fn_index,
        is_generator=bool((dependency.get("types") or {}).get("generator")),
        parameters=parameters,
        image_output=_find_image_output(outputs),
        seed_output=_find_seed_output(outputs, seed_inputs),
        limits=_parse_limits(
            {parameter.name: parameter for parameter in parameters if parameter.name}, model_info
        ),
        sends_diffs=_check_protocol(config) != "sse_v1",
        model_info=model_info,
    )


def _parse_model_info(components: list[Mapping[str, Any]]) -> ModelInfo:
    """Return what a Space of ours announces; any other announces nothing."""
    for component in components:
        props = component.get("props") or {}
        if props.get("elem_id") == MODEL_INFO_ID and isinstance(props.get("value"), dict):
            value = props["value"]
            texts = {
                name: sanitize(value.get(name))[:MAX_NAME_CHARACTERS]
                for name in ("name", "revision", "precision", "device", "options")
            }
            max_pixels = _finite_or_default(value.get("max_pixels"), 0)
            is_area = 0 < max_pixels <= MAX_SIDE_PIXELS**2
            return ModelInfo(**texts, max_pixels=int(max_pixels) if is_area else 0)
    return UNKNOWN_MODEL


def _check_protocol(config: Mapping[str, Any]) -> str:
    """Return the version of the queue's protocol; older ones use a websocket."""
    protocol = config.get("protocol", "sse_v3")
    if protocol not in SUPPORTED_PROTOCOLS:
        version = sanitize(config.get("version"))[:20]
        raise ContractError(
            f"Unsupported protocol of Gradio {version}: {sanitize(protocol)[:40]!r}.",
            "Gradio 4.20 or later is required.",
        )
    return str(protocol)


def _find_dependency(config: Mapping[str, Any], endpoint: str) -> tuple[Mapping[str, Any], int]:
    for index, dependency in enumerate(config["dependencies"]):
        if dependency.get("api_name") == endpoint:
            # Gradio 4 numbered them by their position, before they had an `id`.
            return dependency, int(dependency.get("id", index))
    raise ContractError(f"The Space has no /{endpoint} endpoint.")


def _parse_parameters(
    inputs: list[Mapping[str, Any]], descriptions: list[Mapping[str, Any]]
) -> tuple[Parameter, ...]:
    if len(inputs) > MAX_PARAMETERS:
        raise ContractError(f"The Space's endpoint has more than {MAX_PARAMETERS} parameters.")
    are_skipped = [
        bool(component.get("skip_api", component["type"] in NON_API_COMPONENTS))
        for component in inputs
    ]
    if are_skipped.count(False) != len(descriptions):
        raise ContractError("The Space's description doesn't match its parameters.")
    remaining = iter(descriptions)
    return tuple(
        Parameter(None, None, None) if is_skipped else _parse_parameter(component, next(remaining))
        for component, is_skipped in zip(inputs, are_skipped, strict=True)
    )


def _parse_parameter(component: Mapping[str, Any], description: Mapping[str, Any]) -> Parameter:
    if "parameter_name" not in description:
        raise ContractError("The Space's Gradio is too old: its parameters have no names.")
    name = sanitize(str(description["parameter_name"])[:MAX_NAME_CHARACTERS])
    if name not in _REQUEST_FIELDS and not description.get("parameter_has_default"):
        raise ContractError(f"Unsupported required parameter: {name!r}.")
    return Parameter(
        name, description.get("parameter_default"), _parse_range(name, component.get("props") or {})
    )


def _parse_range(name: str, props: Mapping[str, Any]) -> Range | None:
    """Return the range of a parameter; the public Space's bounds stand in for missing ones."""
    public_range: Range | None = (
        getattr(PUBLIC_LIMITS, name, None) if name != "negative_prompt" else None
    )
    if public_range is None:
        return None
    # A Space may leave out a bound, or give one that no image can have.
    lower_bound, upper_bound = _HARD_BOUNDS.get(name, (-math.inf, math.inf))
    minimum = max(_finite_or_default(props.get("minimum"), public_range.minimum), lower_bound)
    maximum = min(_finite_or_default(props.get("maximum"), public_range.maximum), upper_bound)
    if name == "seed":
        minimum = math.ceil(minimum)
        maximum = math.floor(maximum)
    step = _finite_or_default(props.get("step"), public_range.step)
    default = _finite_or_default(props.get("value"), public_range.default)
    if minimum > maximum or step <= 0:
        raise ContractError(f"The Space's limits for {name} are contradictory.")
    return Range(minimum, maximum, step, min(max(default, minimum), maximum))


_HARD_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "width": (0, MAX_SIDE_PIXELS),
    "height": (0, MAX_SIDE_PIXELS),
    "seed": (0, MAX_SEED),
}


def _finite_or_default(value: object, default: float) -> float:
    # To Python, True is the number 1; and JSON may hold numbers that overflow to infinity.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return value if math.isfinite(value) else default


def _parse_limits(parameters: Mapping[str, Parameter], model_info: ModelInfo) -> Limits:
    for required_name in ("prompt", "width", "height"):
        if required_name not in parameters:
            raise ContractError(f"The Space's endpoint has no {required_name}.")
    ranges = {name: parameter.range for name, parameter in parameters.items()}
    width = ranges["width"]
    height = ranges["height"]
    assert width is not None
    assert height is not None
    return Limits(
        width=width,
        height=height,
        seed=ranges.get("seed"),
        guidance_scale=ranges.get("guidance_scale"),
        num_inference_steps=ranges.get("num_inference_steps"),
        negative_prompt="negative_prompt" in parameters,
        max_pixels=model_info.max_pixels,
        size_multiple=_size_multiple(model_info, width, height),
    )


def _size_multiple(model_info: ModelInfo, width: Range, height: Range) -> int:
    """Return what the sides must be multiples of.

    Spaces of ours enforce the steps of their sliders; those of others mean nothing to the pipeline.
    """
    if model_info == UNKNOWN_MODEL:
        return PIPELINE_MULTIPLE
    return math.lcm(PIPELINE_MULTIPLE, *(max(1, round(side.step)) for side in (width, height)))


def _find_image_output(outputs: list[Mapping[str, Any]]) -> int:
    component_types = [component["type"] for component in outputs]
    for component_type in ("image", "gallery"):
        if component_type in component_types:
            return component_types.index(component_type)
    raise ContractError("The Space's endpoint returns no image.")


def _find_seed_output(outputs: list[Mapping[str, Any]], seed_inputs: list[Any]) -> int | None:
    """Return the index of the output that tells the seed, if there is one.

    It is the seed's input itself, as at the public Space, or has a label that says so. A number
    with another label is something else, such as the seconds that the run took.
    """
    ranks = [_seed_rank(component, seed_inputs) for component in outputs]
    best_rank = min(ranks, default=_NO_SEED_RANK)
    return None if best_rank == _NO_SEED_RANK else ranks.index(best_rank)


_NO_SEED_RANK: Final = 3


def _seed_rank(component: Mapping[str, Any], seed_inputs: list[Any]) -> int:
    label = (component.get("props") or {}).get("label")
    is_number = component["type"] in {"slider", "number"}
    if component["id"] in seed_inputs:
        return 0
    if label and "seed" in str(label).lower() and (is_number or component["type"] == "textbox"):
        return 1
    return 2 if is_number and not label else _NO_SEED_RANK
