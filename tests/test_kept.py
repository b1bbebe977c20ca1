"""The pictures that are handed out: by what they are asked for, and for how long."""

from pathlib import Path

import pytest

from sd35.jobs import artifacts
from sd35.jobs.artifacts import Kept, KeptPictures

SERVED = Path("/served")


def a_picture(name: str = "a cat.png", content: Path | bytes = b"PNG") -> Kept:
    return Kept("user:ann", name, "image/png", content)


@pytest.mark.parametrize("content", [b"PNG", Path("/elsewhere/x.png")])
def test_what_is_kept_is_found_by_its_path(content: Path | bytes) -> None:
    """A picture isn't found by the path that was told; or something that wasn't kept is."""
    pictures = KeptPictures(SERVED)
    path = pictures.keep("job", a_picture(content=content))
    assert path == "/served/sd35/job/a cat.png"
    assert pictures.find(path) is not None
    assert pictures.find(path.replace("/", "\\")) is not None, "as Windows writes it"
    for other in (
        "",
        "a cat.png",
        "sd35/job",
        "sd35/other/a cat.png",
        "sd36/job/a cat.png",
        f"{path}/",
        f"{path}/x",
    ):
        assert pictures.find(other) is None


def test_what_is_forgotten_is_gone() -> None:
    """What was forgotten is still handed out, or its file stays on the disk for ever."""
    pictures = KeptPictures(SERVED)
    file = Path("/elsewhere/x.png")
    paths = [
        pictures.keep("job", a_picture("1.png", file)),
        pictures.keep("job", a_picture("2.png")),
    ]
    paths.append(pictures.keep_preview("job", a_picture("3.png")))
    other = pictures.keep("other", a_picture("1.png"))
    pictures.forget("job")
    assert [pictures.find(path) for path in paths] == [None, None, None]
    assert pictures.find(other) is not None


def test_memory_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews, or pictures that couldn't be written, fill the memory."""
    monkeypatch.setattr(artifacts, "MAX_PREVIEW_BYTES", 100)
    pictures = KeptPictures(SERVED)
    paths = [
        pictures.keep_preview("job", a_picture(f"{number}.png", b"x" * 30)) for number in range(5)
    ]
    assert [pictures.find(path) is not None for path in paths] == [False, False, True, True, True]
    again = pictures.keep_preview("job", a_picture("4.png", b"x" * 40))
    assert pictures.find(paths[2]) is not None, "what takes another's place takes no more room"
    assert pictures.find(again) is not None


def test_previews_have_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Previews that nobody will fetch any more stay as long as there is room."""
    now = [0.0]
    monkeypatch.setattr("sd35.jobs.artifacts.time.monotonic", lambda: now[0])
    pictures = KeptPictures(SERVED)
    old = pictures.keep_preview("job", a_picture("old.png"))
    now[0] = artifacts.PREVIEW_SECONDS + 1
    pictures.keep_preview("job", a_picture("new.png"))
    assert pictures.find(old) is None
