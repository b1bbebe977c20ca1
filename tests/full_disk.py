"""Small disks that tests fill up."""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


class Disk:
    """A disk of three megabytes, or a limit on file sizes that stands in for a full disk."""

    def __init__(self, folder: Path, *, is_tmpfs: bool) -> None:
        self.folder = folder
        self._is_tmpfs = is_tmpfs
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        """Fill the disk."""
        if not self._is_tmpfs:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, self._limits[1]))
            return
        with (self.folder / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(4096)):
                pass

    def free(self) -> None:
        """Free the disk."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)
        (self.folder / "ballast").unlink(missing_ok=True)


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path, is_tmpfs=request.param == "tmpfs")
    if request.param == "limit":
        yield disk
        disk.free()
        return
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603
        pytest.skip("mounting a tmpfs is not permitted")
    yield disk
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)  # noqa: S603, S607
