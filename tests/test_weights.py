"""Downloading a model from a Hub on the loopback interface, with each thing that can go wrong."""

import errno
import shutil
from collections import namedtuple
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from sd35.space.diffusion import download, weights
from sd35.space.diffusion.hub_errors import to_engine_error
from sd35.space.diffusion.weights import fetch_weights, resolve_revision
from sd35.space.engine import EngineError, Loading
from tests.model_hub import COMMIT, REPOSITORY, ModelHub, serve_model_hub

pytestmark = [pytest.mark.anyio, pytest.mark.model]

TOKEN = "hf_of_an_account_that_has_accepted"  # made up
OTHER_TOKEN = "hf_of_another_account"  # made up
TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors"
WEIGHT_FILES = (
    *(TRANSFORMER, "vae/diffusion_pytorch_model.fp16.safetensors"),
    *("text_encoder/model.safetensors", "text_encoder_2/pytorch_model.bin"),
)
# The same weights once more.
OTHER_FILES = (
    *("sd3.5_large.safetensors", "transformer/diffusion_pytorch_model.bin"),
    *("text_encoder/model.fp16.safetensors", "text_encoder_2/pytorch_model.fp16.bin"),
)
DiskUsage = namedtuple("DiskUsage", "total used free")  # noqa: PYI024  # as shutil's


@pytest.fixture
async def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ModelHub]:
    """Serve a model's files; the cache is empty, and there is no token."""
    folder = tmp_path / "files"
    for name in (*WEIGHT_FILES, *OTHER_FILES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 20_000)
    (folder / "model_index.json").write_text("{}")
    async with serve_model_hub(ModelHub(folder)) as hub:
        use_hub(monkeypatch, hub.address)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(download, "RETRY_DELAYS", (0.0, 0.0, 0.0))
        monkeypatch.setattr(weights, "QUESTION_DELAYS", (0.0, 0.0))
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
    """Of each part, one format and variant is downloaded, and nothing that is here already."""
    states: list[Loading] = []
    folder = await fetch(states)
    assert folder.name == COMMIT
    expected = sorted(["model_index.json", *WEIGHT_FILES])
    assert sorted(hub.paths) == expected
    assert all(
        (folder / path).read_bytes() == (hub.folder / path).read_bytes() for path in expected
    )
    assert states[-1] == Loading("Downloading the model: 3.1 MB of 3.1 MB", 1.0)
    await fetch()
    assert len(hub.paths) == len(expected)
    revision = await anyio.to_thread.run_sync(resolve_revision, REPOSITORY)
    assert revision == COMMIT


@pytest.mark.parametrize(
    ("api_faults", "file_faults", "expected_range"),
    [
        ([], ["cut"], "bytes=470000-"),
        ([], ["503", "cut", "403"], "bytes=470000-"),
        ([], ["cut", "whole"], "bytes=470000-"),
        ([], ["429"], ""),
        (["503", "503"], [], ""),
        (["429"], [], ""),
    ],
)
async def test_failures_that_pass_end_no_download(
    hub: ModelHub, api_faults: list[str], file_faults: list[str], expected_range: str
) -> None:
    """After a failure that passes, a file goes on at the byte where it stopped."""
    hub.api_faults = api_faults
    hub.file_faults = file_faults
    folder = await fetch()
    assert (folder / TRANSFORMER).read_bytes() == (hub.folder / TRANSFORMER).read_bytes()
    assert hub.ranges[-1] == expected_range


@pytest.mark.parametrize(
    ("api_faults", "file_faults", "expected_happened"),
    [
        (["500"] * 9, [], "a failure (status 500), and somebody/tiny isn't on this machine"),
        (["429"] * 9, [], "takes no more requests"),
        (["403"] * 9, [], "refuses the download (status 403)"),
        (["html"] * 9, [], "What answers isn't Hugging Face"),
        ([], ["503"] * 9, "a failure (status 503)"),
        ([], ["403"] * 9, "refuses the download (status 403)"),
        ([], ["html"], f"{TRANSFORMER} of {REPOSITORY} arrived damaged"),
        ([], ["damaged"], f"{TRANSFORMER} of {REPOSITORY} arrived damaged"),
    ],
)
async def test_failure_that_lasts_is_named(
    hub: ModelHub, api_faults: list[str], file_faults: list[str], expected_happened: str
) -> None:
    """Each failure of the Hub, or of what stands before it, is said, and the next try works."""
    hub.api_faults = api_faults
    hub.file_faults = file_faults
    assert expected_happened in (await fetch_error()).happened
    hub.api_faults.clear()
    hub.file_faults.clear()
    folder = await fetch()
    assert (folder / TRANSFORMER).read_bytes() == (hub.folder / TRANSFORMER).read_bytes()


async def test_silent_hub_is_not_waited_for(hub: ModelHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub that takes connections and never answers is said not to."""
    monkeypatch.setattr(weights, "QUESTION_SECONDS", 0.1)
    hub.is_open.clear()
    hub.api_faults = ["silence"] * 9
    for function in (fetch_weights, weights.fetch_configuration):
        with pytest.raises(EngineError, match="Hugging Face doesn't answer"):
            await anyio.to_thread.run_sync(function, REPOSITORY)
    hub.is_open.set()


async def test_next_start_goes_on_where_the_last_one_stopped(hub: ModelHub) -> None:
    """What has arrived of a file is kept when the program gives up or is ended."""
    hub.file_faults = ["cut", *["503"] * 9]
    await fetch_error()
    missing_files = await anyio.to_thread.run_sync(weights.find_missing_files, REPOSITORY)
    size = (hub.folder / TRANSFORMER).stat().st_size
    assert missing_files.file_sizes[TRANSFORMER] == size
    assert missing_files.partial_bytes == size // 2
    hub.file_faults = []
    await fetch()
    assert hub.ranges == ["", "bytes=470000-"]


@pytest.mark.parametrize(
    ("error", "expected_message"),
    [
        (httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), "can't be trusted"),
        (httpx2.ConnectError("All connection attempts failed"), "can't be reached"),
        (httpx2.ProxyError("403 Forbidden"), "The proxy doesn't lead to Hugging Face"),
        (httpx2.ReadTimeout("timed out"), "Hugging Face doesn't answer"),
        (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set"),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (PermissionError(errno.EACCES, "Permission denied"), "can't be written"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), "can't be written"),
        (httpx2.UnsupportedProtocol("Request URL is missing a protocol"), "HF_ENDPOINT isn't an"),
        (httpx2.LocalProtocolError("Illegal header value"), "The access token has characters"),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal"), "The access token has characters"),
    ],
)
async def test_each_error_has_a_sentence_and_a_remedy(
    error: Exception, expected_message: str
) -> None:
    """Whatever the network and the disk do, people read what has happened and what to do."""
    for cause in (error, wrap_error(error)):
        engine_error = to_engine_error(REPOSITORY, cause)
        assert expected_message in engine_error.happened
        assert engine_error.remedy


def wrap_error(error: Exception) -> Exception:
    """Return the error as the library raises it if a file isn't in its cache either."""
    wrapper = LocalEntryNotFoundError("not here")
    wrapper.__cause__ = error
    return wrapper


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
    (folder / TRANSFORMER).unlink()
    use_hub(monkeypatch, "http://127.0.0.1:1")
    error = await fetch_error()
    assert "only 4 of 5 files" in error.happened


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
    assert "needs 3.1 MB on the disk, and only 2.0 MB are free" in error.happened
    assert "HF_HOME" in error.remedy
    assert not hub.paths
