"""A value whose changes can be awaited."""

import anyio
import anyio.lowlevel
import pytest

from sd35.core.observable import Observable

pytestmark = pytest.mark.anyio


async def test_a_slow_watcher_gets_only_the_newest_value() -> None:
    latest = Observable(0)
    observed_values = []
    watching = latest.watch(min_interval=0.01, max_interval=5)
    observed_values.append(await anext(watching))
    for value in range(1, 100):
        latest.set(value)
    observed_values.append(await anext(watching))
    assert observed_values == [0, 99]
    await watching.aclose()


async def test_an_unchanged_value_is_yielded_again() -> None:
    """So that a page's clock goes on."""
    latest = Observable("same")
    watching = latest.watch(min_interval=0.001, max_interval=0.01)
    with anyio.fail_after(5):
        assert [await anext(watching) for _ in range(3)] == ["same"] * 3
    await watching.aclose()


async def test_an_urgent_value_is_yielded_at_once() -> None:
    latest = Observable(0)
    watching = latest.watch(
        min_interval=60, max_interval=61, is_urgent=lambda old, new: new - old >= 10
    )
    with anyio.fail_after(5):
        assert await anext(watching) == 0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_increment, latest)
            assert await anext(watching) == 10
    await watching.aclose()


async def _increment(latest: Observable[int]) -> None:
    for value in range(1, 11):
        latest.set(value)
        await anyio.lowlevel.checkpoint()


async def test_a_change_ends_the_wait_at_once() -> None:
    latest = Observable(0)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, lambda: None)
            tasks.start_soon(_set_value, latest)
            assert await latest.wait_for_change(0, timeout_seconds=60) == 1


async def _set_value(latest: Observable[int]) -> None:
    latest.set(1)
