"""Processes of Ray, as the tests see them."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import psutil
else:
    psutil = pytest.importorskip("psutil")  # of the model's packages


def find_replicas(processes: "list[psutil.Process]") -> "list[psutil.Process]":
    return [process for process in processes if is_replica(process)]


def is_replica(process: "psutil.Process") -> bool:
    try:
        return is_running(process) and "ServeRepli" in process.name()
    except psutil.Error:  # it has just ended
        return False


def is_running(process: "psutil.Process") -> bool:
    # Nobody may collect the orphans of a killed program.
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
