"""The contract of a Space, read from its description."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sd35.client.contract import Contract, read_contract
from sd35.core.errors import ContractError
from sd35.core.limits import PUBLIC_LIMITS
from sd35.core.model_info import MODEL_INFO_ID, UNKNOWN_MODEL, ModelInfo
from sd35.core.request import GenerationRequest
from sd35.core.sizes import size_for

DESCRIPTIONS = sorted(Path(__file__).parent.glob("conversations/*-description.json"))

Description = dict[str, Any]


def contract_with_change(
    change: Callable[[Description, list[Description], list[Description]], object],
) -> Contract:
    """Read the public Space's contract after a change to its description."""
    description = copy.deepcopy(json.loads(DESCRIPTIONS[-1].read_text()))
    change(
        description,
        description["config"]["components"],
        description["info"]["named_endpoints"]["/infer"]["parameters"],
    )
    return read_contract(description["config"], description["info"])


@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda path: path.stem)
def test_the_public_space_s_contract_is_read_completely(path: Path) -> None:
    description = json.loads(path.read_text())
    contract = read_contract(description["config"], description["info"])
    assert contract.limits == PUBLIC_LIMITS
    assert contract.is_generator
    assert (contract.image_output, contract.seed_output) == (0, 1)
    assert not contract.is_demo
    request = GenerationRequest("a cat", "a dog", 512, 768, 3.5, 20, 7, randomize_seed=False)
    assert contract.build_inputs(request) == ["a cat", "a dog", 7, False, 512, 768, 3.5, 20]


def test_parameters_are_mapped_by_name_in_any_order() -> None:

    def swap_parameters(
        _: Description, components: list[Description], parameters: list[Description]
    ) -> None:
        names = [parameter["parameter_name"] for parameter in parameters]
        width = names.index("width")
        height = names.index("height")
        parameters[width], parameters[height] = parameters[height], parameters[width]

    data = contract_with_change(swap_parameters).build_inputs(
        GenerationRequest("a cat", width=512, height=768)
    )
    assert data[4:6] == [768, 512]


def test_unknown_parameters_keep_their_defaults() -> None:

    def add_parameter(
        description: Description, components: list[Description], parameters: list[Description]
    ) -> None:
        components.append({"id": 900, "type": "dropdown", "props": {}})
        components.append({"id": 901, "type": "state", "props": {}})
        description["config"]["dependencies"][0]["inputs"] += [901, 900]
        parameters.append(
            {"parameter_name": "style", "parameter_has_default": True, "parameter_default": "none"}
        )

    assert contract_with_change(add_parameter).build_inputs(GenerationRequest("a cat"))[-2:] == [
        None,
        "none",
    ]


def test_limits_are_the_space_s_own() -> None:

    def apply_turbo_limits(
        description: Description, components: list[Description], parameters: list[Description]
    ) -> None:
        steps = next(c for c in components if c["props"].get("value") == 40)
        steps["props"].update(value=4, maximum=20)

    steps = contract_with_change(apply_turbo_limits).limits.num_inference_steps
    assert steps is not None
    assert (steps.default, steps.maximum) == (4, 20)


@pytest.mark.parametrize(
    ("value", "expected_info"),
    [
        (
            {"name": "owner/model", "precision": "int8", "max_pixels": 1_600_000, "new": [1]},
            ModelInfo("owner/model", precision="int8", max_pixels=1_600_000),
        ),
        ({"name": "<b>x</b>\x1b[2J" + "y" * 99}, ModelInfo("x [2J" + "y" * 55)),
        ({"name": 7, "device": ["GPU"], "max_pixels": True}, ModelInfo("7")),
        ({"max_pixels": -1}, ModelInfo()),
        ({"max_pixels": 10**30}, ModelInfo()),
        (["name"], ModelInfo()),
        (None, ModelInfo()),
    ],
)
def test_model_is_what_a_space_of_ours_announces(value: object, expected_info: ModelInfo) -> None:
    """The announcement is checked like everything else that a Space says."""

    def add_announcement(_: Description, components: list[Description], __: object) -> None:
        props = {"elem_id": MODEL_INFO_ID, "value": value}
        components.append({"id": 999, "type": "json", "props": props})

    contract = contract_with_change(add_announcement)
    assert contract.model_info == expected_info
    assert contract.limits.max_pixels == expected_info.max_pixels
    # Such a Space enforces the steps of its sliders: here 32.
    assert contract.limits.size_multiple == (16 if expected_info == UNKNOWN_MODEL else 32)


def test_infinite_sizes_are_limited() -> None:
    limits = contract_with_change(
        lambda description, components, parameters: [
            c["props"].update(maximum=1e300) for c in components
        ]
    ).limits
    assert limits.width.maximum == 4096


@pytest.mark.parametrize(
    ("change", "expected_message"),
    [
        (
            lambda description, c, p: description["config"]["dependencies"].clear(),
            "no /infer endpoint",
        ),
        (lambda description, c, p: description["config"].clear(), "can't be understood"),
        (lambda description, c, p: description["info"].clear(), "can't be understood"),
        (
            lambda description, c, p: p[0].update(parameter_name="input_image"),
            "Unsupported required parameter: 'input_image'",
        ),
        (lambda description, c, p: p[4].update(parameter_name="breite"), "has no width"),
        (
            lambda description, c, p: [
                x.update(inputs=x["inputs"] * 100) for x in description["config"]["dependencies"]
            ],
            "more than 200 parameters",
        ),
        (
            lambda description, c, p: [x.update(type="textbox") for x in c if x["type"] == "image"],
            "returns no image",
        ),
        (
            lambda description, c, p: [
                x["props"].update(step=0) for x in c if x["type"] == "slider"
            ],
            "contradict",
        ),
    ],
)
def test_an_unusable_endpoint_is_a_clear_error(change: Any, expected_message: str) -> None:  # noqa: ANN401
    with pytest.raises(ContractError, match=expected_message):
        contract_with_change(change)


def test_negative_sizes_are_limited() -> None:
    contract = contract_with_change(
        lambda _, components, __: [
            c["props"].update(minimum=-1e12) for c in components if "minimum" in c["props"]
        ]
    )
    assert contract.limits.width.minimum == 0
    assert contract.limits.seed is not None
    assert contract.limits.seed.minimum == 0
    assert size_for("1:1", contract.limits).width == 1024


@pytest.mark.parametrize("mark", [{"type": "button"}, {"type": "custom", "skip_api": True}])
def test_buttons_and_states_among_the_inputs_are_skipped(mark: dict[str, Any]) -> None:

    def with_button(
        description: Description, components: list[Description], _: list[Description]
    ) -> None:
        components.append({"id": 999, "props": {}, **mark})
        description["config"]["dependencies"][-1]["inputs"].insert(1, 999)

    names = [parameter.name for parameter in contract_with_change(with_button).parameters]
    assert names[:3] == ["prompt", None, "negative_prompt"]
