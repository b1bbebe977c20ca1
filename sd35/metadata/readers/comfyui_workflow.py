"""ComfyUI workflows: the graph as the editor shows it, converted to the format of the API.

An editor's node has the values of its widgets in their order, without their names. Those of
ComfyUI's own nodes are listed here; of other nodes, only what needs no list is read.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, TypeAlias, TypeVar

from sd35.metadata.budget import Budget
from sd35.metadata.readers.comfyui_graph import is_number
from sd35.metadata.readers.comfyui_texts import GraphObject

__all__ = ["convert_workflow"]

# After a seed, the editor has a widget that says how the seed changes from run to run.
_CONTROL_VALUES = frozenset({"fixed", "increment", "decrement", "randomize"})

_WIDGETS = {
    kind: names.split()
    for kind, names in {
        "KSampler": "seed steps cfg sampler_name scheduler denoise",
        "KSamplerAdvanced": "add_noise noise_seed steps cfg sampler_name scheduler start_at_step"
        " end_at_step return_with_leftover_noise",
        "SamplerCustom": "add_noise noise_seed cfg",
        "KSamplerSelect": "sampler_name",
        "RandomNoise": "noise_seed",
        "BasicScheduler": "scheduler steps denoise",
        "AlignYourStepsScheduler": "model_type steps denoise",
        "GITSScheduler": "coeff steps denoise",
        "OptimalStepsScheduler": "model_type steps denoise",
        "KarrasScheduler": "steps",
        "ExponentialScheduler": "steps",
        "PolyexponentialScheduler": "steps",
        "LaplaceScheduler": "steps",
        "BetaSamplingScheduler": "steps",
        "VPScheduler": "steps",
        "LTXVScheduler": "steps",
        "Flux2Scheduler": "steps",
        "SDTurboScheduler": "steps denoise",
        "CFGGuider": "cfg",
        "PerpNegGuider": "cfg neg_scale",
        "DualCFGGuider": "cfg_conds cfg_cond2_negative style",
        "FluxGuidance": "guidance",
        "CLIPTextEncode": "text",
        "CLIPTextEncodeControlnet": "text",
        "CLIPTextEncodeSDXL": "width height crop_w crop_h target_width target_height text_g text_l",
        "CLIPTextEncodeSDXLRefiner": "ascore width height text",
        "CLIPTextEncodeSD3": "clip_l clip_g t5xxl empty_padding",
        "CLIPTextEncodeFlux": "clip_l t5xxl guidance",
        "CLIPTextEncodeHiDream": "clip_l clip_g t5xxl llama",
        "CLIPTextEncodeHunyuanDiT": "bert mt5xl",
        "CLIPTextEncodeLumina2": "system_prompt user_prompt",
        "CLIPTextEncodePixArtAlpha": "width height text",
        "TextEncodeQwenImageEdit": "prompt",
        "TextEncodeQwenImageEditPlus": "prompt",
        "TextEncodeHunyuanVideo_ImageToVideo": "prompt image_interleave",
        "PhotoMakerEncode": "text",
        "GLIGENTextBoxApply": "text",
        "CheckpointLoader": "config_name ckpt_name",
        "CheckpointLoaderSimple": "ckpt_name",
        "unCLIPCheckpointLoader": "ckpt_name",
        "ImageOnlyCheckpointLoader": "ckpt_name",
        "UNETLoader": "unet_name",
        "UnetLoaderGGUF": "unet_name",
        "LoraLoader": "lora_name strength_model strength_clip",
        "LoraLoaderModelOnly": "lora_name strength_model",
        "ModelMergeSimple": "ratio",
        "ModelMergeSubtract": "multiplier",
        "ModelMergeBlocks": "input middle out",
        "PrimitiveString": "value",
        "PrimitiveStringMultiline": "value",
        "PrimitiveInt": "value",
        "PrimitiveFloat": "value",
        "PrimitiveBoolean": "value",
        "PreviewAny": "source",
        "ComfySwitchNode": "switch",
        # of other packs, which many images have
        "Efficient Loader": "ckpt_name vae_name clip_skip lora_name lora_model_strength"
        " lora_clip_strength positive negative",
        "ImpactWildcardEncode": "wildcard_text populated_text",
        "ImpactWildcardProcessor": "wildcard_text populated_text",
        "smZ CLIPTextEncode": "text",
        "BNK_CLIPTextEncodeAdvanced": "text",
        "ShowText|pysssss": "text_0",
        "SDXLPromptStyler": "text_positive text_negative style",
        "StringConcatenate": "string_a string_b delimiter",
        "StringReplace": "string find replace",
        "RegexReplace": "string regex_pattern replace",
        "StringTrim": "string mode",
        "CaseConverter": "string mode",
    }.items()
}

_SCHEDULERS = frozenset(
    {"normal", "karras", "exponential", "sgm_uniform", "simple", "ddim_uniform", "beta"}
    | {"linear_quadratic", "kl_optimal", "beta57", "AYS SD1", "AYS SDXL", "AYS SVD"}
)

# Of a node that isn't listed, a widget's value can be told by its type, if it is the only one.
_NAMES_BY_OUTPUT: Mapping[str, tuple[str, type | UnionType]] = {
    "CONDITIONING": ("text", str),
    "STRING": ("value", str),
    "INT": ("value", int),
    "FLOAT": ("value", int | float),
}

_MUTED = 2
_BYPASSED = 4
_PRIMITIVE = "PrimitiveNode"
_SETTER = "SetNode"  # passes its input on to each getter of the same name
_GETTER = "GetNode"
_PASSING_TYPES = ("Reroute", _SETTER)
# Only the editor knows these.
_EDITOR_TYPES = ("Note", "MarkdownNote", _PRIMITIVE, _GETTER, *_PASSING_TYPES)

# Numbers of the nodes in a subgraph that stand for its inputs and outputs.
_INPUT_NODE = "-10"
_OUTPUT_NODE = "-20"

_MAX_DEPTH = 8  # subgraphs in each other
_MAX_HOPS = 60  # nodes that only pass something on, one after another
_HOP_STEPS = 4
_NODE_STEPS = 20

_Key = TypeVar("_Key")
_EditorNode: TypeAlias = Mapping[str, Any]


def convert_workflow(workflow: GraphObject, budget: Budget) -> GraphObject:
    """Return a workflow of the editor as a graph in the format of the API."""
    return _Converter(workflow, budget).convert()


@dataclass(frozen=True, slots=True)
class _Origin:
    """Output of a node, by its number."""

    node: str
    slot: int


class _Layout:
    """Nodes and links of a workflow, or of a subgraph that it defines."""

    def __init__(self, payload: GraphObject, budget: Budget) -> None:
        nodes = [node for node in _items(payload, "nodes") if isinstance(node, dict)]
        links = _items(payload, "links")
        budget.spend(_HOP_STEPS * (len(nodes) + len(links)))
        self.nodes: dict[str, _EditorNode] = {_key(node.get("id")): node for node in nodes}
        self.setters = {_first_value(node): node for node in nodes if node.get("type") == _SETTER}
        self.input_names = [_text(slot, "name") for slot in _items(payload, "inputs")]
        # A subgraph may hold links that are no longer in use, too.
        self._input_links = {
            _key(link) for slot in _items(payload, "inputs") for link in _items(slot, "linkIds")
        }
        self.origins: dict[str, _Origin] = {}
        self.output_origins: dict[int, _Origin] = {}
        # Widgets that the inputs of a subgraph set in it, by node and name.
        self.widget_inputs: dict[int, tuple[str, str]] = {}
        for link in links:
            self._add_link(link)

    def _add_link(self, link: object) -> None:
        # The main graph has lists, and subgraphs have objects.
        if isinstance(link, dict):
            names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
            link = [link.get(name) for name in names]
        if not isinstance(link, list) or len(link) < 5:
            return
        number, origin_name, origin_slot, target_name, target_slot = link[:5]
        if not isinstance(origin_slot, int) or not isinstance(target_slot, int):
            return
        origin = _Origin(_key(origin_name), origin_slot)
        self.origins[_key(number)] = origin
        if _key(target_name) == _OUTPUT_NODE:
            self.output_origins[target_slot] = origin
        slots = _items(self.nodes.get(_key(target_name), {}), "inputs")
        is_input = origin.node == _INPUT_NODE and _key(number) in self._input_links
        if is_input and 0 <= target_slot < len(slots):
            slot = slots[target_slot]
            if isinstance(slot, dict) and "widget" in slot:
                self.widget_inputs.setdefault(origin.slot, (_key(target_name), _text(slot, "name")))


@dataclass(slots=True)
class _Scope:
    """Main graph, or one use of a subgraph.

    Attributes:
        prefix: what stands before the names of its nodes, as in the format of the API.
        user: node of the parent that stands for the subgraph.
        values: values of inputs without a link, by the input's name.
        widgets: values of widgets in it that are set from outside, by node and name.
        scopes: uses of subgraphs in it, by node.
    """

    layout: _Layout
    prefix: str = ""
    parent: "_Scope | None" = None
    user: _EditorNode = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)
    widgets: dict[tuple[str, ...], object] = field(default_factory=dict)
    scopes: dict[str, "_Scope"] = field(default_factory=dict)


class _Converter:
    """Converter of one workflow. A workflow may be crafted, and its subgraphs hold each other."""

    def __init__(self, workflow: GraphObject, budget: Budget) -> None:
        self._budget = budget
        self._main = _Layout(workflow, budget)
        self._subgraphs = {
            _text(subgraph, "id"): _Layout(subgraph, budget)
            for subgraph in _items(_object(workflow, "definitions"), "subgraphs")
            if isinstance(subgraph, dict)
        }
        # A node of many workflows, "Anything Everywhere", links inputs without a line.
        self._broadcasts = {
            (_key(link.get("downstream")), _key(link.get("downstream_slot"))): link
            for link in _items(_object(workflow, "extra"), "ue_links")
            if isinstance(link, dict)
        }
        self._graph: dict[str, Any] = {}

    def convert(self) -> GraphObject:
        """Return the graph in the format of the API."""
        main = _Scope(self._main)
        self._open_subgraphs(main, 0)
        self._add_nodes(main)
        return self._graph

    def _open_subgraphs(self, scope: _Scope, depth: int) -> None:
        for name, node in scope.layout.nodes.items():
            self._budget.spend(_NODE_STEPS)
            layout = self._subgraphs.get(_text(node, "type"))
            if layout is None or depth >= _MAX_DEPTH or not _runs(node):
                continue
            inner = _Scope(layout, f"{scope.prefix}{name}:", scope, node)
            self._set_widgets(inner)
            scope.scopes[name] = inner
            self._open_subgraphs(inner, depth + 1)

    def _set_widgets(self, scope: _Scope) -> None:
        """Note what the node of a subgraph sets in it: inputs, or widgets of nodes in it."""
        values = _items(scope.user, "widgets_values")
        layout = scope.layout
        names = [
            name for slot, name in enumerate(layout.input_names) if slot in layout.widget_inputs
        ]
        self._budget.spend(len(values) + len(names))
        targets = _items(_object(scope.user, "properties"), "proxyWidgets")
        if len(names) == len(values):
            scope.values = _known_values(names, values)
        elif len(targets) == len(values):
            keys = [tuple(map(_key, target)) for target in targets if isinstance(target, list)]
            scope.widgets = _known_values(keys, values)

    def _add_nodes(self, scope: _Scope) -> None:
        for name, node in scope.layout.nodes.items():
            kind = _text(node, "type")
            if name in scope.scopes:
                self._add_nodes(scope.scopes[name])
            elif _runs(node) and not kind.startswith(_EDITOR_TYPES):
                inputs = self._inputs(scope, name, node)
                self._graph[scope.prefix + name] = {"class_type": kind, "inputs": inputs}

    def _inputs(self, scope: _Scope, name: str, node: _EditorNode) -> dict[str, Any]:
        slots = _items(node, "inputs")
        self._budget.spend(len(slots) + len(_items(node, "widgets_values")))
        inputs = _widget_values(node)
        for widget in inputs:
            if (name, widget) in scope.widgets:
                inputs[widget] = scope.widgets[name, widget]
        for index, slot in enumerate(slots):
            origin = self._origin(scope, name, node, index)
            value = self._resolve(scope, origin) if origin else None
            if value is not None:
                inputs[_text(slot, "name")] = value
        return inputs

    def _origin(self, scope: _Scope, name: str, node: _EditorNode, index: int) -> _Origin | None:
        """Return the output to which an input of a node is linked."""
        slots = _items(node, "inputs")
        if not 0 <= index < len(slots) or not isinstance(slots[index], dict):
            return None
        origin = scope.layout.origins.get(_key(slots[index].get("link")))
        broadcast = self._broadcasts.get((name, str(index)))
        if origin is None and broadcast is not None and scope.parent is None:
            slot = broadcast.get("upstream_slot")
            return _Origin(_key(broadcast.get("upstream")), slot if isinstance(slot, int) else 0)
        return origin

    def _resolve(self, scope: _Scope, origin: _Origin) -> object:
        """Return a link of the API to the node that an output leads to, or a value; else `None`."""
        for _ in range(_MAX_HOPS):
            self._budget.spend(_HOP_STEPS)
            position = self._follow(scope, origin)
            if position is None:
                return self._output_value(scope, origin)
            scope, origin = position
        return None

    def _follow(self, scope: _Scope, origin: _Origin) -> tuple[_Scope, _Origin] | None:
        """Return where the value of an output comes from; `None` if its node provides it."""
        if origin.node == _INPUT_NODE:
            return self._leave(scope, origin.slot)
        if origin.node in scope.scopes:
            inner = scope.scopes[origin.node]
            inner_origin = inner.layout.output_origins.get(origin.slot)
            return (inner, inner_origin) if inner_origin else None
        name = origin.node
        node = scope.layout.nodes.get(name, {})
        self._budget.spend(len(_items(node, "inputs")))
        if _text(node, "type") == _GETTER:
            scope, name, node = _find_setter(scope, name, node)
        index = _passed_input(node, origin.slot)
        passed_origin = None if index is None else self._origin(scope, name, node, index)
        return (scope, passed_origin) if passed_origin else None

    def _output_value(self, scope: _Scope, origin: _Origin) -> object:
        if origin.node == _INPUT_NODE:
            return self._input_value(scope, origin.slot)
        node = scope.layout.nodes.get(origin.node, {})
        kind = _text(node, "type")
        if kind == _PRIMITIVE:
            return _first_value(node)
        is_passing = kind == _GETTER or _passed_input(node, origin.slot) is not None
        if is_passing or origin.node in scope.scopes or not _runs(node):
            return None
        return [scope.prefix + origin.node, origin.slot]

    def _input_value(self, scope: _Scope, slot: int) -> object:
        """Return the value of an input of a subgraph that isn't linked outside of it."""
        name = _input_name(scope, slot)
        value = scope.values.get(name, scope.widgets.get(("-1", name)))
        if value is not None or slot not in scope.layout.widget_inputs:
            return value
        # One of the widgets that it sets has the value.
        node_name, widget = scope.layout.widget_inputs[slot]
        node = scope.layout.nodes.get(node_name, {})
        self._budget.spend(len(_items(node, "inputs")) + len(_items(node, "widgets_values")))
        return scope.widgets.get((node_name, widget), _widget_values(node).get(widget))

    def _leave(self, scope: _Scope, slot: int) -> tuple[_Scope, _Origin] | None:
        """Return what an input of a subgraph is linked to outside of it."""
        parent = scope.parent
        if parent is None:
            return None
        input_name = _input_name(scope, slot)
        self._budget.spend(len(_items(scope.user, "inputs")))
        for index, outer_slot in enumerate(_items(scope.user, "inputs")):
            if _text(outer_slot, "name") == input_name:
                name = _key(scope.user.get("id"))
                origin = self._origin(parent, name, scope.user, index)
                return (parent, origin) if origin else None
        return None


def _known_values(keys: Iterable[_Key], values: Iterable[object]) -> dict[_Key, object]:
    return {key: value for key, value in zip(keys, values, strict=False) if value is not None}


def _input_name(scope: _Scope, slot: int) -> str:
    names = scope.layout.input_names
    return names[slot] if 0 <= slot < len(names) else ""


def _find_setter(scope: _Scope, name: str, getter: _EditorNode) -> tuple[_Scope, str, _EditorNode]:
    """Return the setter of a getter's name, here or in a graph around it; else the getter."""
    title = _first_value(getter)
    outer: _Scope | None = scope
    while outer is not None:
        if isinstance(title, str) and title in outer.layout.setters:
            setter = outer.layout.setters[title]
            return outer, _key(setter.get("id")), setter
        outer = outer.parent
    return scope, name, getter


def _passed_input(node: _EditorNode, slot: int) -> int | None:
    """Return the number of the input that a node passes on as this output, if it only does that."""
    if node.get("mode") == _MUTED:
        return None
    if _text(node, "type").startswith(_PASSING_TYPES):
        return 0
    outputs = _items(node, "outputs")
    if node.get("mode") != _BYPASSED or not 0 <= slot < len(outputs):
        return None
    # As the editor does it: the input at the same position, or else the first of the type.
    output_type = _text(outputs[slot], "type")
    types = [_text(item, "type") for item in _items(node, "inputs")]
    # A type may be several, or any.
    fitting_slots = [
        index
        for index, kind in enumerate(types)
        if output_type in kind.split(",") or "*" in {kind, output_type}
    ]
    return slot if slot in fitting_slots else next(iter(fitting_slots), None)


def _widget_values(node: _EditorNode) -> dict[str, Any]:
    """Return the values of a node's widgets by name, as far as the names are known."""
    named_values = node.get("widgets_values")
    if isinstance(named_values, dict):
        return {name: value for name, value in named_values.items() if not isinstance(value, list)}
    kind = _text(node, "type")
    values = _without_controls(_items(node, "widgets_values"), has_switches=kind in _WIDGETS)
    slots = _items(node, "inputs")
    names = [_text(slot, "name") for slot in slots if isinstance(slot, dict) and "widget" in slot]
    if kind in _WIDGETS:
        names = _WIDGETS[kind]
    elif len(names) != len(values):
        return {**_only_value(node, values), **_sampler_values(_items(node, "widgets_values"))}
    return {
        name: value
        for name, value in zip(names, values, strict=False)
        if not isinstance(value, list | dict)
    }


def _without_controls(values: list[Any], *, has_switches: bool) -> list[Any]:
    """Return values without those that say how the seed before them changes."""
    # Early versions of the editor had a switch in its place.
    return [
        value
        for index, value in enumerate(values)
        if not (
            index
            and is_number(values[index - 1])
            and (
                (isinstance(value, str) and value in _CONTROL_VALUES)
                or (has_switches and isinstance(value, bool))
            )
        )
    ]


def _only_value(node: _EditorNode, values: list[Any]) -> dict[str, Any]:
    """Return the value of a custom node that can only be its prompt or its output."""
    outputs = _items(node, "outputs")
    output_type = _text(outputs[0], "type") if outputs else ""
    slots = [slot for slot in _items(node, "inputs") if isinstance(slot, dict)]
    types = [_text(slot, "type") for slot in slots if slot.get("link") is not None]
    # A node that changes what it gets has values, too, such as the name of a method.
    if types and (output_type != "CONDITIONING" or set(types) & {"CONDITIONING", "STRING"}):
        return {}
    name, kind = _NAMES_BY_OUTPUT.get(output_type, ("", str))
    candidates = [value for value in values if value is not None]
    if len(candidates) > 1:
        candidates = [value for value in candidates if value != ""]
    if output_type == "CONDITIONING":
        texts = [value for value in candidates if isinstance(value, str)]
        candidates = texts if len(texts) == 1 else [text for text in texts if " " in text]
    is_certain = len(candidates) == 1 and isinstance(candidates[0], kind)
    return {name: candidates[0]} if name and is_certain else {}


def _sampler_values(values: list[Any]) -> dict[str, Any]:
    """Return a sampler's settings among the values of a custom node, and the LoRAs that it loads.

    All have ComfyUI's order: a seed and its control, steps, scale, sampler, scheduler, denoising.
    """
    named_values: dict[str, Any] = {
        f"lora_{index}": value for index, value in enumerate(values) if isinstance(value, dict)
    }
    index = next((at for at, value in enumerate(values) if _is_scheduler(value)), 0)
    if index >= 3 and is_number(values[index - 2]) and is_number(values[index - 3]):
        settings = values[index - 3 : index + 2]
        names = ("steps", "cfg", "sampler_name", "scheduler", "denoise")
        named_values |= zip(names, settings, strict=False)
        named_values["seed"] = next(filter(is_number, reversed(values[: index - 3])), None)
    return named_values


def _is_scheduler(value: object) -> bool:
    return isinstance(value, str) and value in _SCHEDULERS


def _runs(node: _EditorNode) -> bool:
    mode = node.get("mode")  # may be anything, also what has no hash
    return mode not in (_MUTED, _BYPASSED)


def _first_value(node: _EditorNode) -> object:
    values = _items(node, "widgets_values")
    return values[0] if values and isinstance(values[0], str | int | float) else None


def _items(payload: object, name: str) -> list[Any]:
    value = payload.get(name) if isinstance(payload, Mapping) else None
    return value if isinstance(value, list) else []


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    return value if isinstance(value, dict) else {}


def _text(payload: object, name: str) -> str:
    value = payload.get(name) if isinstance(payload, Mapping) else None
    return value if isinstance(value, str) else ""


def _key(value: object) -> str:
    """Return the number or name of a node or link as text; a name that none has for others."""
    return str(value) if isinstance(value, int | str) else ""
