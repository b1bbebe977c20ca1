"""Engine that is guided by coverage: atheris, where it is installed (`pip install atheris`)."""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.findings import save_failure, save_input
from tests.fuzz.hypothesis_engine import HANG_SECONDS
from tests.fuzz.target import CORPUS, Check, load_target

__all__ = ["run_atheris"]


def run_atheris(name: str, seconds: float) -> int:
    """Fuzz a target for this long; return the exit status, 0 if no input failed."""
    if importlib.util.find_spec("atheris") is None:
        sys.exit("atheris isn't installed: pip install atheris, or use --engine hypothesis.")
    # Inputs that reach something new stay in a folder of this run: there are thousands.
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", __spec__.name, name, str(seconds), folder]
        # A process of its own, which libFuzzer ends without asking Python.
        status = subprocess.run(command, check=False).returncode  # noqa: S603  # this program
        for path in [*Path(folder).glob("timeout-*"), *Path(folder).glob("oom-*")]:
            save_input(name, path.read_bytes())
        return status


def _fuzz(name: str, seconds: float, folder: str) -> None:
    import atheris  # noqa: PLC0415  # optional

    with atheris.instrument_imports(include=["sd35"]):
        target = load_target(name)
    options = [
        f"-max_total_time={max(1, int(seconds))}",
        f"-timeout={HANG_SECONDS}",
        f"-artifact_prefix={folder}/",
        f"-max_len={1 << 20}",
        "-print_final_stats=1",
    ]
    with target.open_check() as check:
        arguments = [sys.argv[0], *options, folder, str(CORPUS / name)]
        atheris.Setup(arguments, _saving_check(name, check))
        atheris.Fuzz()


def _saving_check(name: str, check: Check) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            check(data)
        except BaseException as error:
            save_failure(name, data, error, check)
            raise

    return run


if __name__ == "__main__":
    _fuzz(sys.argv[1], float(sys.argv[2]), sys.argv[3])
