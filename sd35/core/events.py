"""What happens on the way to a picture, one small type for each thing that a Space can report."""

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
    """A picture that a Space has made and that has not been fetched yet.

    `url` is what the Space said: absolute, relative to it, or a `data:` URL; `path` is the file's
    name there, where it said that too. Neither is to be trusted: `SpaceClient.fetch` checks them.
    """

    url: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The Space can't take the request yet, and is asked again: it is waking up, or its queue is full.

    `reason` is a sentence; `limit_seconds` is how long this goes on at most, where that is known.
    """

    reason: str
    waited_seconds: float
    limit_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits in the Space's queue: `rank` others are before it."""

    rank: int
    size: int
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Started:
    """The Space has taken the request up; `eta_seconds` is how long its last runs took on average."""

    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """The Space's own account of how far it is: `step` of `total`, or a `fraction` 0 … 1, or only a text."""

    step: int | None = None
    total: int | None = None
    unit: str | None = None
    description: str | None = None
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """The picture as it looks so far; `fetched` are its bytes, where they were asked for."""

    picture: RemotePicture
    fetched: Picture | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A line that the Space wrote for the person who waits, such as “Waiting for a GPU to become available”."""

    text: str
    level: str = "info"
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """The picture is complete; `seed` is the one that the Space says it used, `None` where it doesn't say.

    `fetched` are its bytes, where they were asked for.
    """

    picture: RemotePicture
    seed: int | None
    fetched: Picture | None = None


Event = Waiting | Queued | Started | Progress | Preview | Notice | Finished
