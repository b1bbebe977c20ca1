"""Scans: whatever is done to the files, the index follows."""

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
from sd35.library.library_file import MAX_FILE_BYTES
from sd35.library.query import parse_query
from sd35.library.repository import Entry
from sd35.library.scanner import ScanResult
from sd35.library.skipped_files import SkippedFiles, SkipReason
from sd35.metadata.embedding import read_metadata
from tests.library_fixtures import ANN, BOB, add_picture, encode_picture, find_ids, folder, library

__all__ = ["folder", "library"]


def all_entries(library: Library) -> list[Entry]:
    """Return all images that pages show, with those in the trash."""
    return [
        entry
        for query in ("", "is:trash")
        for entry in library.search(parse_query(query), limit=500).entries
    ]


def test_lost_index_is_rebuilt_from_files(folder: Path) -> None:
    """Images, stars, tags, owners and the trash survive the loss of the index."""
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


def test_unchanged_files_are_not_read(library: Library) -> None:
    """Only a file with another size or time is read again."""
    entry = add_picture(library, 1)
    path = library.file_path(entry)
    stat = path.stat()
    path.write_bytes(bytes(stat.st_size))
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert library.rescan() == ScanResult()
    path.touch()
    assert library.rescan() == ScanResult(skipped_files=skipped_files("damaged", entry.path))


def move_file(folder: Path, path: Path) -> None:
    (folder / "elsewhere" / "deep").mkdir(parents=True)
    path.rename(folder / "elsewhere" / "deep" / "x.png")


def edit_file(folder: Path, path: Path) -> None:
    """Save the file as an editor does that drops all metadata."""
    del folder
    with Image.open(path) as image:
        image.load()
    image.resize((50, 60)).save(path, pnginfo=None)


def skipped_files(name: str, *paths: str) -> tuple[SkippedFiles, ...]:
    [reason] = [reason for reason in SkipReason if reason.json_name == name]
    return (SkippedFiles(reason, len(paths), paths),)


EMPTY_FILE = ScanResult(skipped_files=skipped_files("empty", "x.png"))
LINKED_FILE = ScanResult(skipped_files=skipped_files("link", "x.png"))
LINKED_FOLDER = ScanResult(skipped_files=skipped_files("link", "x"))
ONE = [(32, 24)]
TWO = [(32, 24)] * 2
JPEG_PICTURE = encode_picture(5, "JPEG")


@pytest.mark.parametrize(
    ("act", "changes", "sizes"),
    [
        (lambda _, path: path.unlink(), ScanResult(missing=1), []),
        (move_file, ScanResult(moved=1), ONE),
        (edit_file, ScanResult(changed=1), [(50, 60)]),
        (lambda _, path: path.write_bytes(encode_picture(200)), ScanResult(changed=1), ONE),
        (lambda folder, path: shutil.copy(path, folder / "copy.png"), ScanResult(added=1), TWO),
        (lambda folder, _: (folder / "x.JPG").write_bytes(JPEG_PICTURE), ScanResult(added=1), TWO),
        (lambda folder, _: (folder / "x.png").touch(), EMPTY_FILE, ONE),
        (lambda folder, path: (folder / "x.png").symlink_to(path), LINKED_FILE, ONE),
        (lambda folder, _: (folder / "x").symlink_to("/"), LINKED_FOLDER, ONE),
        (lambda folder, path: shutil.copy(path, folder / ".x.png"), ScanResult(), ONE),
    ],
    ids=[
        *("deleted", "moved", "edited", "replaced", "copied", "added", "empty"),
        *("link", "link to the root", "hidden"),
    ],
)
def test_scan_follows_changed_files(
    library: Library,
    act: Callable[[Path, Path], object],
    changes: ScanResult,
    sizes: list[tuple[int, int]],
) -> None:
    """A scan finds files that were deleted, moved, edited, copied or added."""
    entry = add_picture(library, 1, prompt="a lighthouse", tags=("sea",))
    act(library.folder, library.file_path(entry))
    assert library.rescan() == changes
    entries = library.search().entries
    assert [(entry.width, entry.height) for entry in entries] == sizes
    assert all(library.read_bytes(entry.id) for entry in entries)
    if changes.moved or changes.changed:
        assert entries[0].id == entry.id
        assert entries[0].metadata == entry.metadata
    assert library.rescan() == ScanResult(skipped_files=changes.skipped_files)


def test_restored_file_is_the_same_image(library: Library, tmp_path: Path) -> None:
    """A file that comes back is the image that it was, with its owner's path."""
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


def test_swapped_files_are_two_moves(library: Library) -> None:
    """Two files that swap names keep their own metadata."""
    first_entry = add_picture(library, 1)
    second_entry = add_picture(library, 2, seed=5)
    first = library.file_path(first_entry)
    second = library.file_path(second_entry)
    first.rename(library.folder / "x")
    second.rename(first)
    (library.folder / "x").rename(second)
    assert library.rescan() == ScanResult(moved=2)
    assert {entry.id: entry.path for entry in library.search().entries} == {
        first_entry.id: second_entry.path,
        second_entry.id: first_entry.path,
    }
    assert library.get(second_entry.id).metadata == second_entry.metadata  # type: ignore[union-attr]


def test_file_renamed_to_other_capitals_is_moved(library: Library) -> None:
    """A file with two spellings, as on Windows and macOS, is one image."""
    entry = add_picture(library, 1)
    path = library.file_path(entry)
    # A hard link stands in for a file system that takes both names for the same file.
    path.with_name(path.name.upper()).hardlink_to(path)
    assert library.rescan().added == 0
    assert find_ids(library) == [entry.id]


def test_copy_outlives_its_original(library: Library) -> None:
    """A copy has an ID of its own, and stays when the original is deleted."""
    entry = add_picture(library, 1)
    copy = library.folder / "copy.png"
    shutil.copy(library.file_path(entry), copy)
    library.rescan()
    copy_id = next(id_ for id_ in find_ids(library) if id_ != entry.id)
    assert library.star([copy_id], None, is_starred=True) == (copy_id,)
    library.delete([entry.id])
    assert library.rescan() == ScanResult()
    assert library.search().entries[0].metadata.is_starred
    assert find_ids(library) == [copy_id]


def test_half_emptied_trash_is_not_missing(library: Library) -> None:
    """A trashed image without a file is forgotten, not shown as missing."""
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


def test_file_moved_to_the_trash_by_hand_is_trashed(library: Library) -> None:
    """A file that somebody moves into the trash, or out of it, is moved in the index."""
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
def test_undecodable_names_are_reported(library: Library) -> None:
    """A file name that isn't text is reported, and ends no scan."""
    (library.folder / os.fsdecode(b"\xff.png")).write_bytes(encode_picture(1))
    (library.folder / "line\nbreak 'quote\".png").write_bytes(encode_picture(2))
    assert library.rescan() == ScanResult(
        added=1, skipped_files=skipped_files("undecodable-name", "?.png")
    )
    assert library.star(find_ids(library), None, is_starred=True) == tuple(find_ids(library))


def test_huge_files_and_deep_folders_are_harmless(library: Library) -> None:
    """A huge file isn't read, and a folder may be nested very deeply."""
    with (library.folder / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    deepest = library.folder
    for _ in range(1200):
        deepest /= "d"
        deepest.mkdir()
    (deepest / "x.png").write_bytes(encode_picture(1))
    assert library.rescan() == ScanResult(
        added=1, skipped_files=skipped_files("too-large", "huge.png")
    )
    (deepest / "x.png").unlink()
    os.removedirs(deepest)


@pytest.mark.parametrize("seconds", [-(10**9), 10**10])
def test_file_times_out_of_range_are_accepted(library: Library, seconds: int) -> None:
    """A file's time may be beyond what the index or the calendar holds."""
    path = library.folder / "x.png"
    path.write_bytes(encode_picture(1))
    os.utime(path, (seconds, seconds))
    assert library.rescan() == ScanResult(added=1)
    assert library.rescan() == ScanResult()
    assert library.star(find_ids(library), None, is_starred=True)


def test_only_stale_temporary_files_are_removed(library: Library) -> None:
    """A temporary file is removed when nobody can be writing it any more."""
    add_picture(library)
    old, new = (library.folder / "2026-11-24" / name for name in (".old.part", ".new.part"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    library.rescan()
    assert (old.exists(), new.exists()) == (False, True)


def test_scan_while_others_write(library: Library) -> None:
    """Images that are added, starred or trashed during a scan aren't missing or doubled."""
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


def test_metadata_of_another_tool_is_indexed(library: Library) -> None:
    """An image of another tool is found by its metadata, and keeps its ID and time."""
    out = io.BytesIO()
    infotext = (
        "a foreign lighthouse\nNegative prompt: x\n"
        "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 32x24"
    )
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


def test_star_restores_lost_metadata(library: Library) -> None:
    """Starring an image whose file has lost its metadata writes them back."""
    entry = add_picture(library, 7)
    picture = Image.open(library.file_path(entry))
    picture.copy().save(library.file_path(entry), "PNG")
    library.rescan()
    library.star([entry.id], None, is_starred=True)
    [remaining_entry] = library.search().entries
    assert remaining_entry.metadata == replace(entry.metadata, is_starred=True)
    assert read_metadata(library.read_bytes(remaining_entry.id)) == remaining_entry.metadata


def test_own_wildcards_and_styles_are_no_strangers(library: Library) -> None:
    """The files of wildcards and styles in a library aren't counted as passed over; others are."""
    for name in ("wildcards/a.txt", "wildcards/b/c.yaml", "styles.json", "b/styles.json"):
        path = library.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert library.rescan().skipped_files == skipped_files("other-kind", "b/styles.json")
