"""An account at Hugging Face, and what is left of its GPU quota."""

import datetime as dt
from dataclasses import dataclass

__all__ = ["HubAccount", "HubQuota"]


@dataclass(frozen=True, slots=True)
class HubAccount:
    """The account of a token."""

    name: str
    is_pro: bool


@dataclass(frozen=True, slots=True)
class HubQuota:
    """The GPU quota of an account on ZeroGPU, in seconds of GPU time.

    Attributes:
        total_seconds: the whole quota, if the Hub says it.
        resets_at: when the whole quota is back; `None` if none of it was used, or unknown.
    """

    remaining_seconds: float
    total_seconds: float | None = None
    resets_at: dt.datetime | None = None
