"""A model on ZeroGPU: loaded under emulated CUDA, packed, and run in a forked process."""

from pathlib import Path

import pytest

from tests.zerogpu_scheduler import serve_scheduler
from tests.zerogpu_space import LIMIT_SECONDS, Call, start_space

pytestmark = pytest.mark.zerogpu_model

ROOT = Path(__file__).parent.parent


def test_model_is_packed_and_runs_in_its_process(tmp_path: Path) -> None:
    """The model loads without a GPU, and its process makes images with previews, one by one."""
    from tests.random_model import save_tiny_model  # noqa: PLC0415  # needs torch

    folder = save_tiny_model(tmp_path / "model")
    program = ("-m", "tests.zerogpu_model")
    with (
        serve_scheduler() as scheduler,
        start_space(tmp_path, scheduler, program, ROOT, str(folder)) as (_, address),
    ):
        for _ in range(2):
            call = Call(address, steps=4)
            call.join({})
            messages = list(call.messages())
            assert messages[-1]["success"]
            assert sum(message["msg"] == "process_generating" for message in messages) >= 4
            assert not scheduler.releases.get(timeout=LIMIT_SECONDS)
        assert scheduler.count("/startup-report") == scheduler.count("/allow") == 1
