"""The artifact store."""

from pathlib import Path

import pytest

from sd35.jobs import artifacts
from sd35.jobs.artifacts import Artifact, ArtifactStore

TEMP_DIR = Path("/served")


def make_artifact(name: str = "a cat.png", content: Path | bytes = b"PNG") -> Artifact:
    return Artifact("user:ann", name, "image/png", content)


@pytest.mark.parametrize("content", [b"PNG", Path("/elsewhere/x.png")])
def test_artifact_is_found_by_its_path_alone(content: Path | bytes) -> None:
    """An artifact is found by its path, and nothing by any other."""
    store = ArtifactStore(TEMP_DIR)
    path = store.put("job", make_artifact(content=content))
    assert path == "/served/sd35/job/a cat.png"
    assert store.find(path) is not None
    assert store.find(path.replace("/", "\\")) is not None, "a path of Windows"
    for unknown_path in (
        "",
        "a cat.png",
        "sd35/job",
        "sd35/other/a cat.png",
        "sd36/job/a cat.png",
        f"{path}/",
        f"{path}/x",
    ):
        assert store.find(unknown_path) is None


def test_artifacts_of_a_removed_job_are_gone() -> None:
    """Removing a job removes its artifacts, and only these."""
    store = ArtifactStore(TEMP_DIR)
    file = Path("/elsewhere/x.png")
    paths = [
        store.put("job", make_artifact("1.png", file)),
        store.put("job", make_artifact("2.png")),
    ]
    paths.append(store.put_preview("job", make_artifact("3.png")))
    other_path = store.put("other", make_artifact("1.png"))
    store.remove_job("job")
    assert [store.find(path) for path in paths] == [None, None, None]
    assert store.find(other_path) is not None


def test_memory_of_previews_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest previews make room for new ones."""
    monkeypatch.setattr(artifacts, "MAX_PREVIEW_CACHE_BYTES", 100)
    store = ArtifactStore(TEMP_DIR)
    paths = [
        store.put_preview("job", make_artifact(f"{index}.png", b"x" * 30)) for index in range(5)
    ]
    assert [store.find(path) is not None for path in paths] == [False, False, True, True, True]
    latest_path = store.put_preview("job", make_artifact("4.png", b"x" * 40))
    assert store.find(paths[2]) is not None, "replacing a preview needs no more room"
    assert store.find(latest_path) is not None


def test_previews_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preview is dropped after its lifetime, even if there is room."""
    now = [0.0]
    monkeypatch.setattr("sd35.jobs.artifacts.time.monotonic", lambda: now[0])
    store = ArtifactStore(TEMP_DIR)
    old = store.put_preview("job", make_artifact("old.png"))
    now[0] = artifacts.PREVIEW_LIFETIME + 1
    store.put_preview("job", make_artifact("new.png"))
    assert store.find(old) is None
