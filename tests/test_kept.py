"""The pictures that are handed out: by what they are asked for, and for how long."""

from pathlib import Path

import pytest

from sd35.jobs import artifacts
from sd35.jobs.artifacts import Artifact, ArtifactStore

TEMP_DIR = Path("/served")


def make_artifact(name: str = "a cat.png", content: Path | bytes = b"PNG") -> Artifact:
    return Artifact("user:ann", name, "image/png", content)


@pytest.mark.parametrize("content", [b"PNG", Path("/elsewhere/x.png")])
def test_what_is_kept_is_found_by_its_path(content: Path | bytes) -> None:
    """A picture isn't found by the path that was told; or something that wasn't kept is."""
    pictures = ArtifactStore(TEMP_DIR)
    path = pictures.put("job", make_artifact(content=content))
    assert path == "/served/sd35/job/a cat.png"
    assert pictures.find(path) is not None
    assert pictures.find(path.replace("/", "\\")) is not None, "as Windows writes it"
    for unknown_path in (
        "",
        "a cat.png",
        "sd35/job",
        "sd35/other/a cat.png",
        "sd36/job/a cat.png",
        f"{path}/",
        f"{path}/x",
    ):
        assert pictures.find(unknown_path) is None


def test_what_is_forgotten_is_gone() -> None:
    """What was forgotten is still handed out, or its file stays on the disk for ever."""
    pictures = ArtifactStore(TEMP_DIR)
    file = Path("/elsewhere/x.png")
    paths = [
        pictures.put("job", make_artifact("1.png", file)),
        pictures.put("job", make_artifact("2.png")),
    ]
    paths.append(pictures.put_preview("job", make_artifact("3.png")))
    other_path = pictures.put("other", make_artifact("1.png"))
    pictures.remove_job("job")
    assert [pictures.find(path) for path in paths] == [None, None, None]
    assert pictures.find(other_path) is not None


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews, or pictures that couldn't be written, fill the memory."""
    monkeypatch.setattr(artifacts, "MAX_PREVIEW_CACHE_BYTES", 100)
    pictures = ArtifactStore(TEMP_DIR)
    paths = [
        pictures.put_preview("job", make_artifact(f"{index}.png", b"x" * 30)) for index in range(5)
    ]
    assert [pictures.find(path) is not None for path in paths] == [False, False, True, True, True]
    latest_path = pictures.put_preview("job", make_artifact("4.png", b"x" * 40))
    assert pictures.find(paths[2]) is not None, "what takes another's place takes no more room"
    assert pictures.find(latest_path) is not None


def test_previews_have_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews that nobody will fetch any more stay as long as there is room."""
    now = [0.0]
    monkeypatch.setattr("sd35.jobs.artifacts.time.monotonic", lambda: now[0])
    pictures = ArtifactStore(TEMP_DIR)
    old = pictures.put_preview("job", make_artifact("old.png"))
    now[0] = artifacts.PREVIEW_LIFETIME + 1
    pictures.put_preview("job", make_artifact("new.png"))
    assert pictures.find(old) is None
