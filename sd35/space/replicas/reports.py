"""Values that replicas send to the Space."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import ray

from sd35.core.limits import Limits
from sd35.core.model_info import ModelInfo
from sd35.space.engine import Engine, EngineError, Loading

__all__ = ["Begin", "Description", "Failure", "Freed", "LoadingReport", "Mailbox", "SignOfLife"]

POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Description:
    """An engine as its replica has made it; see `Engine`."""

    title: str
    description: str
    warning: str
    model_info: ModelInfo
    limits: Limits
    size_multiple: int

    @classmethod
    def of(cls, engine: Engine) -> "Description":
        """Return the description of an engine."""
        return cls(
            engine.title,
            engine.description,
            engine.warning,
            engine.model_info,
            engine.limits,
            engine.size_multiple,
        )


@dataclass(frozen=True, slots=True)
class LoadingReport:
    """A replica loads its model, or has done so."""

    replica_id: str
    loading: Loading | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A foreseen failure, as a value: an error that is raised arrives with its traceback."""

    error: EngineError


@dataclass(frozen=True, slots=True)
class Begin:
    """First result of each run: a replica has taken it.

    Attributes:
        rank: of the replica, from 0.
        node: IP address of its machine.
        process_id: of the replica, on its machine.
        actor_name: of the replica, in Ray.
    """

    rank: int
    node: str
    process_id: int
    actor_name: str

    def __str__(self) -> str:
        return f"replica {self.rank} on {self.node} (process {self.process_id})"


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """A replica that can take runs lives; sent every few seconds, also during a step."""

    actor_name: str


@dataclass(frozen=True, slots=True)
class Freed:
    """A run has ended, and its device is free."""

    run_id: str


class _MailboxActor:
    """Queue from all replicas to the Space, in a process of its own.

    It ends with the Space, in whatever way that ends. Its name is the Space's claim to the model.
    """

    def __init__(self) -> None:
        self._reports: asyncio.Queue[Any] = asyncio.Queue()

    async def put(self, report: object) -> None:
        """Add a report."""
        await self._reports.put(report)

    async def take(self) -> list[Any]:
        """Return the reports that have come; wait a little if there are none."""
        try:
            reports = [await asyncio.wait_for(self._reports.get(), POLL_SECONDS)]
        except TimeoutError:
            return []
        while not self._reports.empty():
            reports.append(self._reports.get_nowait())
        return reports


# Its process may be lost, and starts again: whoever calls it hears nothing of that.
Mailbox = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_MailboxActor)
