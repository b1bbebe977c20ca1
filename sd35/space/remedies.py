"""What helps if a model doesn't fit into the memory, as the rest of a sentence."""

from sd35.core.model_options import ModelOptions
from sd35.space.engine_options import EngineOptions
from sd35.space.fit import Machine, Plan, choose_plan, smaller_plan
from sd35.space.models import MODELS, Model

__all__ = ["memory_remedy", "restart_remedy"]


def restart_remedy(engine_options: EngineOptions) -> str:
    """Return how to start the Space in another way."""
    if engine_options.is_hosted:
        return "choose other hardware in the Space's settings"
    return f"start again with {engine_options}"


def memory_remedy(
    engine_options: EngineOptions, machine: Machine, model: Model, plan: Plan | None = None
) -> str:
    """Return what fits, instead of the plan that didn't or of the options that allow none.

    It is a command line that whoever started the Space can give.
    """
    weights = model.weights
    if plan is None:
        options = ModelOptions(precision="bfloat16" if model.quantization else None)
        fitting_plan = choose_plan(machine, weights, options)
    else:
        fitting_plan = smaller_plan(machine, weights, plan)
    if fitting_plan is not None:
        return restart_remedy(engine_options.with_plan(fitting_plan))
    medium = MODELS["medium"]
    is_smaller = medium.weights.transformer < weights.transformer
    if is_smaller and choose_plan(machine, medium.weights) is not None:
        return restart_remedy(engine_options.with_model(medium.key))
    return "use a machine with more memory, or a Space elsewhere"
