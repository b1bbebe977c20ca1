"""Talking to a Space: `SpaceClient.connect`, then `generate` and `fetch`."""

from sd35.client.connection import Timeouts
from sd35.client.contract import Contract
from sd35.client.generation import Generation, StopOutcome
from sd35.client.space import SpaceClient

__all__ = ["Contract", "Generation", "SpaceClient", "StopOutcome", "Timeouts"]
