"""How a model is fitted to a machine's memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.space.engine import EngineError
from sd35.space.fit import Machine, Plan, choose_plan, smaller_plan
from sd35.space.models import GB, MODELS

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


@given(
    device_gib=st.floats(1, 100),
    ram_gb=st.floats(4, 256),
    device=st.sampled_from(["cuda", "mps", "cpu"]),
    model=st.sampled_from(sorted(MODELS)),
    has_t5=st.sampled_from([None, True, False]),
)
def test_no_plan_exceeds_the_memory(
    device_gib: float, ram_gb: float, device: str, model: str, *, has_t5: bool | None
) -> None:
    """A plan takes no more memory than there is, or there is an error that says what is needed."""
    limited_machine = machine(device_gib, ram_gb, device)
    weights = MODELS[model].weights
    try:
        plan = choose_plan(limited_machine, weights, has_t5=has_t5)
    except EngineError as error:
        assert "needs" in error.happened
        assert error.remedy
    else:
        assert plan.device_bytes(weights) <= limited_machine.device_bytes
        assert plan.ram_bytes(weights) <= limited_machine.ram_bytes
        assert has_t5 is None or plan.has_t5 is has_t5


@pytest.mark.parametrize(
    ("plan", "expected_flags"),
    [
        (Plan("bfloat16"), "--precision int8 --offload none"),
        (Plan("int8", has_t5=False), "--precision int8 --offload model --no-t5"),
        (Plan("bfloat16", "group", is_tiled=True), None),
    ],
)
def test_smaller_plan_is_named_by_its_flags(plan: Plan, expected_flags: str | None) -> None:
    """After a plan that didn't fit there is one that takes less, or none; T5 never comes back."""
    smaller = smaller_plan(machine(24), MODELS["large"].weights, plan)
    assert (smaller and smaller.flags) == expected_flags


def test_options_decide() -> None:
    """What is named on the command line is what is used."""
    weights = MODELS["large"].weights
    plan = choose_plan(machine(80), weights, precision="int8", offload="model", has_t5=False)
    assert str(plan) == "int8, model offload, without T5"
    assert choose_plan(machine(80), weights, precision="nf4").precision == "nf4"
