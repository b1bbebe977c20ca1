"""How a model is fitted to a machine's memory."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.core.model_options import ModelOptions
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine, Plan, choose_plan, describe_shortage, plans
from sd35.space.models import GB, MODELS, Weights
from sd35.space.remedies import memory_remedy
from sd35.space.step_time import describe_step_time, step_flop

GIB = 2**30


def machine(device_gib: float, ram_gb: float = 64, device: str = "cuda") -> Machine:
    return Machine(device, "a GPU", round(device_gib * GIB * 0.97), round(ram_gb * GB))


@pytest.mark.parametrize(
    ("device_gib", "model", "expected_plan"),
    [
        (80, "large", "bfloat16"),
        (32, "large-turbo", "bfloat16"),
        (24, "large", "int8"),
        (16, "large", "int8, model offload"),
        (12, "large", "int8, model offload"),
        (8, "large", "nf4, model offload"),
        (24, "medium", "bfloat16"),
        (16, "medium", "int8"),
        (12, "medium", "int8"),
        (8, "medium", "int8, model offload"),
        (5, "medium", "nf4, model offload"),
        (4.5, "large", "bfloat16, group offload"),
    ],
)
def test_plan_of_a_gpu(device_gib: float, model: str, expected_plan: str) -> None:
    """Each size of GPU gets the plan with the best images that it has room for."""
    assert str(choose_plan(machine(device_gib), MODELS[model].weights)) == expected_plan


@pytest.mark.parametrize(
    ("device", "ram_gb", "expected_plan"),
    [("cpu", 64, "bfloat16"), ("cpu", 24, "int8"), ("mps", 48, "bfloat16"), ("mps", 24, "int8")],
)
def test_plan_without_own_memory(device: str, ram_gb: float, expected_plan: str) -> None:
    """Where the memory is the machine's own, nothing is offloaded."""
    plan = choose_plan(machine(ram_gb * GB / GIB, ram_gb, device), MODELS["large"].weights)
    assert str(plan) == expected_plan


def asserted_plan(machine: Machine, weights: Weights, options: ModelOptions) -> Plan:
    plan = choose_plan(machine, weights, options)
    assert plan is not None
    return plan


@given(
    device_gib=st.floats(1, 100),
    ram_gb=st.floats(4, 256),
    device=st.sampled_from(["cuda", "mps", "cpu"]),
    model=st.sampled_from(sorted(MODELS)),
    no_t5=st.booleans(),
)
def test_no_plan_exceeds_the_memory(
    device_gib: float, ram_gb: float, device: str, model: str, *, no_t5: bool
) -> None:
    """A plan takes no more memory than there is, and so does its command line given again."""
    limited_machine = machine(device_gib, ram_gb, device)
    weights = MODELS[model].weights
    options = ModelOptions(no_t5=no_t5)
    plan = choose_plan(limited_machine, weights, options)
    if plan is None:
        assert "needs" in describe_shortage(limited_machine, weights, options)
        return
    again = asserted_plan(
        limited_machine, weights, EngineOptions(model).with_plan(plan).model_options
    )
    for fitting_plan in (plan, again):
        assert fitting_plan.device_bytes(weights) <= limited_machine.device_bytes
        assert fitting_plan.ram_bytes(weights) <= limited_machine.ram_bytes
        assert not (no_t5 and fitting_plan.has_t5)


@pytest.mark.parametrize(
    ("limited_machine", "options", "expected_text"),
    [
        (machine(2), ModelOptions(), r"needs \S+ GB of memory on a GPU, which has 2\.1 GB free"),
        (machine(8, 8), ModelOptions(), r"needs \S+ GB of RAM besides the 4\.0 GB .* has 8\.0 GB"),
        (machine(7, 7, "cpu"), ModelOptions(), r"needs \S+ GB of RAM besides the 4\.0 GB"),
        (machine(6, 32), ModelOptions(offload="none"), "of memory on a GPU"),
    ],
)
def test_shortage_names_the_memory_that_is_missing(
    limited_machine: Machine, options: ModelOptions, expected_text: str
) -> None:
    """If nothing fits, the sentence is about the memory that there is too little of."""
    weights = MODELS["large"].weights
    assert choose_plan(limited_machine, weights, options) is None
    assert re.search(expected_text, describe_shortage(limited_machine, weights, options))


@pytest.mark.parametrize(
    ("plan", "device_gib", "expected_text"),
    [
        (Plan("bfloat16"), 24, "start again with --model large --precision int8 --offload none"),
        (
            Plan("int8", has_t5=False),
            24,
            "start again with --model large --precision int8 --offload model --no-t5",
        ),
        (list(plans(machine(4)))[-1], 4, "start again with --model medium"),
        (None, 8, "start again with --model large --precision nf4 --offload model"),
        (None, 1, "use a machine with more memory, or a Space elsewhere"),
    ],
)
def test_remedy_is_a_command_line_that_fits(
    plan: Plan | None, device_gib: float, expected_text: str
) -> None:
    """After a plan that didn't fit comes one that takes less, or a smaller model; T5 stays away."""
    limited_machine = machine(device_gib)
    engine_options = EngineOptions("large")
    remedy = memory_remedy(engine_options, limited_machine, MODELS["large"], plan)
    assert remedy == expected_text
    child = EngineOptions("my model", ModelOptions("cuda", revision="v1"), is_child=True)
    remedy = memory_remedy(child, limited_machine, MODELS["large"], plan)
    # What was chosen stays, but another model has other revisions.
    model = "--space 'local:my model' --device cuda"
    expected_text = expected_text.replace("--model large", model)
    if "--precision" in expected_text:
        expected_text += " --revision v1"
    expected_text = expected_text.replace("--model medium", "--space local:medium --device cuda")
    assert remedy == expected_text


def test_remedy_at_hugging_face_is_no_command_line() -> None:
    """Nobody starts a Space there by a command: its owner chooses the hardware."""
    options = EngineOptions("large", is_hosted=True)
    remedy = memory_remedy(options, machine(24), MODELS["large"], Plan("bfloat16"))
    assert remedy == "choose other hardware in the Space's settings"


def test_options_decide() -> None:
    """What is named on the command line is what is used, even if it doesn't fit."""
    weights = MODELS["large"].weights
    options = ModelOptions(precision="int8", offload="model", no_t5=True)
    assert str(choose_plan(machine(80), weights, options)) == "int8, model offload, without T5"
    plan = choose_plan(machine(80), weights, ModelOptions(precision="nf4"))
    assert str(plan) == "nf4"
    options = ModelOptions(precision="bfloat16", offload="none")
    assert str(choose_plan(machine(8), weights, options)) == "bfloat16"


def test_plan_is_described_with_the_memory_that_it_takes() -> None:
    """The description names what runs, where, and how much memory of which it takes."""
    weights = MODELS["large"].weights
    text = Plan("int8", "model", has_t5=False).describe(machine(12, 32), weights)
    assert re.fullmatch(
        r"int8, model offload, without T5, on a GPU: takes \S+ of 12\.5 GB free"
        r" and \S+ of 32\.0 GB of RAM",
        text,
    )
    text = Plan("bfloat16").describe(machine(64, 64, "cpu"), weights)
    assert re.fullmatch(r"bfloat16, with T5, on a GPU: takes \S+ of 66\.7 GB of RAM", text)


@pytest.mark.parametrize(
    ("model", "tflop"), [("large", 62.2), ("large-turbo", 31.1), ("medium", 22.5)]
)
def test_step_is_estimated_by_its_operations(model: str, tflop: float) -> None:
    """The estimate is near the operations that were counted at 1024 × 1024."""
    model_limits = MODELS[model].limits
    assert step_flop(MODELS[model].weights, model_limits) / 1e12 == pytest.approx(tflop, rel=0.15)


@pytest.mark.parametrize(
    ("seconds", "expected_text"),
    [
        (0.4, ""),
        (3.4, "On this CPU, a step takes about 3 s, and an image 4 steps."),
        (34, "On this CPU, a step takes about 30 s, and an image 4 steps."),
        (170, "On this CPU, a step takes about 3 min, and an image 4 steps."),
        (4000, "On this CPU, a step takes about 1 h 7 min, and an image 4 steps."),
    ],
)
def test_time_of_a_step_is_said_if_it_is_long(seconds: float, expected_text: str) -> None:
    """Where a step takes seconds or minutes, whoever waits is told about how many."""
    limits = MODELS["large-turbo"].limits
    assert describe_step_time("CPU", seconds, limits) == expected_text
