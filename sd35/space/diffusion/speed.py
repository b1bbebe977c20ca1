"""Speed of a device without the peaks of a GPU, measured in a moment."""

import time
from typing import Final

import torch
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

from sd35.space.fit import Machine, Plan
from sd35.space.models import Model
from sd35.space.step_time import describe_step_time, step_flop

__all__ = ["describe_speed"]

# A part of a transformer's layer: operations on one shape alone would be faster than a step is.
_TOKEN_COUNT: Final = 512
_WIDTH: Final = 1536
_HEAD_COUNT: Final = 24
_ATTENTION_TOKEN_COUNT: Final = 1024
_SAMPLE_FLOP: Final = 16 * _TOKEN_COUNT * _WIDTH**2 + 4 * _ATTENTION_TOKEN_COUNT**2 * _WIDTH

# Any device makes them in a second.
_NEGLIGIBLE_FLOP: Final = 1e9


def describe_speed(model: Model, plan: Plan, machine: Machine) -> str:
    """Return how long a step takes on a slow device, as a sentence; empty on a GPU of its own."""
    flop = step_flop(model.weights, model.limits)
    if machine.has_own_memory or flop < _NEGLIGIBLE_FLOP:
        return ""
    dtype = torch.float32 if plan.precision == "float32" else torch.bfloat16
    seconds = min(_measure_sample(machine.device, dtype) for _ in range(2))
    return describe_step_time(machine.name, seconds * flop / _SAMPLE_FLOP, model.limits)


def _measure_sample(device: str, dtype: torch.dtype) -> float:
    options = {"device": device, "dtype": dtype}
    with torch.inference_mode():
        tokens = torch.randn(_TOKEN_COUNT, _WIDTH, **options)
        weight = torch.randn(4 * _WIDTH, _WIDTH, **options)
        shape = (1, _HEAD_COUNT, _ATTENTION_TOKEN_COUNT, _WIDTH // _HEAD_COUNT)
        queries = torch.randn(shape, **options)
        started_at = time.perf_counter()
        linear(gelu(linear(tokens, weight)), weight.T)
        # The transfer waits until everything is computed.
        scaled_dot_product_attention(queries, queries, queries).cpu()
        return time.perf_counter() - started_at
