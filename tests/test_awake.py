"""Time in which the process runs."""

import time
from unittest.mock import Mock

import anyio
import anyio.lowlevel
import pytest

from sd35.core import awake
from sd35.core.awake import AwakeTimeout, awake_sleep, awake_time

pytestmark = pytest.mark.anyio

SUSPENSION_SECONDS = 3600.0
LIMIT_SECONDS = 20.0


async def test_a_suspension_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    started_at = awake_time()
    suspension = Mock(monotonic=lambda: time.monotonic() + SUSPENSION_SECONDS)
    with monkeypatch.context() as patch:
        patch.setattr(awake, "time", suspension)
        assert awake_time() - started_at < SUSPENSION_SECONDS / 2


async def test_a_limit_of_the_time_awake_is_kept() -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        with pytest.raises(TimeoutError):
            async with AwakeTimeout(0.01):
                await anyio.sleep_forever()
        started_at = awake_time()
        await awake_sleep(0.05)
        assert awake_time() - started_at >= 0.05
        async with AwakeTimeout(None):
            await anyio.lowlevel.checkpoint()
