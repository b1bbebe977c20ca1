"""One run at a replica, as the Space sees it."""

import contextlib
import queue
import threading
import time
import uuid
from typing import Any, Final

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from sd35.core.request import GenerationRequest
from sd35.core.text import one_line
from sd35.space.engine import EngineError
from sd35.space.replicas.reports import Begin

__all__ = ["SERVE_NAMESPACE", "RemoteRun", "ReplicaLostError"]

STOP_LIMIT_SECONDS: Final = 600.0  # a step of the largest model on a slow CPU takes minutes
DEATH_TEXT: Final = "The actor is dead because"
MAX_REASON_CHARACTERS: Final = 300
ALIVE_POLL_SECONDS: Final = 1.0
SERVE_NAMESPACE: Final = "serve"


class ReplicaLostError(Exception):
    """The replica of a run, or its machine, has ended."""


class RemoteRun:
    """Run whose results a thread receives: they can be waited for with a limit.

    Args:
        handle: of the deployment, for streams.
        request: what to make.
    """

    def __init__(self, handle: DeploymentHandle, request: GenerationRequest) -> None:
        self.id = uuid.uuid4().hex
        self.begin: Begin | None = None  # once a replica has taken it
        self.is_freed = threading.Event()  # the device; of a stopped run, its replica reports that
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_closed = False
        self._response = handle.generate.remote(request, self.id)
        threading.Thread(target=self._receive, name="receive run", daemon=True).start()

    def _receive(self) -> None:
        try:
            for result in self._response:
                self._results.put(result)
            # Only at its own end: a stream that is cancelled ends before the run's step.
            if not self._is_closed:
                self.is_freed.set()
        except BaseException as error:  # noqa: BLE001  # it belongs to the one who iterates
            self._results.put(error)

    def wait_for_begin(self, limit_seconds: float) -> Begin | None:
        """Return the replica that has taken the run; `None` if none has within the limit.

        Raises:
            ReplicaLostError: it was lost at once.
            EngineError: the run was cancelled by `cancel`.
        """
        begin = self.next(limit_seconds)
        assert begin is None or isinstance(begin, Begin)
        self.begin = begin
        return begin

    def next(self, limit_seconds: float | None) -> Any:  # noqa: ANN401  # of the replica
        """Return the next result; `None` if none comes within the limit.

        Raises:
            ReplicaLostError: none will come any more.
            EngineError: the run was cancelled by `cancel`.
        """
        try:
            result = self._results.get(timeout=limit_seconds)
        except queue.Empty:
            return None
        if not isinstance(result, BaseException):
            return result
        if self._is_closed:
            raise EngineError("The Space is being closed.")
        if isinstance(result, RayTaskError) and not isinstance(result, RayActorError):
            raise result.cause
        if isinstance(result, RayError | RayServeException):
            raise ReplicaLostError(f"{self.begin or 'a replica'}: {_reason(result)}") from result
        raise result

    def cancel(self) -> None:
        """End the run before its next step."""
        self._is_closed = True
        with contextlib.suppress(RayError, RayServeException):
            self._response.cancel()

    def wait_until_freed(self) -> None:
        """Wait until the device is free, or its process has ended."""
        assert self.begin is not None
        deadline = time.monotonic() + STOP_LIMIT_SECONDS
        while not self.is_freed.wait(ALIVE_POLL_SECONDS):
            if time.monotonic() > deadline or not _is_alive(self.begin.actor_name):
                return


def _reason(error: Exception) -> str:
    text = one_line(str(error))
    # Before it comes a list of ids.
    return text[max(text.find(DEATH_TEXT), 0) :][:MAX_REASON_CHARACTERS]


def _is_alive(actor_name: str) -> bool:
    try:
        ray.get_actor(actor_name, namespace=SERVE_NAMESPACE)
    except (ValueError, RayError):  # also once Ray has ended
        return False
    return True
