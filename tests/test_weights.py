"""Downloading a model from a Hub on the loopback interface, with each thing that can go wrong."""

import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import pytest
from huggingface_hub import constants

from sd35.space.diffusion.weights import fetch_weights, resolve_revision
from sd35.space.engine import EngineError, Loading
from tests.model_hub import COMMIT, REPOSITORY, ModelHub, serve_model_hub

pytestmark = [pytest.mark.anyio, pytest.mark.model]

TOKEN = "hf_of_an_account_that_has_accepted"  # made up
OTHER_TOKEN = "hf_of_another_account"  # made up
DiskUsage = namedtuple("DiskUsage", "total used free")  # noqa: PYI024  # as shutil's


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModelHub]:
    """Serve a model's files; the cache is empty, and there is no token."""
    folder = tmp_path / "files"
    for name in ("transformer/model.safetensors", "vae/model.safetensors", "text_encoder/a.bin"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(name.encode() * 50_000)
    (folder / "model_index.json").write_text("{}")
    (folder / "sd3.5_large.safetensors").write_bytes(b"the same weights once more")
    async with serve_model_hub(ModelHub(folder)) as hub:
        use_hub(monkeypatch, hub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield hub


def use_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Do as the environment variable HF_ENDPOINT would, before the library was imported."""
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


async def fetch(states: list[Loading] | None = None) -> Path:
    on_loading = (lambda _: None) if states is None else states.append
    return await anyio.to_thread.run_sync(lambda: fetch_weights(REPOSITORY, None, on_loading))


async def fetch_error() -> EngineError:
    with pytest.raises(EngineError) as failure:
        await fetch()
    assert failure.value.remedy
    assert TOKEN not in str(failure.value)
    return failure.value


async def test_only_the_pipeline_is_downloaded_once(hub: ModelHub) -> None:
    """The same weights in other formats stay at the Hub, and so does what is here already."""
    states: list[Loading] = []
    folder = await fetch(states)
    assert folder.name == COMMIT
    expected = ["model_index.json", "transformer/model.safetensors", "vae/model.safetensors"]
    assert sorted(hub.paths) == expected
    assert all((folder / path).is_file() for path in expected)
    assert states[-1] == Loading("Downloading the model: 2.5 MB of 2.5 MB", 1.0)
    await fetch()
    assert len(hub.paths) == 3
    revision = await anyio.to_thread.run_sync(resolve_revision, REPOSITORY)
    assert revision == COMMIT


async def test_cached_model_needs_no_hub(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole model in the cache is used without a network, and after the gate was closed."""
    folder = await fetch()
    hub.token = TOKEN
    assert await fetch() == folder
    use_hub(monkeypatch, "http://127.0.0.1:1")
    assert await fetch() == folder
    assert await anyio.to_thread.run_sync(resolve_revision, REPOSITORY) == COMMIT


async def test_partial_model_without_a_hub(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that was interrupted is said to be one."""
    folder = await fetch()
    (folder / "vae" / "model.safetensors").unlink()
    use_hub(monkeypatch, "http://127.0.0.1:1")
    error = await fetch_error()
    assert "only 2 of 3 files" in error.happened


async def test_unreachable_hub(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network and without a cache, both are named."""
    assert hub.address
    use_hub(monkeypatch, "http://127.0.0.1:1")
    assert "can't be reached" in (await fetch_error()).happened
    assert await anyio.to_thread.run_sync(resolve_revision, REPOSITORY) == ""


@pytest.mark.parametrize(
    ("token", "expected_happened", "expected_remedy"),
    [
        (None, "once its licence is accepted", "accept the licence"),
        (OTHER_TOKEN, "The account of your token may not", "with that account"),
        ("hf_wrong", "doesn't accept your access token", "Create"),
    ],
)
async def test_gate_says_which_step_is_missing(
    hub: ModelHub,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    expected_happened: str,
    expected_remedy: str,
) -> None:
    """Without the licence accepted, a token, or its permission, the error says which it is."""
    hub.token = TOKEN
    hub.accounts = (OTHER_TOKEN,)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    error = await fetch_error()
    assert expected_happened in error.happened
    assert expected_remedy in error.remedy
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (await fetch()).name == COMMIT


async def test_unknown_repository(hub: ModelHub) -> None:
    """A name that doesn't exist is said not to."""
    hub.is_missing = True
    assert "There is no model" in (await fetch_error()).happened


async def test_invalid_name(hub: ModelHub) -> None:
    """A name that is neither a folder nor a repository is said to be neither."""
    assert hub.address
    with pytest.raises(EngineError, match="neither a folder nor a model"):
        await anyio.to_thread.run_sync(fetch_weights, "/no/such/folder")


async def test_full_disk_is_noticed_before(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded to a disk that has no room for all of it."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**9, 10**9, 2_000_000))
    error = await fetch_error()
    assert "needs 2.5 MB on the disk, and only 2.0 MB are free" in error.happened
    assert "HF_HOME" in error.remedy
    assert not hub.paths
