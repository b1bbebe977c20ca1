"""A studio for Stable Diffusion 3.5 over a Gradio Space.

`sd35.client.SpaceClient` speaks to a Space; `GenerationRequest` is what it is asked, `Event` what it reports, and
`SD35Error` the root of everything that is raised.
"""

from sd35.errors import SD35Error
from sd35.events import Event, Finished, Notice, Preview, Progress, Queued, RemotePicture, Started
from sd35.request import GenerationRequest, Limits

__all__ = [
    "Event",
    "Finished",
    "GenerationRequest",
    "Limits",
    "Notice",
    "Preview",
    "Progress",
    "Queued",
    "RemotePicture",
    "SD35Error",
    "Started",
]
