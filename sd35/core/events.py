"""Events on the way to an image: one small type for each thing that a Space can report."""

from dataclasses import dataclass

from sd35.core.picture import Picture

__all__ = [
    "Event",
    "Finished",
    "Notice",
    "Preview",
    "Progress",
    "Queued",
    "RemotePicture",
    "Started",
    "Waiting",
]


@dataclass(frozen=True, slots=True)
class RemotePicture:
    """An image at a Space, not fetched yet.

    `url` is absolute, relative to the Space, or a `data:` URL; `path` is the file's path there, if
    the Space sent one. Neither can be trusted: `SpaceClient.fetch` checks them.
    """

    url: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The Space can't accept the request yet, and the client tries again.

    `reason` is a short text such as "Waking up the Space"; `limit_seconds` is the longest wait, and
    `fraction` the part of a download that is done, if they are known.
    """

    reason: str
    waited_seconds: float
    limit_seconds: float | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """The request is in the Space's queue, behind `rank` others."""

    rank: int  # 0 for the next one, as in Gradio
    size: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Started:
    """The run has started; `eta_seconds` is the average duration of the Space's last runs."""

    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of the run: `step` of `total`, or a `fraction` from 0 to 1, or only a text."""

    step: int | None = None
    total: int | None = None
    unit: str | None = None
    description: str | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """The unfinished image; `fetched` has its bytes if the run was started with previews."""

    picture: RemotePicture
    fetched: Picture | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A message from the Space for its user, such as "Waiting for a GPU to become available"."""

    text: str
    level: str = "info"
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The image is finished.

    Attributes:
        seed: the one that the Space reports, or `None`.
        fetched: the image's bytes, in the events of `sd35.stream`.
        has_unknown_seed: whether the Space reports a seed that can't be read. The requested one may
            not be the image's then.
    """

    picture: RemotePicture
    seed: int | None
    fetched: Picture | None = None
    has_unknown_seed: bool = False


# The last event of a run is `Finished`; a run that fails raises an error instead.
Event = Waiting | Queued | Started | Progress | Preview | Notice | Finished
