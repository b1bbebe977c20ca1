"""A library: an added image is there, whole, and its owner's alone, whatever happens meanwhile."""

import datetime as dt
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sd35.core.errors import LibraryError
from sd35.library import search
from sd35.library.layout import (
    ANONYMOUS_KEY,
    LOCAL_OWNER_KEY,
    STATE_DIR,
    directory_for,
    filename_for,
    owner_from_path,
    owner_key,
)
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.library.scanner import ScanResult
from sd35.library.skipped_files import SkipReason
from sd35.metadata.embedding import read_metadata
from sd35.metadata.model import GenerationMetadata
from tests.library_fixtures import (
    ANN,
    BOB,
    NOON,
    add_picture,
    encode_picture,
    find_ids,
    folder,
    library,
    read_pixels,
)

__all__ = ["folder", "library"]


@contextmanager
def permissions(modes: dict[Path, int]) -> Iterator[None]:
    """Set modes of files and folders, and be a user for whom they count."""
    user_id = os.geteuid()
    old_modes = {path: path.stat().st_mode for path in modes}
    for path, mode in modes.items():
        path.chmod(mode)
    os.seteuid(user_id or 65534)
    try:
        yield
    finally:
        os.seteuid(user_id)
        for path, mode in old_modes.items():
            path.chmod(mode)


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions there")
@pytest.mark.parametrize(
    ("modes", "has_index"),
    [
        ({"": 0o555, STATE_DIR: 0o555}, True),
        ({"": 0o777, STATE_DIR: 0o777, f"{STATE_DIR}/library.sqlite3": 0o444}, True),
        ({"": 0o777, STATE_DIR: 0o000}, False),
        ({"": 0o555}, False),
    ],
    ids=["folder", "index", "state of another user", "folder without an index"],
)
def test_read_only_library_is_searched(modes: dict[str, int], *, has_index: bool) -> None:
    """A library that can't be written is searched; whatever would change it is refused.

    What can't be read either is counted.
    """
    with tempfile.TemporaryDirectory() as parent:  # which other users can reach
        Path(parent).chmod(0o755)
        folder = Path(parent, "library")
        with Library.open(folder) as writer:
            ids = [add_picture(writer, index).id for index in range(2)]
            if STATE_DIR not in modes:
                shutil.rmtree(folder / STATE_DIR)
            (folder / "private").mkdir()
            (folder / "secret.png").write_bytes(encode_picture(3))
            paths = {folder / name: mode for name, mode in modes.items()}
            paths |= dict.fromkeys((folder / "private", folder / "secret.png"), 0)
            with permissions(paths), Library.open(folder) as library:
                assert (library.is_read_only, library.needs_rescan) == (True, not has_index)
                [skipped_files] = library.rescan().skipped_files
                assert skipped_files.reason is SkipReason.NO_ACCESS
                assert {"private/", "secret.png"} <= set(skipped_files.paths)
                assert find_ids(library) == ids[::-1]
                thumbnail = library.thumbnail(ids[0])
                assert thumbnail is not None
                assert library.read_path(thumbnail).startswith(b"RIFF")
                for change in (
                    lambda: library.star(ids, None, is_starred=True),
                    lambda: library.tag(ids, None, ["sea"]),
                    lambda: library.trash(ids, None),
                    lambda: library.delete(ids),
                    lambda: library.import_from(Path(parent), ""),
                ):
                    with pytest.raises(LibraryError, match="read-only"):
                        change()
            assert not thumbnail.exists()


@pytest.mark.skipif(os.name == "nt", reason="folders have no such permissions there")
def test_unreadable_folder_is_no_library() -> None:
    """A folder that can't be listed is refused, not taken for an empty library."""
    with tempfile.TemporaryDirectory() as parent, permissions({Path(parent): 0o311}):
        with pytest.raises(LibraryError, match="can't be used as a library"):
            Library.open(Path(parent))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_added_image_keeps_pixels_and_metadata(library: Library, kind: str) -> None:
    """An added image's file has its pixels and metadata, and the index finds it."""
    entry = add_picture(library, 7, kind=kind, prompt="夜の灯台 at night", seed=7, tags=("sea",))
    path = library.file_path(entry)
    assert read_pixels(path.read_bytes()) == read_pixels(encode_picture(7, kind))
    assert read_metadata(path.read_bytes()) == entry.metadata
    assert library.get(entry.id) == entry
    assert library.read_bytes(entry.id) == path.read_bytes()
    assert library.search().entries == (entry,)
    assert path.stat().st_mode & 0o777 == 0o644
    assert (library.folder / STATE_DIR).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("prompt", "seed", "name"),
    [
        ("A Lighthouse, at night!", 7, "120000-7-a-lighthouse-at-night.png"),
        ("夜の灯台", None, "120000-夜の灯台.png"),
        ("हिन्दी", 0, "120000-0-हिन्दी.png"),
        ("../../etc/passwd", None, "120000-etc-passwd.png"),
        ('CON: <a|b>?*"\\\n\0', None, "120000-con-a-b.png"),
        ("\ud800 …!", None, "120000-picture.png"),
        ("x" * 500, None, f"120000-{'x' * 60}.png"),
        ("𝕏灯" * 100, None, f"120000-{'𝕏灯' * 21}.png"),
    ],
)
def test_file_names_are_readable_and_safe(prompt: str, seed: int | None, name: str) -> None:
    """A file's name is readable, valid on every system, and stays in the folder."""
    noon = dt.datetime(2026, 11, 24, 12).astimezone()
    assert filename_for(GenerationMetadata(prompt=prompt, seed=seed), noon, ".png") == name
    assert directory_for("", noon) == "2026-11-24"
    assert directory_for(ANN, noon) == f"visitors/{ANN}/2026-11-24"


def test_images_of_one_second_get_numbers(library: Library) -> None:
    """Images made in the same second don't overwrite each other."""
    paths = [add_picture(library, 1, prompt="same").path for _ in range(3)]
    assert [path.rpartition("same")[2] for path in paths] == [".png", "-2.png", "-3.png"]
    assert len(find_ids(library)) == 3


@pytest.mark.parametrize("owner", ["../x", "a/b", "A", "a" * 65])
def test_invalid_owner_key_is_refused(library: Library, owner: str) -> None:
    """A made-up owner's key can't leave the visitors' folder."""
    with pytest.raises(ValueError, match="key"):
        add_picture(library, owner=owner)


def test_owner_keys_are_distinct_and_in_paths() -> None:
    """Each owner has a key of their own, which an image's path contains."""
    keys = [owner_key(owner) for owner in ("here", None, "user:ann", "user:bob", "\ud800")]
    assert keys[:2] == [LOCAL_OWNER_KEY, ANONYMOUS_KEY]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert owner_from_path(f"{directory_for(key, NOON)}/x.png") == key
        assert owner_from_path(f".studio/trash/{directory_for(key, NOON)}/x.png") == key


def test_images_of_others_do_not_exist(library: Library) -> None:
    """A visitor can't see, change or delete another visitor's images."""
    own_entry = add_picture(library, 1, ANN)
    other_entry = add_picture(library, 2, BOB)
    both_ids = [own_entry.id, other_entry.id]
    assert (library.get(other_entry.id, ANN), library.thumbnail(other_entry.id, ANN)) == (
        None,
        None,
    )
    with pytest.raises(LibraryError):
        library.read_bytes(other_entry.id, ANN)
    assert library.adjacent_ids(other_entry.id, ANN) == (None, None)
    assert library.adjacent_ids(own_entry.id, ANN) == (None, None)
    assert library.star(both_ids, ANN, is_starred=True) == (own_entry.id,)
    assert library.tag(both_ids, ANN, ["sea"]) == (own_entry.id,)
    assert library.trash(both_ids, ANN) == (own_entry.id,)
    assert library.trash([other_entry.id], BOB) == (other_entry.id,)
    assert library.restore(both_ids, ANN) == (own_entry.id,)
    assert library.empty_trash(ANN) == 0
    assert library.delete(both_ids, ANN) == (own_entry.id,)
    assert find_ids(library, owner=ANN) == []
    assert library.restore(both_ids, None) == (other_entry.id,)
    assert find_ids(library) == [other_entry.id]


def test_stars_and_tags_are_in_the_files(library: Library) -> None:
    """A star and a tag are in the image's file, and leave its pixels alone."""
    entry = add_picture(library, 3)
    assert library.star([entry.id, entry.id, "unknown"], None, is_starred=True) == (entry.id,)
    assert library.star([entry.id], None, is_starred=True) == ()
    assert library.tag([entry.id], None, ["Sea", "sea", "  a  b ", "", "x"], ["X", "y"]) == (
        entry.id,
    )
    assert library.tag([entry.id], None, remove=["SEA"]) == (entry.id,)
    picture_data = library.file_path(entry).read_bytes()
    assert read_pixels(picture_data) == read_pixels(encode_picture(3))
    assert read_metadata(picture_data) == replace(
        entry.metadata, is_starred=True, tags=("a b", "x")
    )
    assert find_ids(library, parse_query('is:starred tag:"A b" tag:x -tag:sea')) == [entry.id]
    assert library.rescan().changed == 0, "the index knows what it has written itself"


def test_trash_hides_and_restores(library: Library) -> None:
    """The trash hides an image, and gives it back without replacing another one."""
    first = add_picture(library, 1, prompt="same")
    second = add_picture(library, 1, prompt="same")
    assert library.trash([first.id, first.id], None) == (first.id,)
    assert find_ids(library) == [second.id]
    assert find_ids(library, parse_query("is:trash")) == [first.id]
    library.file_path(second).rename(library.file_path(first))  # by hand, meanwhile
    library.rescan()
    assert library.restore([first.id], None) == (first.id,)
    restored = library.get(first.id)
    assert restored is not None
    assert restored.path == first.path.replace(".png", "-2.png")
    assert read_metadata(library.read_bytes(first.id)) == first.metadata
    library.trash([first.id, second.id], None)
    assert library.empty_trash(None) == 2
    assert library.get(first.id) is None
    assert not list(library.folder.rglob("*.png"))


def test_pages_are_complete_in_both_directions(library: Library) -> None:
    """Paging shows each image once, even those made at the same moment."""
    entries = [add_picture(library, index // 5, ANN if index % 2 else "") for index in range(23)]
    entries.sort(key=lambda entry: (entry.made_at, entry.id), reverse=True)
    expected_ids = [entry.id for entry in entries]
    page = library.search(limit=5)
    assert page.newer_cursor is None
    ids = [entry.id for entry in page.entries]
    while page.older_cursor:
        page = library.search(limit=5, older_cursor=page.older_cursor)
        ids += [entry.id for entry in page.entries]
    assert ids == expected_ids
    ids = [entry.id for entry in page.entries]
    while page.newer_cursor:
        page = library.search(limit=5, newer_cursor=page.newer_cursor)
        ids = [entry.id for entry in page.entries] + ids
    assert ids == expected_ids
    neighbors = [None, *expected_ids, None]
    for index, id_ in enumerate(expected_ids):
        assert library.adjacent_ids(id_) == (neighbors[index], neighbors[index + 2])
    assert (library.search(limit=2).count, library.search(owner=ANN, limit=2).count) == (23, 11)


def test_search_counts_up_to_a_limit(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search counts its results up to a limit, on each page."""
    for index in range(7):
        add_picture(library, index, prompt="fox" if index else "cat")
    monkeypatch.setattr(search, "MAX_COUNT", 4)
    table = ("fox", 2, 4, False), ("fox", 6, 6, True), ("", 2, 7, True), ("cat", 1, 1, True)
    for text, limit, count, is_exact in table:
        page = library.search(parse_query(text), limit=limit)
        assert (page.count, page.is_count_exact) == (count, is_exact)
    older = library.search(parse_query("fox"), limit=4).older_cursor
    assert library.search(parse_query("fox"), limit=4, older_cursor=older).count == 4


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "AAAA", "bmFuIHg", "aW5mIHg", "é", "a" * 5000])
def test_made_up_cursor_is_ignored(library: Library, cursor: str) -> None:
    """A cursor that nobody handed out leads to the first page."""
    entry = add_picture(library)
    for page in (library.search(older_cursor=cursor), library.search(newer_cursor=cursor)):
        assert page.entries == (entry,)


def test_counts_follow_every_change(library: Library) -> None:
    """The counts that triggers keep agree with the images after every change."""
    entries = [add_picture(library, index, (ANN, BOB, "")[index % 3]) for index in range(12)]
    library.trash([entry.id for entry in entries[:5]], None)
    library.restore([entries[0].id, entries[1].id], None)
    library.star([entries[7].id, entries[2].id], None, is_starred=True)
    library.file_path(entries[8]).unlink()
    library.rescan()
    for query in ("", "is:trash", "is:missing"):
        for owner in (None, ANN, BOB, ""):
            page = library.search(parse_query(query), owner)
            assert (page.count, page.is_count_exact) == (len(page.entries), True)
    library.empty_trash(ANN)
    stats = library.stats()
    assert (stats.pictures, stats.trashed, stats.missing, stats.starred) == (8, 2, 1, 1)
    files = [
        path.stat().st_size for path in library.folder.rglob("*.png") if STATE_DIR not in path.parts
    ]
    assert stats.picture_bytes == sum(files)
    assert (stats.first, stats.last) == (entries[0].made_at, entries[11].made_at)
    assert stats.index_bytes > 0
    assert stats.free_bytes


def test_missing_file_is_marked(library: Library) -> None:
    """An image whose file was deleted is marked as missing when it is used."""
    entry = add_picture(library)
    library.file_path(entry).unlink()
    assert library.star([entry.id], None, is_starred=True) == ()
    assert find_ids(library) == []
    with pytest.raises(LibraryError, match="missing"):
        library.read_bytes(entry.id)
    assert library.thumbnail(entry.id) is None
    assert find_ids(library, parse_query("is:missing")) == [entry.id]


def put_link(file: Path, outside: Path) -> None:
    file.symlink_to(outside / file.name)


def put_linked_folder(file: Path, outside: Path) -> None:
    file.parent.rmdir()
    file.parent.symlink_to(outside)


def put_pipe(file: Path, _: Path) -> None:
    os.mkfifo(file)


def put_folder(file: Path, _: Path) -> None:
    file.mkdir()


def put_socket(file: Path, outside: Path) -> None:
    # Under a short name first: the path of a socket is limited to about 100 characters.
    with socket.socket(socket.AF_UNIX) as unix_socket, chdir(outside):
        unix_socket.bind("socket")
    (outside / "socket").rename(file)


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes need POSIX")
@pytest.mark.parametrize("put", [put_link, put_linked_folder, put_pipe, put_folder, put_socket])
def test_only_a_real_file_is_an_image(
    library: Library, tmp_path: Path, put: Callable[[Path, Path], None]
) -> None:
    """A link, a pipe or a socket in place of an image is neither opened, changed nor deleted."""
    entries = [add_picture(library, index) for index in range(3)]
    ids = [entry.id for entry in entries]
    outside = tmp_path / "outside"
    outside.mkdir()
    for entry in entries:
        file = library.file_path(entry)
        file.rename(outside / file.name)
    for entry in entries:
        if not library.file_path(entry).parent.is_symlink():
            put(library.file_path(entry), outside)
    files_before = read_files(outside)
    assert library.thumbnail(ids[0]) is None
    archive = library.zip_export(entries, "")
    assert b"".join(archive)
    assert len(archive.unreadable) == 3
    assert len(library.export(tmp_path / "export").unreadable) == 3
    assert not set(library.star(ids[:1], None, is_starred=True))
    assert not set(library.trash(ids[1:2], None))
    for id_ in ids:
        with pytest.raises(LibraryError, match="missing"):
            library.read_bytes(id_)
    library.rescan()
    assert set(find_ids(library, parse_query("is:missing"))) == set(ids)
    assert len(library.delete(ids)) == 3
    assert read_files(outside) == files_before


def read_files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file()
    }


WRITER_SCRIPT = """
import sys
from pathlib import Path
from sd35.library.library import Library
from tests.library_fixtures import add_picture
with Library.open(Path(sys.argv[1])) as library:
    for number in range(20):
        entry = add_picture(library, number, prompt=sys.argv[2])
        library.star([entry.id], None, is_starred=True)
    library.trash([entry.id], None)
"""


def test_programs_write_at_once(folder: Path) -> None:
    """Two programs write to one library without losing anything."""
    run = [sys.executable, "-c", WRITER_SCRIPT, str(folder)]
    writers = [subprocess.Popen([*run, name]) for name in ("one", "two")]  # noqa: S603  # ourselves
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with Library.open(folder) as library:
        assert len(find_ids(library, parse_query("is:starred one"))) == 19
        assert len(find_ids(library, parse_query("is:starred two"))) == 19
        assert library.search(parse_query("is:trash")).count == 2
        assert library.rescan(checks_index=True) == ScanResult()
    assert not list((folder / STATE_DIR).glob("*.damaged-*"))


def test_threads_write_at_once(library: Library) -> None:
    """Many threads write to one library without losing anything."""
    first = add_picture(library)
    operations = [lambda n=n: library.tag([first.id], None, [f"t{n}"]) for n in range(6)]
    threads = [
        threading.Thread(target=target)
        for target in [*operations, *(lambda n=n: add_picture(library, n) for n in range(6))]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entry = library.get(first.id)
    assert entry is not None
    assert sorted(entry.metadata.tags) == [f"t{index}" for index in range(6)]
    assert library.search().count == 7


FULL_DISK_SCRIPT = """
import resource, sys
from pathlib import Path
from sd35.core.errors import SD35Error
from sd35.library.query import parse_query
from sd35.library.library import Library
from sd35.core.picture import open_picture
from sd35.metadata.model import GenerationMetadata
from tests.library_fixtures import add_picture, encode_picture
library = Library.open(Path(sys.argv[1]))
small = add_picture(library, 1)
data = encode_picture(2)
data = data[:-12] + (4_000_000).to_bytes(4, "big") + b"xxXx" + bytes(4_000_004) + data[-12:]
large = library.add(open_picture(data), GenerationMetadata(), "")
before = library.read_bytes(large.id)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
for act in (lambda: library.add(open_picture(data), GenerationMetadata(), ""),
            lambda: library.star([large.id], None, is_starred=True),
            lambda: library.export(Path(sys.argv[1] + ".zip")),
            lambda: library.export(Path(sys.argv[1] + "-out"))):
    try:
        act()
    except SD35Error as error:
        print(type(error).__name__, error)
assert library.read_bytes(large.id) == before
add_picture(library, 3)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 3_000_000))
try:
    library.trash([small.id, large.id], None)
except SD35Error as error:
    print(type(error).__name__, error)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))
assert library.read_bytes(small.id)
assert library.read_bytes(large.id) == before
"""


def test_full_disk_damages_nothing(folder: Path) -> None:
    """On a full disk, nothing is half written, and what was there stays."""
    completed = subprocess.run(  # noqa: S603  # ourselves
        [sys.executable, "-c", FULL_DISK_SCRIPT, folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    assert [line.split()[0] for line in completed.stdout.splitlines()] == [
        *["WriteError"] * 4,
        "LibraryError",
    ]
    assert "File too large" in completed.stdout
    assert not list(folder.parent.rglob(".*.part"))
    assert not folder.with_suffix(".zip").exists()
    with Library.open(folder) as library:
        assert len(find_ids(library)) == 3
        assert library.rescan() == ScanResult()


INSTANCE_SCRIPT = """
import sys
from pathlib import Path
from sd35.library.library import Library
library = Library.open(Path(sys.argv[1]))
print(library.instance_id, flush=True)
sys.stdin.read()
"""


def test_killed_program_is_not_alive(folder: Path) -> None:
    """A program that was killed isn't alive; one that runs is."""
    other_process = subprocess.Popen(  # noqa: S603  # ourselves
        [sys.executable, "-c", INSTANCE_SCRIPT, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other_process.stdout is not None
    instance_id = other_process.stdout.readline().strip()
    with Library.open(folder) as library:
        assert library.is_alive(library.instance_id)
        assert library.is_alive(instance_id)
        other_process.kill()
        other_process.communicate()
        assert not library.is_alive(instance_id)
        assert not library.is_alive("../../x")
        assert library.is_alive(library.instance_id)


def test_unusable_folder_is_reported(tmp_path: Path) -> None:
    """A folder that can't be a library is a LibraryError."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(LibraryError, match="--library"):
        Library.open(tmp_path / "file")
    with Library.open(tmp_path) as library:
        shutil.rmtree(tmp_path / STATE_DIR)
        (tmp_path / STATE_DIR).write_text("x")
        for call in (library.search, library.rescan, library.stats, lambda: Library.open(tmp_path)):
            with pytest.raises(LibraryError):
                call()
