"""The engine at one GPU, as Ray Serve runs it in a process of its own."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from typing import Any, Final

import ray
from ray import serve
from ray.exceptions import ActorDiedError, RayError

from sd35.core.request import GenerationRequest
from sd35.space.engine import Broken, EngineError, Loading, Result
from sd35.space.engine_options import EngineOptions
from sd35.space.replicas.reports import (
    Begin,
    Description,
    Failure,
    Freed,
    LoadingReport,
    SignOfLife,
)

__all__ = ["Replica"]

log = logging.getLogger(__name__)

LOADING_POLL_SECONDS: Final = 0.5
SPACE_POLL_SECONDS: Final = 1.0
SPACE_LIMIT_SECONDS: Final = 30.0


class Replica:
    """One engine, which is loaded when the constructor returns: Serve sends runs only then.

    Args:
        options: of the engine.
        mailbox: actor that takes reports.
    """

    def __init__(self, options: EngineOptions, mailbox: Any) -> None:  # noqa: ANN401  # Ray's
        self._mailbox = mailbox
        self._context = serve.get_replica_context()
        # Held until the run's thread has ended: a cancelled one may still be in a step.
        self._device_lock = threading.Lock()
        # Not while it loads: imports may keep all threads waiting for long.
        self._sign: SignOfLife | None = None
        # Raises an error if the Space has ended: Serve goes on starting its replicas.
        ray.get(mailbox.put.remote(None), timeout=SPACE_LIMIT_SECONDS)
        threading.Thread(target=self._end_with_space, name="end with Space", daemon=True).start()
        try:
            self._engine = options.create_engine()
            self._report(Description.of(self._engine))
            self._engine.start()
            self._wait_until_loaded()
            self._sign = SignOfLife(_actor_name())
            self._report(self._sign)
        except EngineError as error:
            self._report(Failure(error))
            raise

    def _end_with_space(self) -> None:
        """End this process once the Space has ended: a run of its could keep the GPU for ever."""
        while True:
            time.sleep(SPACE_POLL_SECONDS)
            try:
                ray.get(self._mailbox.put.remote(self._sign), timeout=SPACE_LIMIT_SECONDS)
            except ActorDiedError:
                os._exit(1)
            except RayError:
                pass  # it may come back

    def _report(self, report: object) -> None:
        # Without waiting: if the Space has ended, nobody takes it.
        self._mailbox.put.remote(report)

    def _wait_until_loaded(self) -> None:
        replica_id = self._context.replica_tag
        while isinstance(state := self._engine.state, Loading):
            self._report(LoadingReport(replica_id, state))
            time.sleep(LOADING_POLL_SECONDS)
        self._report(LoadingReport(replica_id, None))
        if isinstance(state, Broken):
            raise state.error

    async def generate(
        self, request: GenerationRequest, run_id: str
    ) -> AsyncIterator[Begin | Result | Failure]:
        """Yield the results of a run. Cancelling it ends it before its next step.

        Asynchronous, as Serve can't cancel other generators: they would go on to their end, beside
        the next run.
        """
        is_stopped = threading.Event()
        results: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(result: object) -> None:
            loop.call_soon_threadsafe(results.put_nowait, result)

        thread = loop.run_in_executor(None, self._run, request, run_id, is_stopped, put)
        try:
            yield _begin()
            while (result := await results.get()) is not None:
                yield result
            await thread
        finally:
            is_stopped.set()
            # Until it has ended, this replica counts as busy.
            await asyncio.shield(thread)

    def _run(
        self,
        request: GenerationRequest,
        run_id: str,
        is_stopped: threading.Event,
        put: Callable[[object], None],
    ) -> None:
        try:
            with self._device_lock, closing(self._engine.generate(request)) as results:
                for result in results:
                    put(result)
                    if is_stopped.is_set():
                        break
        except EngineError as error:
            self._exit_if_broken()
            put(Failure(error))
        finally:
            put(None)
            self._report(Freed(run_id))

    def _exit_if_broken(self) -> None:
        """End this process if the device has failed: the run begins again on another one."""
        state = self._engine.state
        if isinstance(state, Broken):
            log.error("%s", state.error)
            os._exit(1)


def _begin() -> Begin:
    # Asked each time: ranks move up when a replica goes.
    rank = serve.get_replica_context().rank.rank
    return Begin(rank, ray.util.get_node_ip_address(), os.getpid(), _actor_name())


def _actor_name() -> str:
    return ray.get_runtime_context().get_actor_name() or ""
