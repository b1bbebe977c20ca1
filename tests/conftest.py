"""Settings of all tests. Gradio's environment is prepared before anything imports Gradio."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from sd35.server import launch

settings.register_profile(
    "studio",
    max_examples=80,
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

_TEMP_DIR = launch.configure_environment()


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Aiohttp knows asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _clean_up_temp_dir() -> Iterator[None]:
    yield
    _TEMP_DIR.cleanup()
