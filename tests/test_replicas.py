"""Several replicas of an engine, by Ray Serve: real Ray, with the demo painter on the CPU."""

import contextlib
import ipaddress
import os
import pickle
import random
import re
import signal
import string
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from sd35.core.model_info import ModelInfo
from sd35.core.request import GenerationRequest
from sd35.space.engine import EngineError, Notice, Result, Step, Waiting
from sd35.space.engine_options import EngineOptions
from sd35.space.painter import DemoPainter
from sd35.space.replicas import ReplicaRange, create_engine
from tests.ray_processes import find_replicas

if TYPE_CHECKING:
    import psutil

    from sd35.space.replicas.engine import ReplicaEngine
    from sd35.space.replicas.reports import Begin

grpc = pytest.importorskip("grpc")  # of Ray's packages
psutil = pytest.importorskip("psutil")  # of the model's packages

LIMIT_SECONDS = 60
HF_TOKEN = f"hf_{string.digits}{string.ascii_lowercase}"  # not whole: no file of ours holds a token
STEP_SECONDS = 0.05
REQUEST = GenerationRequest("a lighthouse", "", 256, 256, 4.5, 8, 7, randomize_seed=False)
SPACE_REQUEST = replace(REQUEST, width=512, height=512, num_inference_steps=50)
LONG_REQUEST = replace(REQUEST, num_inference_steps=50)


@pytest.mark.parametrize(
    ("text", "minimum", "maximum"), [("1", 1, 1), ("4", 4, 4), ("1-4", 1, 4), (" 2–3 ", 2, 3)]
)
def test_number_of_replicas_is_a_number_or_a_range(text: str, minimum: int, maximum: int) -> None:
    """A single number is fixed; of a range, the queue decides."""
    replicas = ReplicaRange.parse(text)
    assert replicas == ReplicaRange(minimum, maximum)
    assert replicas.is_fixed == (minimum == maximum)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "2-1", "0-2", "65", "99999", "1-2-3", "²", "1.5", "a"]
)
def test_other_numbers_of_replicas_are_refused(text: str) -> None:
    """A range begins with at least one replica, and ends with at most 64."""
    with pytest.raises(ValueError, match="from 1 to 64"):
        ReplicaRange.parse(text)


@pytest.fixture(scope="module")
def engine() -> "Iterator[ReplicaEngine]":
    """Two replicas of the demo painter, on this machine."""
    # Not `importorskip`: what Ray reads from the environment when it is imported isn't set yet.
    if find_spec("ray") is None:
        pytest.skip("needs requirements-ray.txt")
    os.environ["HF_TOKEN"] = HF_TOKEN
    engine = create_engine(EngineOptions(step_seconds=STEP_SECONDS), ReplicaRange(2, 2))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def expected_pixels() -> bytes:
    *_, image = DemoPainter(0).generate(REQUEST)
    assert isinstance(image, Image.Image)
    return image.tobytes()


def wait_for_replicas(engine: "ReplicaEngine", count: int) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while engine.ready_count != count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def skip_waiting(results: Iterator[Result]) -> Result:
    return next(result for result in results if not isinstance(result, Waiting))


def find_replica(engine: "ReplicaEngine") -> "Begin":
    """Return the replica that has taken the only run."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        for run in list(engine._runs.values()):
            if run.begin is not None:
                return run.begin
        assert time.monotonic() < deadline
        time.sleep(0.001)


def kill(begin: "Begin") -> None:
    os.kill(begin.process_id, signal.SIGKILL)


@pytest.mark.ray
def test_runs_are_at_the_same_time(engine: "ReplicaEngine") -> None:
    """Each replica has a run of its own, and a third one waits and says so."""
    wait_for_replicas(engine, 2)
    assert engine.concurrency == 2
    assert engine.model_info.device == "2 replicas"
    with (
        closing(engine.generate(LONG_REQUEST)) as first,
        closing(engine.generate(LONG_REQUEST)) as second,
        closing(engine.generate(LONG_REQUEST)) as third,
    ):
        assert isinstance(skip_waiting(first), Step)
        assert isinstance(skip_waiting(second), Step)
        assert next(third) == Waiting("Waiting for a free GPU")
        second.close()
        assert isinstance(skip_waiting(third), Step)


@pytest.mark.ray
def test_stopped_runs_free_their_replicas(engine: "ReplicaEngine", expected_pixels: bytes) -> None:
    """However many runs are stopped, and at whichever moment, the next one is as always."""
    rng = random.Random(7)  # noqa: S311  # no secret

    def stop_run(step_count: int) -> None:
        with closing(engine.generate(LONG_REQUEST)) as results:
            for _ in range(step_count):
                next(results)

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(stop_run, [rng.randrange(6) for _ in range(24)]))
    assert not engine._runs
    for _ in range(2):
        *_, image = engine.generate(REQUEST)
        assert isinstance(image, Image.Image)
        assert image.tobytes() == expected_pixels
    text = engine.metrics.text().decode()
    assert "sd35_space_waiting 0.0" in text
    assert set(re.findall(r"^sd35_space_busy\{.*\} (.*)$", text, re.MULTILINE)) == {"0.0"}


@pytest.mark.ray
@pytest.mark.parametrize("step_count", [0, 1, 5, 8])
def test_run_of_a_lost_replica_begins_again(
    engine: "ReplicaEngine", expected_pixels: bytes, step_count: int
) -> None:
    """Before the first step, in the middle or before the image: the same image comes, and why."""
    wait_for_replicas(engine, 2)
    results: list[Result] = []
    generation = engine.generate(REQUEST)
    if step_count == 0:
        threading.Thread(target=lambda: kill(find_replica(engine)), daemon=True).start()
    for result in generation:
        results.append(result)
        if len(results) == step_count:
            kill(find_replica(engine))
    results = [result for result in results if not isinstance(result, Waiting)]
    notices = [result for result in results if isinstance(result, Notice)]
    assert notices == [Notice("A GPU was lost; begun again on another.")]
    after = results[results.index(notices[0]) + 1 :]
    assert [step.number for step in after if isinstance(step, Step)] == list(range(1, 9))
    assert isinstance(results[-1], Image.Image)
    assert results[-1].tobytes() == expected_pixels


@pytest.mark.ray
def test_run_of_a_frozen_replica_begins_again(
    engine: "ReplicaEngine", expected_pixels: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped keeps its connections: it counts as lost, and is ended."""
    limit = "sd35.space.replicas.deployment.REPLICA_SILENCE_LIMIT_SECONDS"
    monkeypatch.setattr(limit, 4.0)
    wait_for_replicas(engine, 2)
    generation = engine.generate(REQUEST)
    assert isinstance(skip_waiting(generation), Step)
    frozen = psutil.Process(find_replica(engine).process_id)
    frozen.suspend()
    *results, image = generation
    assert Notice("A GPU was lost; begun again on another.") in results
    assert isinstance(image, Image.Image)
    assert image.tobytes() == expected_pixels
    frozen.wait(LIMIT_SECONDS)

    with closing(engine.generate(REQUEST)) as run:
        assert isinstance(skip_waiting(run), Step)
        idle = psutil.Process(find_replica(engine).process_id)
    idle.suspend()
    idle.wait(LIMIT_SECONDS)


@pytest.mark.ray
def test_run_is_given_up_when_it_is_lost_again(engine: "ReplicaEngine") -> None:
    """A request that kills each GPU doesn't go on doing so."""
    with pytest.raises(EngineError, match="and the next one, too"):
        for result in engine.generate(LONG_REQUEST):
            if isinstance(result, Step) and result.number == 2:
                kill(find_replica(engine))
    assert 'outcome="lost"' in engine.metrics.text().decode()
    wait_for_replicas(engine, 2)


@pytest.mark.ray
def test_update_ends_no_run(engine: "ReplicaEngine") -> None:
    """Both replicas are replaced, one after the other, and runs end where they have begun."""
    former_replicas = set()
    model_infos: list[ModelInfo] = []
    engine.on_model_info = model_infos.append
    wait_for_replicas(engine, 2)
    with closing(engine.generate(LONG_REQUEST)) as run:
        assert isinstance(skip_waiting(run), Step)
        former_replicas.add(find_replica(engine).process_id)
        with closing(engine.generate(REQUEST)) as other_run:
            assert isinstance(skip_waiting(other_run), Step)
            former_replicas |= {run.begin.process_id for run in engine._runs.values() if run.begin}
        engine.update()
        *steps, image = run
    assert all(isinstance(step, Step) for step in steps)
    assert isinstance(image, Image.Image)
    deadline = time.monotonic() + LIMIT_SECONDS
    # Reports take their own way, and may come later. Of two replicas at least: one that an earlier
    # test has lost may just have been replaced.
    while engine.is_updating or len(model_infos) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert set(model_infos) == {engine.model_info}
    for _ in range(2):
        with closing(engine.generate(REQUEST)) as run:
            assert isinstance(skip_waiting(run), Step)
            assert find_replica(engine).process_id not in former_replicas


@pytest.mark.ray
@pytest.mark.parametrize(
    ("name", "namespace"), [("SERVE_CONTROLLER_ACTOR", "serve"), ("sd35-demo", "sd35")]
)
def test_loss_of_an_actor_beside_the_replicas_ends_no_run(
    engine: "ReplicaEngine", name: str, namespace: str
) -> None:
    """Ray Serve's controller and the replicas' mailbox may fail: they start again."""
    import ray  # noqa: PLC0415  # it isn't always installed

    wait_for_replicas(engine, 2)
    with closing(engine.generate(LONG_REQUEST)) as run:
        assert isinstance(skip_waiting(run), Step)
        replica = find_replica(engine)
        ray.kill(ray.get_actor(name, namespace=namespace), no_restart=False)
        assert {type(result) for result in run} == {Step, Image.Image}
    with closing(engine.generate(LONG_REQUEST)) as run:
        assert isinstance(skip_waiting(run), Step)
    *_, image = engine.generate(REQUEST)
    assert isinstance(image, Image.Image)
    os.kill(replica.process_id, 0)  # it hasn't been replaced


@pytest.mark.ray
def test_ray_takes_no_orders_from_others(engine: "ReplicaEngine", tmp_path: Path) -> None:
    """Its ports are closed to other machines, or open only with the token."""
    wait_for_replicas(engine, 2)
    open_ports = {
        connection.laddr.port: process
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
        and not ipaddress.ip_address(connection.laddr.ip.removeprefix("::ffff:")).is_loopback
    }
    assert find_replicas(list(open_ports.values())) == list(open_ports.values())
    for port in open_ports:
        file = tmp_path / str(port)
        assert call_replica(port, file, token="a" * 64) is grpc.StatusCode.UNAUTHENTICATED
        assert call_replica(port, file, token="") is grpc.StatusCode.UNAUTHENTICATED
        assert not file.exists()
        call_replica(port, file, token=os.environ["RAY_AUTH_TOKEN"])
        assert file.exists(), "the call does run code, if it isn't refused"


class Attack:
    """Object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._file,)


def call_replica(port: int, file: Path, *, token: str) -> object:
    """Send the replica a request that creates a file, and return the status."""
    data = pickle.dumps(Attack(file))
    assert len(data) < 0x4000
    # The message's first field, in Protocol Buffers' encoding.
    message = b"\x0a" + bytes([len(data) & 0x7F | 0x80, len(data) >> 7]) + data
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
        try:
            call(message, metadata=[("authorization", f"Bearer {token}")], timeout=LIMIT_SECONDS)
        except grpc.RpcError as error:
            return error.code()
    return None


@pytest.mark.ray
def test_ray_never_sees_the_token_of_hugging_face(engine: "ReplicaEngine") -> None:
    """It is in none of Ray's files, and on no command line; only its own users can read them."""
    wait_for_replicas(engine, 2)
    folder = engine.cluster.folder
    assert folder is not None
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if HF_TOKEN.encode() in path.read_bytes()]
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            assert HF_TOKEN not in " ".join(process.cmdline())
