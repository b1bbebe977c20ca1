"""Client for a Gradio Space: `SpaceClient.connect`, then `generate` and `fetch`.

Whatever fails raises an SD35Error. Docstrings here name one only where callers tell it apart.
"""

from sd35.client.auth import Identity
from sd35.client.client import SpaceClient
from sd35.client.contract import Contract
from sd35.client.generation import Generation
from sd35.client.join import SendLog
from sd35.client.previews import Previews
from sd35.client.retry import OutageWait, RetrySignal, is_outage
from sd35.client.timeouts import Timeouts
from sd35.core.stop_outcome import StopOutcome

__all__ = [
    "Contract",
    "Generation",
    "Identity",
    "OutageWait",
    "Previews",
    "RetrySignal",
    "SendLog",
    "SpaceClient",
    "StopOutcome",
    "Timeouts",
    "is_outage",
]
