"""The folder is the truth: whatever somebody does to its files, the index follows."""

import io
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sd35.library.layout import HIDDEN, TRASH
from sd35.library.library import Library
from sd35.library.picture_file import MAX_BYTES
from sd35.library.query import parse_query
from sd35.library.repository import Entry
from sd35.library.scanner import Changes
from sd35.metadata.embedding import read_picture
from tests.shelves import ANN, BOB, encoded, folder, ids, library, put

__all__ = ["folder", "library"]


def everything(library: Library) -> list[Entry]:
    """All that the pages show, of whatever place."""
    return [
        entry
        for query in ("", "is:trash")
        for entry in library.page(parse_query(query), limit=500).entries
    ]


def test_an_index_that_is_lost(folder: Path) -> None:
    """A picture, a star, a tag, an owner or the trash is lost with the index."""
    with Library.open(folder) as library:
        made = [
            put(library, number, (ANN, BOB, "")[number % 3], ["PNG", "JPEG", "WEBP"][number % 3])
            for number in range(9)
        ]
        library.star([made[1].id, made[4].id], None, is_starred=True)
        library.tag([made[2].id], None, ["sea", "灯"])
        library.trash([made[3].id, made[5].id], None)
        for path in (
            folder / "a.webp",
            library.path_of(made[6]).with_name("120600-picture-6 copy.webp"),
        ):
            shutil.copy(library.path_of(made[6]), path)
        (folder / "by hand.webp").write_bytes(encoded(99, "WEBP"))
        library.rescan()
        before = everything(library)
    for path in (folder / HIDDEN).glob("library.sqlite3*"):
        path.unlink()
    with Library.open(folder) as library:
        assert library.is_to_be_scanned
        told = list[tuple[int, int]]()
        assert library.rescan(lambda done, total: told.append((done, total))) == Changes(added=12)
        assert told[-1] == (12, 12)
        assert everything(library) == before
        assert library.rescan() == Changes()


def test_only_what_changed_is_opened(library: Library) -> None:
    """Each start of the program reads all of its pictures."""
    entry = put(library, 1)
    path = library.path_of(entry)
    told = path.stat()
    path.write_bytes(bytes(told.st_size))
    os.utime(path, ns=(told.st_mtime_ns, told.st_mtime_ns))
    assert library.rescan() == Changes()
    path.touch()
    assert library.rescan() == Changes(unreadable=(entry.path,))


def moved(library: Library, entry: Entry, path: Path) -> None:
    del entry
    (library.folder / "elsewhere" / "deep").mkdir(parents=True)
    path.rename(library.folder / "elsewhere" / "deep" / "x.png")


def edited(library: Library, entry: Entry, path: Path) -> None:
    """An editor that keeps nothing of what was told in the file."""
    del library, entry
    with Image.open(path) as image:
        image.load()
    image.resize((50, 60)).save(path, pnginfo=None)


def replaced(library: Library, entry: Entry, path: Path) -> None:
    del library, entry
    path.write_bytes(encoded(200))


JPEG = encoded(5, "JPEG")


@pytest.mark.parametrize(
    ("act", "changes", "sizes"),
    [
        (lambda _, __, path: path.unlink(), Changes(missing=1), []),
        (moved, Changes(moved=1), [(32, 24)]),
        (edited, Changes(changed=1), [(50, 60)]),
        (replaced, Changes(changed=1), [(32, 24)]),
        (lambda library, _, path: shutil.copy(path, library.folder / "copy.png"), Changes(added=1), [(32, 24)] * 2),
        (lambda library, _, __: (library.folder / "x.JPG").write_bytes(JPEG), Changes(added=1), [(32, 24)] * 2),
        (lambda library, _, __: (library.folder / "x.png").touch(), Changes(unreadable=("x.png",)), [(32, 24)]),
        (lambda library, _, path: (library.folder / "x.png").symlink_to(path), Changes(), [(32, 24)]),
        (lambda library, _, __: (library.folder / "x").symlink_to("/"), Changes(), [(32, 24)]),
        (lambda library, _, path: shutil.copy(path, library.folder / ".x.png"), Changes(), [(32, 24)]),
        (lambda library, entry, _: library.trash([entry.id], None), Changes(), []),
    ],
    ids=["gone", "moved", "edited", "replaced", "copied", "new", "none", "link", "link to all", "hidden", "trash"],
)  # fmt: skip
def test_what_is_done_to_a_file(
    library: Library,
    act: Callable[[Library, Entry, Path], object],
    changes: Changes,
    sizes: list[tuple[int, int]],
) -> None:
    """The pages show what isn't there, or don't show what is."""
    entry = put(library, 1, prompt="kept", tags=("sea",))
    act(library, entry, library.path_of(entry))
    assert library.rescan() == changes
    entries = library.page().entries
    assert [(each.width, each.height) for each in entries] == sizes
    assert all(library.read(each.id) for each in entries)
    if changes.moved or changes.changed:
        assert entries[0].id == entry.id
        assert entries[0].record == entry.record
    assert library.rescan() == Changes(unreadable=changes.unreadable)


def test_there_and_back(library: Library, tmp_path: Path) -> None:
    """A picture from a disk that was away for a while is another one, without its thumbnail and its place."""
    entry = put(library, 1, ANN)
    library.path_of(entry).rename(tmp_path / "away.png")
    assert library.rescan() == Changes(missing=1)
    assert ids(library) == []
    (tmp_path / "away.png").rename(library.path_of(entry))
    assert library.rescan() == Changes(back=1)
    assert library.page().entries == (entry,)
    library.path_of(entry).rename(library.folder / "mine.png")
    assert library.rescan() == Changes(moved=1)
    assert ids(library, owner="") == [entry.id], "whose it is follows from where it is"


def test_two_that_change_places(library: Library) -> None:
    """Two files that were given each other's name are confused with one another."""
    one, two = put(library, 1), put(library, 2, seed=5)
    first, second = library.path_of(one), library.path_of(two)
    first.rename(library.folder / "x")
    second.rename(first)
    (library.folder / "x").rename(second)
    assert library.rescan() == Changes(moved=2)
    assert {entry.id: entry.path for entry in library.page().entries} == {
        one.id: two.path,
        two.id: one.path,
    }
    assert library.entry(two.id).record == two.record  # type: ignore[union-attr]


def test_a_copy_outlives_its_original(library: Library) -> None:
    """A copy takes its original's id, so that one is deleted for the other; or is lost with it."""
    entry = put(library, 1)
    copy = library.folder / "copy.png"
    shutil.copy(library.path_of(entry), copy)
    library.rescan()
    other = next(id_ for id_ in ids(library) if id_ != entry.id)
    assert library.star([other], None, is_starred=True) == (other,)
    library.discard([entry.id])
    assert library.rescan() == Changes()
    assert library.page().entries[0].record.is_starred
    assert ids(library) == [other]


def test_a_trash_that_was_half_emptied(library: Library) -> None:
    """What was deleted for ever, before the program was killed in the midst of it, is shown as missing."""
    made = [put(library, number) for number in range(3)]
    library.trash([made[0].id, made[1].id], None)
    gone = library.entry(made[0].id)
    assert gone is not None
    library.path_of(gone).unlink()
    library.path_of(made[2]).unlink()
    library.rescan()
    assert library.entry(made[0].id) is None
    assert ids(library, parse_query("is:trash")) == [made[1].id]
    assert ids(library, parse_query("is:missing")) == [made[2].id]
    assert library.forget_missing([each.id for each in made]) == (made[2].id,)
    assert library.entry(made[2].id) is None


def test_into_the_trash_by_hand(library: Library) -> None:
    """What somebody has moved into the trash, or out of it, is shown where it was."""
    entry = put(library, 1, BOB)
    place = library.folder / TRASH / entry.path
    place.parent.mkdir(parents=True)
    library.path_of(entry).rename(place)
    assert library.rescan() == Changes(moved=1)
    assert ids(library, parse_query("is:trash"), BOB) == [entry.id]
    place.rename(library.path_of(entry))
    assert library.rescan() == Changes(moved=1)
    assert library.page().entries == (entry,)


@pytest.mark.skipif(os.name == "nt", reason="names are bytes elsewhere alone")
def test_names_that_are_no_text(library: Library) -> None:
    """A file whose name no program can write down ends the scan."""
    (library.folder / os.fsdecode(b"\xff.png")).write_bytes(encoded(1))
    (library.folder / "line\nbreak 'quote\".png").write_bytes(encoded(2))
    assert library.rescan() == Changes(added=1, unreadable=("?.png",))
    assert library.star(ids(library), None, is_starred=True) == tuple(ids(library))


def test_files_that_are_too_much(library: Library) -> None:
    """A file of many gigabytes is read into the memory, or a folder that goes down for ever ends the program."""
    with (library.folder / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    deep = library.folder
    for _ in range(1200):
        deep /= "d"
        deep.mkdir()
    (deep / "x.png").write_bytes(encoded(1))
    assert library.rescan() == Changes(added=1, unreadable=("huge.png",))
    (deep / "x.png").unlink()
    os.removedirs(deep)


@pytest.mark.parametrize("seconds", [-(10**9), 10**10])
def test_a_file_from_another_age(library: Library, seconds: int) -> None:
    """A file whose time is beyond what the index or the calendar holds ends the scan."""
    path = library.folder / "x.png"
    path.write_bytes(encoded(1))
    os.utime(path, (seconds, seconds))
    assert library.rescan() == Changes(added=1)
    assert library.rescan() == Changes()
    assert library.star(ids(library), None, is_starred=True)


def test_what_was_left_half_written(library: Library) -> None:
    """What a killed program has left fills the disk; or what another one is just writing is taken from it."""
    put(library)
    old, new = (library.folder / "2026-11-24" / name for name in (".old.part", ".new.part"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    library.rescan()
    assert (old.exists(), new.exists()) == (False, True)


def test_while_others_write(library: Library) -> None:
    """A scan takes for missing, or for a copy, what is added, starred or thrown away meanwhile."""
    made = [put(library, number) for number in range(30)]
    for path in library.folder.rglob("*.png"):
        path.touch()

    def write() -> None:
        for number, entry in enumerate(made):
            put(library, 100 + number)
            library.star([entry.id], None, is_starred=True)
            if number % 2:
                library.trash([entry.id], None)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert not library.rescan().missing
    writer.join()
    library.rescan()
    assert library.rescan() == Changes()
    assert (library.page().count, library.page(parse_query("is:trash")).count) == (45, 15)
    assert library.page(parse_query("is:starred")).count == 15


def test_the_record_of_another_program(library: Library) -> None:
    """A picture of another program's has no words to be found by, or another id each time."""
    out = io.BytesIO()
    told = "a foreign lighthouse\nNegative prompt: x\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 32x24"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + told.encode("utf-16-be")
    Image.new("RGB", (32, 24)).save(out, "JPEG", exif=exif)
    (library.folder / "foreign.jpg").write_bytes(out.getvalue())
    os.utime(library.folder / "foreign.jpg", (10**9, 10**9))
    library.rescan()
    (entry,) = library.page(parse_query("lighthouse seed:5 steps:20 tool:auto on:2001")).entries
    assert entry.made_at.timestamp() == 10**9
    library.star([entry.id], None, is_starred=True)
    assert ids(library, parse_query("is:starred on:2001")) == [entry.id]
    shutil.rmtree(library.folder / HIDDEN / "running")
    (library.folder / HIDDEN / "library.sqlite3").unlink()
    with Library.open(library.folder) as again:
        again.rescan()
        assert again.page(parse_query("is:starred")).entries[0].made_at == entry.made_at
        assert ids(again) == [entry.id]


def test_a_star_for_what_has_lost_its_record(library: Library) -> None:
    """A picture that an editor has saved without its settings loses them for good when it is starred."""
    entry = put(library, 7)
    picture = Image.open(library.path_of(entry))
    picture.copy().save(library.path_of(entry), "PNG")
    library.rescan()
    library.star([entry.id], None, is_starred=True)
    [kept] = library.page().entries
    assert kept.record == replace(entry.record, is_starred=True)
    assert read_picture(library.read(kept.id)) == kept.record
