"""Connection to Ray: its own instance on this machine, or a cluster."""

import contextlib
import logging
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import ray
from ray import serve
from ray._private import worker
from ray.exceptions import AuthenticationError, RayError
from ray.serve.exceptions import RayServeException

import sd35
from sd35.core.text import one_line
from sd35.space.engine import EngineError, Loading
from sd35.space.replicas.reaper import Reaper
from sd35.space.replicas.replica_range import ReplicaRange

__all__ = ["Cluster", "OnWait", "remove_application"]

log = logging.getLogger(__name__)

OnWait = Callable[[Loading], None]

# Ray prints what happens in its processes, and many lines of their logs, to the standard output:
# whatever matters there reaches this program as an error, too.
assert hasattr(worker, "print_to_stdstream")
worker.print_to_stdstream = lambda *_, **__: None

NAMESPACE: Final = "sd35"
REACH_LIMIT_SECONDS: Final = 5.0
CONNECT_LIMIT_SECONDS: Final = 30.0
NODE_LIMIT_SECONDS: Final = 60.0  # machines of a cluster may still be joining it
REMOVAL_LIMIT_SECONDS: Final = 7.0  # the program ends 10 s after it was asked to
OBJECT_STORE_BYTES: Final = 256 * 1024**2  # by default, Ray takes 30 % of the memory


class Cluster:
    """Ray, connected for as long as this object isn't closed.

    Args:
        address: as `sd35.space.replicas.create_engine` takes it.
        replicas: to be run.

    Attributes:
        is_own: whether Ray runs for this program alone.
        folder: of Ray's files, if so.
    """

    def __init__(self, address: str | None, replicas: ReplicaRange) -> None:
        self.is_own = address is None
        self.folder: Path | None = None
        self._reaper = Reaper()
        logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            if address is None:
                self._start_own(replicas)
            else:
                _connect(address)
        except (RuntimeError, RayError, OSError) as error:
            self.close()
            raise EngineError(f"Ray can't start: {one_line(error)}") from error
        except BaseException:
            self.close()
            raise

    def _start_own(self, replicas: ReplicaRange) -> None:
        # Not in the system's temporary directory if that is long: the paths of sockets have at most
        # 107 bytes.
        parent = "/tmp" if Path("/tmp").is_dir() else None  # noqa: S108  # a private folder in it
        self.folder = Path(tempfile.mkdtemp(prefix="sd35-ray-", dir=parent))
        self._reaper.watch_folder(self.folder)
        with _same_signal_handlers():
            # In the main thread: Ray's processes end with the thread that has started them.
            ray.init(
                address="local",
                namespace=NAMESPACE,
                num_cpus=replicas.maximum,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                # Ray opens its own folder to all users, but not the one around it.
                _temp_dir=str(self.folder / "ray"),
            )
        self._reaper.watch_descendants()

    def check_resources(self, resource: str, replicas: ReplicaRange, on_wait: OnWait) -> None:
        """Wait for the machines of a cluster that are still missing, and check what there is.

        Raises:
            EngineError: there are fewer than the replicas need.
        """
        # Machines may join a cluster later, but not this one.
        need = replicas.maximum if self.is_own else replicas.minimum
        deadline = time.monotonic() + (0 if self.is_own else NODE_LIMIT_SECONDS)
        while (count := int(ray.cluster_resources().get(resource, 0))) < need:
            if time.monotonic() >= deadline:
                raise _lack(resource, count, need, is_own=self.is_own)
            on_wait(Loading(f"Waiting for the cluster's {resource}s: {count} of {need}"))
            time.sleep(1)

    def start_serve(self) -> None:
        """Start Ray Serve unless it runs, without its HTTP server."""
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # Ray has set its own
        serve.start(proxy_location="Disabled")

    def close(self, application: str | None = None) -> None:
        """Remove an application, and leave Ray; the own one ends."""
        if ray.is_initialized():
            if not self.is_own and application is not None:
                with contextlib.suppress(RayError, RayServeException, TimeoutError):
                    remove_application(application)
                    if not serve.status().applications:
                        serve.shutdown()
            # Serve has threads in this process that go on, and log that there is no Ray any more.
            logging.getLogger("ray.serve").setLevel(logging.CRITICAL)
            ray.shutdown()
        self._reaper.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _same_signal_handlers() -> Iterator[None]:
    """Put the handler of SIGTERM back, which Ray replaces."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def remove_application(application: str) -> None:
    """Remove an application; after a while, without waiting for its end."""
    serve.delete(application, _blocking=False)
    deadline = time.monotonic() + REMOVAL_LIMIT_SECONDS
    while application in serve.status().applications and time.monotonic() < deadline:
        time.sleep(0.1)


def _connect(address: str) -> None:
    if address.startswith("ray://"):
        raise EngineError(
            "Ray's client (ray://) can't stream.",
            "Run the Space on a machine of the cluster, with --ray auto.",
        )
    if address != "auto":
        _check_reach(address)
    options: dict[str, Any] = {
        "address": address,
        "namespace": NAMESPACE,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        # Each machine runs this program's version, wherever it has another one, or none.
        "runtime_env": {"py_modules": [str(Path(sd35.__file__).parent)]},
    }
    _call_with_limit(lambda: ray.init(**options), address)


def _check_reach(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise EngineError(f"{address} isn't an address of Ray.", "Use HOST:6379, or auto.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_LIMIT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address) from error


def _call_with_limit(connect: Callable[[], object], address: str) -> None:
    """Connect in a thread: Ray waits for minutes otherwise.

    Raises:
        EngineError: there is no cluster, or none that takes this program.
    """
    errors: list[BaseException | None] = []

    def call() -> None:
        try:
            connect()
        except BaseException as error:  # noqa: BLE001  # raised by the caller
            errors.append(error)
        else:
            errors.append(None)

    thread = threading.Thread(target=call, name="connect to Ray", daemon=True)
    thread.start()
    thread.join(CONNECT_LIMIT_SECONDS)
    if not errors:
        raise _unreachable(address)
    if errors[0] is not None:
        raise _connection_error(errors[0], address) from errors[0]


def _connection_error(error: BaseException, address: str) -> BaseException:
    text = str(error)
    if "ersion mismatch" in text:
        return EngineError(
            f"The cluster runs other versions: {one_line(text)}",
            "Install the same versions of Python and Ray on all machines.",
        )
    if isinstance(error, AuthenticationError):
        return EngineError(
            "The cluster demands a token, and refuses this one or none.",
            "Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its machines.",
        )
    if isinstance(error, OSError):
        return _unreachable(address)
    if isinstance(error, RuntimeError | ValueError | RayError):
        return _unreachable(address, one_line(text).rstrip(".") + ".")
    return error


def _unreachable(address: str, reason: str = "") -> EngineError:
    if address == "auto":
        return EngineError(
            f"No Ray cluster runs on this machine. {reason}".strip(),
            "Start it with ray start --head, or join one with ray start --address=HOST:6379.",
        )
    return EngineError(
        f"The Ray cluster at {address} can't be reached. {reason}".strip(),
        "Check the address, and RAY_AUTH_TOKEN if the cluster demands one. This machine must have "
        "joined it: ray start --address=HOST:6379.",
    )


def _lack(resource: str, count: int, need: int, *, is_own: bool) -> EngineError:
    where = "This machine" if is_own else "The cluster"
    noun = {1: resource}.get(count, f"{resource}s")
    if count:
        return EngineError(
            f"{where} has {count} {noun}, and {need} replicas need {need}.",
            f"Use --replicas {count}." if is_own else "Add machines, or use fewer replicas.",
        )
    return EngineError(
        f"{where} has no {resource} that Ray can use.",
        "Check nvidia-smi, or use --device cpu." if is_own else f"Add a machine with {resource}s.",
    )
