"""A Space on Ray as a program of its own: on this machine and on a cluster."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from sd35.client import SpaceClient
from sd35.core.events import Event, Notice, Progress
from sd35.core.request import GenerationRequest
from sd35.space.replicas.environment import prepare_environment
from sd35.space.replicas.reaper import END_TEXT
from tests.ray_processes import find_replicas, is_running

if TYPE_CHECKING:
    import psutil
    from ray.cluster_utils import Cluster
else:
    psutil = pytest.importorskip("psutil")  # of the model's packages

LIMIT_SECONDS = 60
REQUEST = GenerationRequest("a lighthouse", "", 512, 512, 4.5, 50, 7, randomize_seed=False)


class SpaceProcess:
    """`python -m sd35.space` on Ray, as a child process."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        command = [sys.executable, "-m", "sd35.space", "--port", "0", "--child", *arguments]
        self.process = subprocess.Popen(  # noqa: S603  # our own program
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | variables,
        )

    def wait_until_ready(self) -> str:
        """Return the Space's address."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            state = json.loads(line)
            assert "happened" not in state, state
            if state.get("state") == "ready":
                return str(state["address"])
        raise AssertionError(self.process.wait())

    def descendants(self) -> list["psutil.Process"]:
        """Return all of its processes that run."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, stop_signal: signal.Signals) -> int:
        """End the Space, and return its exit code."""
        self.process.send_signal(stop_signal)
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(LIMIT_SECONDS)


def find_ray_folder(processes: "list[psutil.Process]") -> Path:
    """Return the folder that Ray's processes were started with."""
    commands = " ".join(chain.from_iterable(process.cmdline() for process in processes))
    match = re.search(r"/\S*/sd35-ray-[^/\s]+", commands)
    assert match is not None
    assert Path(match[0]).is_dir()
    return Path(match[0])


async def repeat(client: SpaceClient, events: list[Event]) -> None:
    """Generate one image after the other."""
    while True:
        async with client.generate(REQUEST) as generation:
            async for event in generation:
                events.append(event)  # noqa: PERF401  # they are read meanwhile


@pytest.mark.ray
@pytest.mark.anyio
async def test_nothing_outlives_a_space(capfd: pytest.CaptureFixture[str]) -> None:
    """Ray, all replicas on this machine and their files go with the Space, even if it is killed."""
    # Both start at the same time: most of a start is waiting.
    killed_space, ended_space = (SpaceProcess("--replicas", "1-2") for _ in range(2))
    await end_during_run(ended_space, signal.SIGTERM, capfd)
    assert capfd.readouterr().err == ""
    await end_during_run(killed_space, signal.SIGKILL, capfd)
    assert capfd.readouterr().err == END_TEXT


async def end_during_run(
    space: SpaceProcess, stop_signal: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """End a Space, and wait until nothing of it is left; the output until then is dropped."""
    address = await anyio.to_thread.run_sync(space.wait_until_ready)
    processes = space.descendants()
    assert find_replicas(processes)
    folder = find_ray_folder(processes)
    async with SpaceClient.connect(address) as client, client.generate(REQUEST) as generation:
        async for event in generation:
            if isinstance(event, Progress) and event.step:
                break
    capfd.readouterr()
    await anyio.to_thread.run_sync(space.end, stop_signal)
    with anyio.fail_after(LIMIT_SECONDS):
        await wait_until(lambda: not any(map(is_running, processes)))
        await wait_until(lambda: not folder.exists())


@pytest.fixture
def cluster() -> "Iterator[Cluster]":
    """Start a cluster of two machines, each with the raylet that Ray runs on one."""
    if find_spec("ray") is None:
        pytest.skip("needs requirements-ray.txt")
    prepare_environment(is_own=True)
    from ray.cluster_utils import Cluster  # noqa: PLC0415  # only once the environment is prepared

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.anyio
async def test_cluster(cluster: "Cluster") -> None:
    """Replicas scale with the queue, survive their machine, and don't outlive the next Space."""
    options = ("--replicas", "1-2", "--ray", cluster.address)
    space = SpaceProcess(*options)
    address = await anyio.to_thread.run_sync(space.wait_until_ready)
    events: list[list[Event]] = [[], []]
    with anyio.fail_after(LIMIT_SECONDS):
        async with SpaceClient.connect(address) as client, anyio.create_task_group() as tasks:
            for run_events in events:
                tasks.start_soon(repeat, client, run_events)
            await wait_until(lambda: "sd35_space_replicas 2.0" in read_metrics(address))
            kill_machine = partial(cluster.remove_node, allow_graceful=False)
            await anyio.to_thread.run_sync(kill_machine, cluster.list_all_nodes()[1])
            await wait_until(lambda: any(isinstance(event, Notice) for event in chain(*events)))
            tasks.cancel_scope.cancel()
    texts = {event.description for event in chain(*events) if isinstance(event, Progress)}
    assert "Waiting for a GPU: 1 of 2 ready" in texts
    notices = {event.text for event in chain(*events) if isinstance(event, Notice)}
    assert notices == {"A GPU was lost; begun again on another."}
    assert not notices & texts, "a notice is shown once"

    space.end(signal.SIGKILL)
    former_replicas = find_replicas(psutil.Process().children(recursive=True))
    assert former_replicas
    space = SpaceProcess(*options)
    await anyio.to_thread.run_sync(space.wait_until_ready)
    await wait_until(lambda: not any(map(is_running, former_replicas)))
    assert space.end(signal.SIGTERM) == 0
    await wait_until(lambda: not find_replicas(psutil.Process().children(recursive=True)))


def read_metrics(address: str) -> str:
    with urllib.request.urlopen(f"{address}metrics", timeout=LIMIT_SECONDS) as response:  # noqa: S310
        return str(response.read().decode())


async def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110  # of another process
        await anyio.sleep(0.05)
