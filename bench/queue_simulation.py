"""Simulation of a Space's queue and replicas, event by event."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import simpy
from simpy.resources.store import StoreGet

from bench.traffic import Visit

__all__ = ["Fate", "Outcome", "Replicas", "SimulationResult", "simulate"]

# As `MAX_QUEUE_SIZE` in `sd35.space.server`, which imports Gradio.
QUEUE_LIMIT: Final = 64

_REPLICA: Final = "replica"

Process = Generator[simpy.Event, Any, None]


class Fate(Enum):
    """End of a request."""

    FINISHED = "finished"
    STOPPED = "stopped"
    ABANDONED = "abandoned"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Fate of a request, the moment it came, and the seconds that it waited and ran."""

    fate: Fate
    asked_at: float
    wait_seconds: float
    run_seconds: float = 0.0

    @property
    def is_served(self) -> bool:
        """Whether a replica has begun with it."""
        return self.fate in {Fate.FINISHED, Fate.STOPPED}


@dataclass(frozen=True, slots=True)
class Replicas:
    """Number of replicas, and how it follows the demand, as Ray Serve's autoscaling does.

    The delays are those of `sd35.space.replicas`.

    Attributes:
        minimum: number that always runs.
        maximum: limit of the number.
        upscale_delay_seconds: for which there must be more requests than replicas.
        downscale_delay_seconds: for which there must be fewer.
        start_seconds: from the decision until a new replica takes a request.
    """

    minimum: int
    maximum: int
    upscale_delay_seconds: float = 5.0
    downscale_delay_seconds: float = 300.0
    start_seconds: float = 60.0

    @classmethod
    def fixed(cls, count: int) -> "Replicas":
        """Return a number that never changes."""
        return cls(count, count)


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Outcomes of all requests, and how long the replicas existed and ran.

    Attributes:
        seconds: from the beginning until the last run ended.
        replica_seconds: sum over the replicas, with their start.
    """

    outcomes: list[Outcome]
    seconds: float
    replica_seconds: float

    @property
    def busy_seconds(self) -> float:
        """Sum of the times for which the replicas ran."""
        return sum(outcome.run_seconds for outcome in self.outcomes)


def simulate(
    visits: Sequence[Visit],
    run_seconds: float,
    replicas: Replicas,
    queue_limit: float = QUEUE_LIMIT,
) -> SimulationResult:
    """Return what happens if these visits come to a Space whose usual run takes so long."""
    environment = simpy.Environment()
    space = _Space(environment, run_seconds, _Fleet(environment, replicas), queue_limit)
    users = [environment.process(space.serve_visit(visit)) for visit in visits]
    environment.run(environment.all_of(users))
    return space.result()


class _Space:
    """A queue in front of replicas."""

    def __init__(
        self,
        environment: simpy.Environment,
        run_seconds: float,
        fleet: "_Fleet",
        queue_limit: float,
    ) -> None:
        self._environment = environment
        self._run_seconds = run_seconds
        self._fleet = fleet
        self._queue_limit = queue_limit
        self._outcomes: list[Outcome] = []

    def result(self) -> SimulationResult:
        """Return the result until now."""
        return SimulationResult(self._outcomes, self._environment.now, self._fleet.replica_seconds)

    def serve_visit(self, visit: Visit) -> Process:
        """Serve a user, until the last run or until the wait is too long for them."""
        yield self._environment.timeout(visit.begins_at)
        for run in visit.runs:
            yield self._environment.timeout(run.pause_seconds)
            asked_at = self._environment.now
            if self._fleet.waiting_count >= self._queue_limit:
                self._outcomes.append(Outcome(Fate.REFUSED, asked_at, 0.0))
                return
            replica = self._fleet.request_replica()
            if not replica.triggered:
                yield replica | self._environment.timeout(run.patience_seconds)
            wait_seconds = self._environment.now - asked_at
            if not replica.triggered:
                self._fleet.cancel_request(replica)
                self._outcomes.append(Outcome(Fate.ABANDONED, asked_at, wait_seconds))
                return
            run_seconds = self._run_seconds * run.work * run.stop_at
            yield self._environment.timeout(run_seconds)
            self._fleet.release_replica()
            fate = Fate.FINISHED if run.stop_at == 1 else Fate.STOPPED
            self._outcomes.append(Outcome(fate, asked_at, wait_seconds, run_seconds))


class _Fleet:
    """Replicas that take one run at a time, as many as the demand asks for."""

    def __init__(self, environment: simpy.Environment, replicas: Replicas) -> None:
        self._environment = environment
        self._replicas = replicas
        # Whoever waits for an idle replica is in the queue: first come, first served.
        self._idle = simpy.Store(environment)
        self._idle.items.extend([_REPLICA] * replicas.minimum)
        self._count = replicas.minimum  # with those that start
        self._count_changed_at = 0.0
        self._replica_seconds = 0.0
        self._demand = 0  # requests that wait or run
        self._direction = 0  # 1 while the demand is above the number of replicas, -1: below
        self._decision_number = 0

    @property
    def waiting_count(self) -> int:
        """Number of requests in the queue."""
        return len(self._idle.get_queue)

    @property
    def replica_seconds(self) -> float:
        """Sum of the times for which the replicas have existed."""
        seconds = self._environment.now - self._count_changed_at
        return self._replica_seconds + self._count * seconds

    def request_replica(self) -> StoreGet:
        """Return the event of getting a replica."""
        self._change_demand(1)
        return self._idle.get()

    def cancel_request(self, replica: StoreGet) -> None:
        """Leave the queue."""
        replica.cancel()
        self._change_demand(-1)

    def release_replica(self) -> None:
        """Give a replica back after its run."""
        self._idle.put(_REPLICA)
        self._change_demand(-1)

    def _change_demand(self, change: int) -> None:
        self._demand += change
        self._follow_demand()

    def _follow_demand(self) -> None:
        """Decide anew whether the number of replicas is to change after a delay."""
        direction = (self._target > self._count) - (self._target < self._count)
        if direction != self._direction:
            self._direction = direction
            self._decision_number += 1
            if direction:
                self._environment.process(self._resize(self._decision_number))

    @property
    def _target(self) -> int:
        return min(max(self._demand, self._replicas.minimum), self._replicas.maximum)

    def _resize(self, decision_number: int) -> Process:
        replicas = self._replicas
        is_growth = self._direction > 0
        delay = replicas.upscale_delay_seconds if is_growth else replicas.downscale_delay_seconds
        yield self._environment.timeout(delay)
        if decision_number != self._decision_number:
            return  # the demand has changed meanwhile
        change = self._target - self._count
        # Those that run are needed, and those that start can't be stopped.
        self._change_count(max(change, -len(self._idle.items)))
        self._direction = 0
        self._follow_demand()

    def _change_count(self, change: int) -> None:
        self._replica_seconds = self.replica_seconds
        self._count_changed_at = self._environment.now
        self._count += change
        for _ in range(change):
            self._environment.process(self._start_replica())
        if change < 0:
            del self._idle.items[change:]

    def _start_replica(self) -> Process:
        yield self._environment.timeout(self._replicas.start_seconds)
        self._idle.put(_REPLICA)
        self._follow_demand()
