"""Engine that is always there: Hypothesis, which tries inputs of the target's own strategy."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.findings import save_failure
from tests.fuzz.target import Check, Target, load_target

__all__ = ["HANG_SECONDS", "run_hypothesis"]

HANG_SECONDS = 60  # for one input: not a measure of speed, but the end of a loop without end
_ROUND_EXAMPLES = 50


class HangError(BaseException):
    """An input that isn't done after `HANG_SECONDS`."""


def run_hypothesis(name: str, seconds: float) -> int:
    """Fuzz a target for this long; return the number of inputs.

    Raises:
        BaseException: what the first input that failed has raised; it is in the corpus now.
    """
    target = load_target(name)
    deadline = time.monotonic() + seconds
    count = 0
    with target.open_check() as check:
        while time.monotonic() < deadline:
            count += _run_round(name, target, check)
    return count


def _run_round(name: str, target: Target, check: Check) -> int:
    count = 0
    failure: tuple[bytes, BaseException] | None = None

    # Without Hypothesis's own shrinking, which can't make a mutated sample smaller.
    @settings(
        max_examples=_ROUND_EXAMPLES,
        phases=[Phase.generate],
        derandomize=False,  # which CI would turn on: every run is to find something new
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.inputs)
    def run(data: bytes) -> None:
        nonlocal count, failure
        if failure is not None:
            return
        count += 1
        try:
            with _hang_limit():
                check(data)
        except BaseException as error:  # noqa: BLE001  # raised again below
            failure = data, error

    run()
    if failure is not None:
        data, error = failure
        save_failure(name, data, error, check)
        raise error
    return count


@contextmanager
def _hang_limit() -> Iterator[None]:
    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise HangError

    former_handler = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(HANG_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former_handler)
