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

from sd35.library.layout import STATE_DIR, TRASH_DIR
from sd35.library.library import Library
from sd35.library.picture_file import MAX_FILE_BYTES
from sd35.library.query import parse_query
from sd35.library.repository import Entry
from sd35.library.scanner import ScanResult
from sd35.metadata.embedding import read_metadata
from tests.library_fixtures import ANN, BOB, add_picture, encode_picture, find_ids, folder, library

__all__ = ["folder", "library"]


def all_entries(library: Library) -> list[Entry]:
    """All that the pages show, of whatever place."""
    return [
        entry
        for query in ("", "is:trash")
        for entry in library.search(parse_query(query), limit=500).entries
    ]


def test_an_index_that_is_lost(folder: Path) -> None:
    """A picture, a star, a tag, an owner or the trash is lost with the index."""
    with Library.open(folder) as library:
        entries = [
            add_picture(
                library, index, (ANN, BOB, "")[index % 3], ["PNG", "JPEG", "WEBP"][index % 3]
            )
            for index in range(9)
        ]
        library.star([entries[1].id, entries[4].id], None, is_starred=True)
        library.tag([entries[2].id], None, ["sea", "灯"])
        library.trash([entries[3].id, entries[5].id], None)
        for path in (
            folder / "a.webp",
            library.file_path(entries[6]).with_name("120600-picture-6 copy.webp"),
        ):
            shutil.copy(library.file_path(entries[6]), path)
        (folder / "by hand.webp").write_bytes(encode_picture(99, "WEBP"))
        library.rescan()
        state_before = all_entries(library)
    for path in (folder / STATE_DIR).glob("library.sqlite3*"):
        path.unlink()
    with Library.open(folder) as library:
        assert library.needs_rescan
        progress_calls = list[tuple[int, int]]()
        assert library.rescan(
            lambda completed_count, total: progress_calls.append((completed_count, total))
        ) == ScanResult(added=12)
        assert progress_calls[-1] == (12, 12)
        assert all_entries(library) == state_before
        assert library.rescan() == ScanResult()


def test_only_what_changed_is_opened(library: Library) -> None:
    """Each start of the program reads all of its pictures."""
    entry = add_picture(library, 1)
    path = library.file_path(entry)
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert library.rescan() == ScanResult()
    path.touch()
    assert library.rescan() == ScanResult(unreadable=(entry.path,))


def move_file(library: Library, entry: Entry, path: Path) -> None:
    del entry
    (library.folder / "elsewhere" / "deep").mkdir(parents=True)
    path.rename(library.folder / "elsewhere" / "deep" / "x.png")


def edit_file(library: Library, entry: Entry, path: Path) -> None:
    """An editor that keeps nothing of what was told in the file."""
    del library, entry
    with Image.open(path) as image:
        image.load()
    image.resize((50, 60)).save(path, pnginfo=None)


def replace_file(library: Library, entry: Entry, path: Path) -> None:
    del library, entry
    path.write_bytes(encode_picture(200))


JPEG_PICTURE = encode_picture(5, "JPEG")


@pytest.mark.parametrize(
    ("act", "changes", "sizes"),
    [
        (lambda _, __, path: path.unlink(), ScanResult(missing=1), []),
        (move_file, ScanResult(moved=1), [(32, 24)]),
        (edit_file, ScanResult(changed=1), [(50, 60)]),
        (replace_file, ScanResult(changed=1), [(32, 24)]),
        (lambda library, _, path: shutil.copy(path, library.folder / "copy.png"), ScanResult(added=1), [(32, 24)] * 2),
        (lambda library, _, __: (library.folder / "x.JPG").write_bytes(JPEG_PICTURE), ScanResult(added=1), [(32, 24)] * 2),
        (lambda library, _, __: (library.folder / "x.png").touch(), ScanResult(unreadable=("x.png",)), [(32, 24)]),
        (lambda library, _, path: (library.folder / "x.png").symlink_to(path), ScanResult(), [(32, 24)]),
        (lambda library, _, __: (library.folder / "x").symlink_to("/"), ScanResult(), [(32, 24)]),
        (lambda library, _, path: shutil.copy(path, library.folder / ".x.png"), ScanResult(), [(32, 24)]),
        (lambda library, entry, _: library.trash([entry.id], None), ScanResult(), []),
    ],
    ids=["gone", "moved", "edited", "replaced", "copied", "new", "none", "link", "link to all", "hidden", "trash"],
)  # fmt: skip
def test_what_is_done_to_a_file(
    library: Library,
    act: Callable[[Library, Entry, Path], object],
    changes: ScanResult,
    sizes: list[tuple[int, int]],
) -> None:
    """The pages show what isn't there, or don't show what is."""
    entry = add_picture(library, 1, prompt="kept", tags=("sea",))
    act(library, entry, library.file_path(entry))
    assert library.rescan() == changes
    entries = library.search().entries
    assert [(picture_entry.width, picture_entry.height) for picture_entry in entries] == sizes
    assert all(library.read_bytes(picture_entry.id) for picture_entry in entries)
    if changes.moved or changes.changed:
        assert entries[0].id == entry.id
        assert entries[0].record == entry.record
    assert library.rescan() == ScanResult(unreadable=changes.unreadable)


def test_there_and_back(library: Library, tmp_path: Path) -> None:
    """A picture from a disk that was away for a while is another one, without its thumbnail and its place."""
    entry = add_picture(library, 1, ANN)
    library.file_path(entry).rename(tmp_path / "away.png")
    assert library.rescan() == ScanResult(missing=1)
    assert find_ids(library) == []
    (tmp_path / "away.png").rename(library.file_path(entry))
    assert library.rescan() == ScanResult(back=1)
    assert library.search().entries == (entry,)
    library.file_path(entry).rename(library.folder / "mine.png")
    assert library.rescan() == ScanResult(moved=1)
    assert find_ids(library, owner="") == [entry.id], "whose it is follows from where it is"


def test_two_that_change_places(library: Library) -> None:
    """Two files that were given each other's name are confused with one another."""
    first_entry, second_entry = add_picture(library, 1), add_picture(library, 2, seed=5)
    first, second = library.file_path(first_entry), library.file_path(second_entry)
    first.rename(library.folder / "x")
    second.rename(first)
    (library.folder / "x").rename(second)
    assert library.rescan() == ScanResult(moved=2)
    assert {entry.id: entry.path for entry in library.search().entries} == {
        first_entry.id: second_entry.path,
        second_entry.id: first_entry.path,
    }
    assert library.get(second_entry.id).record == second_entry.record  # type: ignore[union-attr]


def test_a_copy_outlives_its_original(library: Library) -> None:
    """A copy takes its original's id, so that one is deleted for the other; or is lost with it."""
    entry = add_picture(library, 1)
    copy = library.folder / "copy.png"
    shutil.copy(library.file_path(entry), copy)
    library.rescan()
    copy_id = next(id_ for id_ in find_ids(library) if id_ != entry.id)
    assert library.star([copy_id], None, is_starred=True) == (copy_id,)
    library.delete([entry.id])
    assert library.rescan() == ScanResult()
    assert library.search().entries[0].record.is_starred
    assert find_ids(library) == [copy_id]


def test_a_trash_that_was_half_emptied(library: Library) -> None:
    """What was deleted for ever, before the program was killed in the midst of it, is shown as missing."""
    entries = [add_picture(library, index) for index in range(3)]
    library.trash([entries[0].id, entries[1].id], None)
    missing_entry = library.get(entries[0].id)
    assert missing_entry is not None
    library.file_path(missing_entry).unlink()
    library.file_path(entries[2]).unlink()
    library.rescan()
    assert library.get(entries[0].id) is None
    assert find_ids(library, parse_query("is:trash")) == [entries[1].id]
    assert find_ids(library, parse_query("is:missing")) == [entries[2].id]
    assert library.remove_missing([entry.id for entry in entries]) == (entries[2].id,)
    assert library.get(entries[2].id) is None


def test_into_the_trash_by_hand(library: Library) -> None:
    """What somebody has moved into the trash, or out of it, is shown where it was."""
    entry = add_picture(library, 1, BOB)
    trash_path = library.folder / TRASH_DIR / entry.path
    trash_path.parent.mkdir(parents=True)
    library.file_path(entry).rename(trash_path)
    assert library.rescan() == ScanResult(moved=1)
    assert find_ids(library, parse_query("is:trash"), BOB) == [entry.id]
    trash_path.rename(library.file_path(entry))
    assert library.rescan() == ScanResult(moved=1)
    assert library.search().entries == (entry,)


@pytest.mark.skipif(os.name == "nt", reason="names are bytes elsewhere alone")
def test_names_that_are_no_text(library: Library) -> None:
    """A file whose name no program can write down ends the scan."""
    (library.folder / os.fsdecode(b"\xff.png")).write_bytes(encode_picture(1))
    (library.folder / "line\nbreak 'quote\".png").write_bytes(encode_picture(2))
    assert library.rescan() == ScanResult(added=1, unreadable=("?.png",))
    assert library.star(find_ids(library), None, is_starred=True) == tuple(find_ids(library))


def test_files_that_are_too_much(library: Library) -> None:
    """A file of many gigabytes is read into the memory, or a folder that goes down for ever ends the program."""
    with (library.folder / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    nested_value = library.folder
    for _ in range(1200):
        nested_value /= "d"
        nested_value.mkdir()
    (nested_value / "x.png").write_bytes(encode_picture(1))
    assert library.rescan() == ScanResult(added=1, unreadable=("huge.png",))
    (nested_value / "x.png").unlink()
    os.removedirs(nested_value)


@pytest.mark.parametrize("seconds", [-(10**9), 10**10])
def test_a_file_from_another_age(library: Library, seconds: int) -> None:
    """A file whose time is beyond what the index or the calendar holds ends the scan."""
    path = library.folder / "x.png"
    path.write_bytes(encode_picture(1))
    os.utime(path, (seconds, seconds))
    assert library.rescan() == ScanResult(added=1)
    assert library.rescan() == ScanResult()
    assert library.star(find_ids(library), None, is_starred=True)


def test_what_was_left_half_written(library: Library) -> None:
    """What a killed program has left fills the disk; or what another one is just writing is taken from it."""
    add_picture(library)
    old, new = (library.folder / "2026-11-24" / name for name in (".old.part", ".new.part"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    library.rescan()
    assert (old.exists(), new.exists()) == (False, True)


def test_while_others_write(library: Library) -> None:
    """A scan takes for missing, or for a copy, what is added, starred or thrown away meanwhile."""
    entries = [add_picture(library, index) for index in range(30)]
    for path in library.folder.rglob("*.png"):
        path.touch()

    def write() -> None:
        for index, entry in enumerate(entries):
            add_picture(library, 100 + index)
            library.star([entry.id], None, is_starred=True)
            if index % 2:
                library.trash([entry.id], None)

    writer = threading.Thread(target=write)
    writer.start()
    while writer.is_alive():
        assert not library.rescan().missing
    writer.join()
    library.rescan()
    assert library.rescan() == ScanResult()
    assert (library.search().count, library.search(parse_query("is:trash")).count) == (45, 15)
    assert library.search(parse_query("is:starred")).count == 15


def test_the_record_of_another_program(library: Library) -> None:
    """A picture of another program's has no words to be found by, or another id each time."""
    out = io.BytesIO()
    infotext = "a foreign lighthouse\nNegative prompt: x\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 32x24"
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + infotext.encode("utf-16-be")
    Image.new("RGB", (32, 24)).save(out, "JPEG", exif=exif)
    (library.folder / "foreign.jpg").write_bytes(out.getvalue())
    os.utime(library.folder / "foreign.jpg", (10**9, 10**9))
    library.rescan()
    (entry,) = library.search(parse_query("lighthouse seed:5 steps:20 tool:auto on:2001")).entries
    assert entry.made_at.timestamp() == 10**9
    library.star([entry.id], None, is_starred=True)
    assert find_ids(library, parse_query("is:starred on:2001")) == [entry.id]
    shutil.rmtree(library.folder / STATE_DIR / "running")
    (library.folder / STATE_DIR / "library.sqlite3").unlink()
    with Library.open(library.folder) as reopened_library:
        reopened_library.rescan()
        assert (
            reopened_library.search(parse_query("is:starred")).entries[0].made_at == entry.made_at
        )
        assert find_ids(reopened_library) == [entry.id]


def test_a_star_for_what_has_lost_its_record(library: Library) -> None:
    """A picture that an editor has saved without its settings loses them for good when it is starred."""
    entry = add_picture(library, 7)
    picture = Image.open(library.file_path(entry))
    picture.copy().save(library.file_path(entry), "PNG")
    library.rescan()
    library.star([entry.id], None, is_starred=True)
    [remaining_entry] = library.search().entries
    assert remaining_entry.record == replace(entry.record, is_starred=True)
    assert read_metadata(library.read_bytes(remaining_entry.id)) == remaining_entry.record
