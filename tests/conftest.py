"""Settings of all tests. Gradio's environment is prepared before anything imports Gradio."""

import atexit
import gc
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pytest
from httpx._transports import default as httpx_transport
from hypothesis import HealthCheck, settings

from sd35.library import database, schema
from sd35.server import launch

settings.register_profile(
    "studio",
    max_examples=50,  # the fuzzers try many more
    deadline=None,  # two shared cores: time is not what is tested
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.load_profile("studio")

for name in [
    name
    for name in os.environ
    if name.startswith(("SD35_", "GRADIO_", "HF_")) or name == "SPACE_ID"
]:
    del os.environ[name]

# Nor is the keyring of whoever runs the tests.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

# What the tests import stays: to look for garbage in it, again and again, takes a third of the time
# until they are collected.
gc.disable()

# To read all authorities' certificates for each of httpx's functions takes longer than the request.
vars(httpx_transport)["create_ssl_context"] = cache(vars(httpx_transport)["create_ssl_context"])

# Three processes collect the tests, and some tests start programs: none compiles all of it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The tiny models gain nothing by more threads: those of all processes would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MIN_MEMORY_BYTES = 2 << 30
DAY_SECONDS = 86_400


def _write_into_memory() -> None:
    """Use a folder in memory for temporary files, unless there is a choice for these already."""
    # On a disk, each transaction and each image waits until it is flushed. The processes of the
    # tests get the choice of the process that starts them.
    memory = Path("/dev/shm")  # noqa: S108  # the folder in it is a new one
    if "TMPDIR" in os.environ or not memory.is_dir():
        return
    if shutil.disk_usage(memory).free < MIN_MEMORY_BYTES:  # as in a container
        return
    for abandoned in memory.glob("sd35-tests-*"):  # by tests that were killed
        with suppress(OSError):
            if time.time() - abandoned.stat().st_mtime > DAY_SECONDS:
                shutil.rmtree(abandoned)
    folder = tempfile.mkdtemp(prefix="sd35-tests-", dir=memory)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    Path(folder).chmod(0o1777)  # as /tmp: some tests are another user for a while
    os.environ["TMPDIR"] = tempfile.tempdir = folder


_write_into_memory()
_TEMP_DIR = launch.configure_environment()
# The token of `hf auth login` is none of the tests'.
os.environ["HF_HOME"] = f"{_TEMP_DIR.name}/huggingface"


# A file runs as a whole in one of the processes. With the longest files first, all end together.
_LONGEST_FILES = (
    "test_page",
    "test_queue_page",
    "test_form_page",
    "test_gallery",
    "test_accessibility",
    "test_cli_generate",
    "test_app",
    "test_mcp",
    "test_visitor_middleware",
    "test_cli_library",
    "test_crash",
    "test_accounts",
    "test_faults",
    "test_cli_user",
    "test_local_space",
    "test_diffusion",
    "test_local_model",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Aiohttp knows asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _new_indexes_are_copies() -> Iterator[None]:
    """Copy the tables of a new index, of which the tests need hundreds, instead of migrating it.

    All migrations take ten times as long. The tests of migrations call them.
    """
    lock = threading.Lock()

    def copy_or_migrate(connection: sqlite3.Connection) -> None:
        if schema.schema_version(connection):
            schema.migrate(connection)
            return
        with lock:
            template.backup(connection)

    with (
        closing(
            sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        ) as template,
        pytest.MonkeyPatch.context() as patch,
    ):
        schema.migrate(template)
        patch.setattr(database, "migrate", copy_or_migrate)
        yield


@pytest.fixture(scope="session", autouse=True)
def _clean_up_temp_dir() -> Iterator[None]:
    yield
    _TEMP_DIR.cleanup()
