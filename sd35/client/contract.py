"""What a Space accepts and returns, read by name from its `/config` and `/gradio_api/info`. Pure."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sd35.client.error_parsing import clean
from sd35.core.errors import ContractError
from sd35.core.limits import PUBLIC_LIMITS, Limits, Range
from sd35.core.request import GenerationRequest

__all__ = ["DEMO_MARK", "Contract", "Parameter", "check_api_prefix", "read_contract"]

DEMO_MARK: Final = "demo painter"
"""A Space whose title holds this doesn't run Stable Diffusion, and every page that shows its pictures says so."""

MAX_SIDE = 4096
"""A Space that claims larger pictures than this is taken at this much, in pixels."""

PROTOCOLS: Final = ("sse_v1", "sse_v2", "sse_v2.1", "sse_v3")

NOT_IN_THE_API: Final = frozenset({"state", "button", "html", "uploadbutton", "downloadbutton"})
"""Components that no caller fills, so that they aren't described as parameters; newer servers say `skip_api`."""

_PREFIX = re.compile(r"(?:/[A-Za-z0-9_-]+)*/?")
_KNOWN = frozenset(GenerationRequest.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input of the endpoint. `name` is `None` for an input that no caller fills (a state)."""

    name: str | None
    default: Any
    range: Range | None


@dataclass(frozen=True, slots=True)
class Contract:
    """What one Space accepts and returns."""

    title: str
    version: str
    api_prefix: str
    fn_index: int
    is_generator: bool
    parameters: tuple[Parameter, ...]
    image_output: int
    seed_output: int | None
    limits: Limits
    sends_diffs: bool = True
    """Whether each preview after the first comes as changes to the one before."""

    @property
    def cancel_removes_queued(self) -> bool:
        """Whether a cancel takes a request out of the queue; before Gradio 6.14 it only answers that it does."""
        numbers = tuple(int(number) for number in re.findall(r"\d{1,6}", self.version)[:2])
        return numbers >= (6, 14)

    @property
    def is_demo(self) -> bool:
        """Whether the Space says that it is the demo painter."""
        return DEMO_MARK in self.title.lower()

    def takes(self, name: str) -> bool:
        """Whether the endpoint has a parameter of this name."""
        return any(parameter.name == name for parameter in self.parameters)

    def data(self, request: GenerationRequest) -> list[Any]:
        """Return the endpoint's inputs for this request, in its order; what it doesn't know keeps its default."""
        return [
            getattr(request, parameter.name) if parameter.name in _KNOWN else parameter.default
            for parameter in self.parameters
        ]


def read_contract(
    config: Mapping[str, Any], info: Mapping[str, Any], endpoint: str = "infer"
) -> Contract:
    """Read the contract of the endpoint from a Space's `/config` and `/info`.

    Raises:
        ContractError: there is no such endpoint, or it can't be used: it wants something that is
            not known here, has no prompt, width or height, returns no image, or the answer isn't
            Gradio's.

    """
    try:
        return _read(config, info, endpoint)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        raise ContractError("The Space's description of itself can't be understood.") from error


def check_api_prefix(config: Mapping[str, Any]) -> str:
    """Return the path below which the Space's API is.

    Raises:
        ContractError: it isn't a path, but leads somewhere else.

    """
    prefix = config.get("api_prefix") or ""
    if not isinstance(prefix, str) or _PREFIX.fullmatch(prefix) is None:
        raise ContractError("The Space says that its API is somewhere else, which isn't followed.")
    return prefix


def _read(config: Mapping[str, Any], info: Mapping[str, Any], endpoint: str) -> Contract:
    dependency, fn_index = _find_dependency(config, endpoint)
    components = {component["id"]: component for component in config["components"]}
    inputs = [components[number] for number in dependency["inputs"]]
    parameters = _parameters(inputs, info["named_endpoints"][f"/{endpoint}"]["parameters"])
    image, seed = _outputs([components[number] for number in dependency["outputs"]])
    return Contract(
        title=clean(config.get("title") or "Gradio")[:80],
        version=clean(config.get("version") or "")[:20],
        api_prefix=check_api_prefix(config),
        fn_index=fn_index,
        is_generator=bool((dependency.get("types") or {}).get("generator")),
        parameters=parameters,
        image_output=image,
        seed_output=seed,
        limits=_limits({p.name: p for p in parameters if p.name}),
        sends_diffs=_check_protocol(config) != "sse_v1",
    )


def _check_protocol(config: Mapping[str, Any]) -> str:
    """The version of the queue's protocol; the ones before have another stream for each run."""
    protocol = config.get("protocol", "sse_v3")
    if protocol not in PROTOCOLS:
        raise ContractError(
            f"The Space speaks a protocol that isn't known here: Gradio {str(config.get('version'))[:20]}, "
            f"{clean(protocol)[:40]!r}.",
            "Gradio 4.20 or later speaks one that is.",
        )
    return str(protocol)


def _find_dependency(config: Mapping[str, Any], endpoint: str) -> tuple[Mapping[str, Any], int]:
    for number, dependency in enumerate(config["dependencies"]):
        if dependency.get("api_name") == endpoint:
            return dependency, int(dependency.get("id", number))
    raise ContractError(f"The Space has no /{endpoint} endpoint.")


def _parameters(
    inputs: list[Mapping[str, Any]], described: list[Mapping[str, Any]]
) -> tuple[Parameter, ...]:
    is_skipped = [
        component.get("skip_api", component["type"] in NOT_IN_THE_API) for component in inputs
    ]
    if is_skipped.count(False) != len(described):
        raise ContractError("The Space describes other parameters than it has.")
    remaining = iter(described)
    return tuple(
        Parameter(None, None, None) if skipped else _parameter(component, next(remaining))
        for component, skipped in zip(inputs, is_skipped, strict=True)
    )


def _parameter(component: Mapping[str, Any], description: Mapping[str, Any]) -> Parameter:
    if "parameter_name" not in description:
        raise ContractError("The Space's Gradio is too old: it doesn't name its parameters.")
    name = str(description["parameter_name"])
    if name not in _KNOWN and not description.get("parameter_has_default"):
        raise ContractError(f"The Space wants a parameter that is not known here: {name[:60]!r}.")
    return Parameter(
        name, description.get("parameter_default"), _range(name, component.get("props") or {})
    )


def _range(name: str, props: Mapping[str, Any]) -> Range | None:
    """A parameter's range; where the component sets no bounds, those of the public Space are assumed."""
    known: Range | None = getattr(PUBLIC_LIMITS, name, None) if name != "negative_prompt" else None
    if known is None:
        return None
    smallest, largest = _BOUNDS.get(name, (-math.inf, math.inf))
    minimum = max(_number(props.get("minimum"), known.minimum), smallest)
    maximum = min(_number(props.get("maximum"), known.maximum), largest)
    if name == "seed":
        minimum, maximum = math.ceil(minimum), math.floor(maximum)
    step = _number(props.get("step"), known.step)
    default = _number(props.get("value"), known.default)
    if minimum > maximum or step <= 0:
        raise ContractError(f"The Space's limits for {name} contradict each other.")
    return Range(minimum, maximum, step, min(max(default, minimum), maximum))


_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "width": (0, MAX_SIDE),
    "height": (0, MAX_SIDE),
    "seed": (0, 2**63 - 1),
}


def _number(value: object, otherwise: float) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else otherwise  # type: ignore[return-value]  # narrowed by `usable`


def _limits(parameters: Mapping[str, Parameter]) -> Limits:
    for needed in ("prompt", "width", "height"):
        if needed not in parameters:
            raise ContractError(f"The Space's endpoint takes no {needed}.")
    ranges = {name: parameter.range for name, parameter in parameters.items()}
    width, height = ranges["width"], ranges["height"]
    assert width is not None
    assert height is not None
    return Limits(
        width=width,
        height=height,
        seed=ranges.get("seed"),
        guidance_scale=ranges.get("guidance_scale"),
        num_inference_steps=ranges.get("num_inference_steps"),
        negative_prompt="negative_prompt" in parameters,
    )


def _outputs(outputs: list[Mapping[str, Any]]) -> tuple[int, int | None]:
    kinds = [component["type"] for component in outputs]
    if "image" not in kinds:
        raise ContractError("The Space's endpoint returns no image.")
    seeds = [number for number, kind in enumerate(kinds) if kind in {"slider", "number"}]
    return kinds.index("image"), seeds[0] if seeds else None
