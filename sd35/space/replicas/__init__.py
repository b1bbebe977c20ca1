"""One Space over several GPUs, by Ray Serve: one replica of an engine on each.

Only this package imports ray, and only once an engine is created: what Ray reads from the
environment depends on where it runs. `replica` runs at the GPU, `run` and `engine` in the Space,
`cluster` connects the two.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sd35.space.engine import EngineError, Loading
from sd35.space.engine_options import EngineOptions
from sd35.space.replicas.replica_range import ReplicaRange

if TYPE_CHECKING:
    from sd35.space.replicas.engine import ReplicaEngine

__all__ = ["ReplicaRange", "create_engine"]


def create_engine(
    options: EngineOptions,
    replicas: ReplicaRange,
    address: str | None = None,
    on_wait: Callable[[Loading], None] = lambda _: None,
) -> "ReplicaEngine":
    """Return the engine over replicas; to be called in the main thread.

    Args:
        options: of the engine in each replica.
        replicas: how many.
        address: of a Ray cluster, as `host:port` or `auto`; by default, the replicas run on this
            machine, and Ray ends with this process.
        on_wait: called with what this function waits for.

    Raises:
        EngineError: Ray can't be used, or there is nothing for the replicas to run on.
    """
    from sd35.space.replicas.environment import prepare_environment  # noqa: PLC0415  # see above

    prepare_environment(is_own=address is None)
    try:
        from sd35.space.replicas.engine import ReplicaEngine  # noqa: PLC0415  # ray: seconds
    except ImportError as error:
        message = f"Several GPUs need more packages: {error.name} is missing."
        raise EngineError(message, "Install them: pip install -r requirements-ray.txt.") from error
    return ReplicaEngine(options, replicas, address, on_wait)
