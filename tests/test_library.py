"""The library: what is put into it is there, whole, and its owner's alone, whatever happens meanwhile."""

import datetime as dt
import io
import sqlite3
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sd35.core.errors import LibraryError
from sd35.core.picture import open_picture
from sd35.library import database, schema, search
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
from sd35.library.thumbnails import ThumbnailCache, render_thumbnail
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

INDEX_PATH = f"{STATE_DIR}/library.sqlite3"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_is_added_is_there(library: Library, kind: str) -> None:
    """A picture's pixels or its record are others in its file; or it isn't found."""
    entry = add_picture(library, 7, kind=kind, prompt="夜の灯台 at night", seed=7, tags=("sea",))
    path = library.file_path(entry)
    assert read_pixels(path.read_bytes()) == read_pixels(encode_picture(7, kind))
    assert read_metadata(path.read_bytes()) == entry.record
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
def test_file_names(prompt: str, seed: int | None, name: str) -> None:
    """A file's name can't be read, can't be written somewhere, or leads out of the folder."""
    noon = dt.datetime(2026, 11, 24, 12).astimezone()
    assert filename_for(GenerationMetadata(prompt=prompt, seed=seed), noon, ".png") == name
    assert directory_for("", noon) == "2026-11-24"
    assert directory_for(ANN, noon) == f"visitors/{ANN}/2026-11-24"


def test_two_of_one_second(library: Library) -> None:
    """A picture takes the place of another one that was made in the same second."""
    paths = [add_picture(library, 1, prompt="same").path for _ in range(3)]
    assert [path.rpartition("same")[2] for path in paths] == [".png", "-2.png", "-3.png"]
    assert len(find_ids(library)) == 3


@pytest.mark.parametrize("owner", ["../x", "a/b", "A", "a" * 65])
def test_who_is_no_owner(library: Library, owner: str) -> None:
    """A made-up key leads out of the visitors' folder."""
    with pytest.raises(ValueError, match="key"):
        add_picture(library, owner=owner)


def test_owner_keys() -> None:
    """An owner's name is readable in a path, or two owners are the same one."""
    keys = [owner_key(owner) for owner in ("here", None, "user:ann", "user:bob", "\ud800")]
    assert keys[:2] == [LOCAL_OWNER_KEY, ANONYMOUS_KEY]
    assert len(set(keys)) == len(keys)
    for key in keys:
        assert owner_from_path(f"{directory_for(key, NOON)}/x.png") == key
        assert owner_from_path(f".studio/trash/{directory_for(key, NOON)}/x.png") == key


def test_what_is_another_s_is_not_there(library: Library) -> None:
    """A visitor sees, changes or deletes what belongs to another one."""
    own_queued, other_entry = add_picture(library, 1, ANN), add_picture(library, 2, BOB)
    both_ids = [own_queued.id, other_entry.id]
    assert (library.get(other_entry.id, ANN), library.thumbnail(other_entry.id, ANN)) == (
        None,
        None,
    )
    with pytest.raises(LibraryError):
        library.read_bytes(other_entry.id, ANN)
    assert library.adjacent_ids(other_entry.id, ANN) == (None, None)
    assert library.adjacent_ids(own_queued.id, ANN) == (None, None)
    assert library.star(both_ids, ANN, is_starred=True) == (own_queued.id,)
    assert library.tag(both_ids, ANN, ["sea"]) == (own_queued.id,)
    assert library.trash(both_ids, ANN) == (own_queued.id,)
    assert library.trash([other_entry.id], BOB) == (other_entry.id,)
    assert library.restore(both_ids, ANN) == (own_queued.id,)
    assert library.empty_trash(ANN) == 0
    assert library.delete(both_ids, ANN) == (own_queued.id,)
    assert find_ids(library, owner=ANN) == []
    assert library.restore(both_ids, None) == (other_entry.id,)
    assert find_ids(library) == [other_entry.id]


def test_stars_and_tags_are_in_the_files(library: Library) -> None:
    """A star or a tag is lost with the index, or changes the picture."""
    entry = add_picture(library, 3)
    assert library.star([entry.id, entry.id, "unknown"], None, is_starred=True) == (entry.id,)
    assert library.star([entry.id], None, is_starred=True) == ()
    assert library.tag([entry.id], None, ["Sea", "sea", "  a  b ", "", "x"], ["X", "y"]) == (
        entry.id,
    )
    assert library.tag([entry.id], None, remove=["SEA"]) == (entry.id,)
    picture_data = library.file_path(entry).read_bytes()
    assert read_pixels(picture_data) == read_pixels(encode_picture(3))
    assert read_metadata(picture_data) == replace(entry.record, is_starred=True, tags=("a b", "x"))
    assert find_ids(library, parse_query('is:starred tag:"A b" tag:x -tag:sea')) == [entry.id]
    assert library.rescan().changed == 0, "the index knows what it has written itself"


def test_the_trash(library: Library) -> None:
    """What is put into the trash is still shown, or doesn't come back, or takes another's place when it does."""
    first, second = add_picture(library, 1, prompt="same"), add_picture(library, 1, prompt="same")
    assert library.trash([first.id, first.id], None) == (first.id,)
    assert find_ids(library) == [second.id]
    assert find_ids(library, parse_query("is:trash")) == [first.id]
    library.file_path(second).rename(library.file_path(first))  # by hand, meanwhile
    library.rescan()
    assert library.restore([first.id], None) == (first.id,)
    restored = library.get(first.id)
    assert restored is not None
    assert restored.path == first.path.replace(".png", "-2.png")
    assert read_metadata(library.read_bytes(first.id)) == first.record
    library.trash([first.id, second.id], None)
    assert library.empty_trash(None) == 2
    assert library.get(first.id) is None
    assert not list(library.folder.rglob("*.png"))


def test_pages_in_both_directions(library: Library) -> None:
    """A picture is left out, or comes twice, as one turns pages: also where many were made at the same moment."""
    for index in range(23):
        add_picture(library, index // 5, ANN if index % 2 else "")
    every = find_ids(library)
    assert (
        every
        == [
            entry.id
            for entry in sorted(
                library.search().entries,
                key=lambda listed_entry: (listed_entry.made_at, listed_entry.id),
            )
        ][::-1]
    )
    pages = [library.search(limit=5)]
    while pages[-1].older_cursor:
        pages.append(library.search(limit=5, older_cursor=pages[-1].older_cursor))
    listed_ids = [entry.id for page in pages for entry in page.entries]
    assert listed_ids == every
    assert pages[0].newer_cursor is None
    page = pages[-1]
    restored = [entry.id for entry in page.entries]
    while page.newer_cursor:
        page = library.search(limit=5, newer_cursor=page.newer_cursor)
        restored = [entry.id for entry in page.entries] + restored
    assert restored == every
    for index, id_ in enumerate(every):
        newer, older = library.adjacent_ids(id_)
        assert newer == (every[index - 1] if index else None)
        assert older == (every[index + 1] if index + 1 < len(every) else None)
    assert (library.search(limit=2).count, library.search(owner=ANN, limit=2).count) == (23, 11)


def test_a_search_counts_to_a_limit(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search finds is counted in full, or the count is another one than what is there."""
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
def test_a_made_up_cursor(library: Library, cursor: str) -> None:
    """Anybody who writes an address ends the page with an error."""
    entry = add_picture(library)
    for page in (library.search(older_cursor=cursor), library.search(newer_cursor=cursor)):
        assert page.entries == (entry,)


def test_counts_are_right_whatever_was_done(library: Library) -> None:
    """What is told without counting isn't what there is."""
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


def test_a_file_that_is_gone(library: Library) -> None:
    """A picture whose file somebody has deleted ends in a crash, or is shown for ever."""
    entry = add_picture(library)
    library.file_path(entry).unlink()
    assert library.star([entry.id], None, is_starred=True) == ()
    assert find_ids(library) == []
    with pytest.raises(LibraryError, match="missing"):
        library.read_bytes(entry.id)
    assert library.thumbnail(entry.id) is None
    assert find_ids(library, parse_query("is:missing")) == [entry.id]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_thumbnails(library: Library, kind: str) -> None:
    """A page of many pictures loads them whole, or shows them lying on their side."""
    data = encode_picture(1, kind, (900, 450))
    small = library.thumbnail(library.add(open_picture(data), GenerationMetadata(), "").id)
    assert small is not None
    with Image.open(small) as image:
        assert (image.format, image.size) == ("WEBP", (320, 160))
    out, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.new("RGB", (90, 45)).save(out, kind, exif=exif)
    rotated_thumbnail = library.thumbnail(
        library.add(open_picture(out.getvalue()), GenerationMetadata(), "").id
    )
    assert rotated_thumbnail is not None
    with Image.open(rotated_thumbnail) as image:
        assert image.size == (45, 90)


def test_a_thumbnail_of_16_bits() -> None:
    """A picture of 16-bit grey is white on a page of many."""
    out = io.BytesIO()
    Image.new("I;16", (64, 64), 0x8000).save(out, "PNG")
    with Image.open(io.BytesIO(render_thumbnail(out.getvalue()))) as image:
        assert image.convert("L").getpixel((32, 32)) == pytest.approx(128, abs=2)


def decompression_bomb() -> bytes:
    """A PNG of some hundred bytes that would be 3.6 gigapixels."""
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(bytes(10**5))),
            (b"IEND", b""),
        )
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
def test_thumbnails_of_damaged_pictures(
    tmp_path_factory: pytest.TempPathFactory, kind: str, choose: st.DataObject
) -> None:
    """A damaged picture, or a bomb, ends the page that shows it."""
    data = bytearray(encode_picture(1, kind, (64, 48)))
    for _ in range(choose.draw(st.integers(1, 8))):
        data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
    directory = tmp_path_factory.mktemp("damaged")
    (directory / "x").write_bytes(
        choose.draw(
            st.sampled_from([bytes(data), bytes(data[: len(data) // 2]), decompression_bomb()])
        )
    )
    small = ThumbnailCache(directory / "small").get("x", directory / "x")
    assert small is None or small.is_file()


def test_thumbnails_take_a_bounded_room(tmp_path: Path) -> None:
    """Thumbnails fill the disk, or those go that are looked at."""
    (tmp_path / "x").write_bytes(encode_picture(1, size=(64, 64)))
    size = len(ThumbnailCache(tmp_path / "one").get("x", tmp_path / "x").read_bytes())  # type: ignore[union-attr]
    small = ThumbnailCache(tmp_path / "small", limit_bytes=size * 5)
    for index in range(12):
        assert small.get("looked at", tmp_path / "x") is not None
        assert small.get(str(index), tmp_path / "x") is not None
        viewed_thumbnail = small.get("looked at", tmp_path / "x")
        assert viewed_thumbnail is not None
        assert small.size_bytes() <= size * 5


def insert_row(connection: sqlite3.Connection, index: int) -> None:
    connection.execute(
        "INSERT INTO pictures (id, path, owner, made_at, prompt, negative_prompt, width, height, model, space, is_demo,"
        " tool, format, size_bytes, mtime_ns, is_starred, record) VALUES"
        " (?, ?, '', ?, 'an old 灯台', '', 32, 24, '', '', 0, 'x', 'PNG', 5, 6, 1, '{\"format\":1,\"tool\":\"x\"}')",
        (f"id{index}", f"{index}.png", float(index)),
    )


@pytest.mark.parametrize("version", range(schema.SCHEMA_VERSION))
def test_every_earlier_index_is_brought_up(folder: Path, version: int) -> None:
    """Who updates the program loses what the index held, or can't search it."""
    (folder / STATE_DIR).mkdir(parents=True)
    connection = sqlite3.connect(folder / INDEX_PATH, isolation_level=None)
    schema.migrate(connection, version)
    for index in range(version and 3):
        insert_row(connection, index)
    connection.close()
    with Library.open(folder) as library:
        query_text = (
            "灯台" if version < 3 else ""
        )  # from then on, who writes a picture writes its words, too
        assert find_ids(library, parse_query(query_text)) == (
            ["id2", "id1", "id0"] if version else []
        )
        assert library.search().count == (3 if version else 0)
        assert library.needs_rescan is not bool(version)
        add_picture(library)


def test_a_step_that_fails(folder: Path) -> None:
    """An index that can't be brought up is left half way between two versions."""
    (folder / STATE_DIR).mkdir(parents=True)
    with closing(sqlite3.connect(folder / INDEX_PATH, isolation_level=None)) as connection:
        schema.migrate(connection, 1)
        connection.execute(
            "CREATE INDEX jobs_stage ON pictures(seed)"
        )  # is in the second step's way
        for _ in range(2):
            with pytest.raises(sqlite3.OperationalError):
                schema.migrate(connection)
        assert schema.schema_version(connection) == 1
        assert not connection.execute("SELECT * FROM sqlite_master WHERE name = 'jobs'").fetchall()
    with pytest.raises(LibraryError):
        Library.open(folder)


def test_an_index_that_is_busy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that holds the index for ever makes this one wait for ever, or keeps it from being read."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with Library.open(folder) as library:
        entry = add_picture(library)
        with closing(
            sqlite3.connect(folder / INDEX_PATH, isolation_level=None)
        ) as other_connection:
            other_connection.execute("BEGIN IMMEDIATE")
            with pytest.raises(LibraryError, match=r"busy.*Try again"):
                library.trash([entry.id], None)
            assert library.search().entries == (entry,)
            other_connection.execute("ROLLBACK")
        assert library.trash([entry.id], None) == (entry.id,)


def test_without_a_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there can't be a write-ahead log, there can't be a library."""
    Library.open(folder).close()
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with closing(sqlite3.connect(folder / INDEX_PATH, isolation_level=None)) as other_connection:
        assert other_connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
        other_connection.execute("BEGIN")
        other_connection.execute("SELECT * FROM pictures").fetchall()  # who reads forbids the log
        library = Library.open(folder)
        other_connection.execute("ROLLBACK")
        entry = add_picture(library)
        assert other_connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        library.close()
    with Library.open(folder) as library:
        assert library.search().entries == (entry,)


@pytest.mark.parametrize(
    ("readable_from", "is_usable"),
    [(schema.SCHEMA_VERSION, True), (schema.SCHEMA_VERSION + 1, False), ("", False)],
)
def test_an_index_of_a_newer_program(folder: Path, readable_from: object, is_usable: bool) -> None:  # noqa: FBT001
    """An older program spoils what a newer one has written, or refuses what it could use."""
    with Library.open(folder) as library:
        add_picture(library)
    connection = sqlite3.connect(folder / INDEX_PATH, isolation_level=None)
    connection.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 5}")
    connection.execute(
        "UPDATE meta SET value = ? WHERE name = 'readable_from'", (str(readable_from),)
    )
    connection.close()
    if is_usable:
        with Library.open(folder) as library:
            assert len(find_ids(library)) == 1
    else:
        with pytest.raises(LibraryError, match=r"newer version.*Please update"):
            Library.open(folder)


def corrupt_middle(data: bytes) -> bytes:
    """The tables are there, and what is in them isn't."""
    first = 8 * 4096
    return data[:first] + b"\xff" * (len(data) - first)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"not a database" * 100,
        lambda data: data[:5000],
        lambda data: data[:100] + bytes(4000),
        corrupt_middle,
    ],
    ids=["garbage", "cut", "zeros", "middle"],
)
def test_a_damaged_index_is_made_anew(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    """A damaged index keeps the program from starting, or takes pictures with it."""
    with Library.open(folder) as library:
        picture_ids = [add_picture(library, index).id for index in range(3)]
    (folder / INDEX_PATH).write_bytes(damage((folder / INDEX_PATH).read_bytes()))
    try:
        with Library.open(folder) as library:
            is_whole = library.needs_rescan
            library.rescan()
    except LibraryError as error:
        assert "Restart" in str(error)
        is_whole = False
    with Library.open(folder) as library:
        assert library.needs_rescan or is_whole
        library.rescan()
        assert find_ids(library) == picture_ids[::-1]
    assert list((folder / STATE_DIR).glob("library.sqlite3.damaged-*"))


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


def test_programs_that_write_at_once(folder: Path) -> None:
    """Two programs with one library lose what the other one has written, or stop."""
    run = [sys.executable, "-c", WRITER_SCRIPT, str(folder)]
    writers = [subprocess.Popen([*run, name]) for name in ("one", "two")]  # noqa: S603  # ourselves
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with Library.open(folder) as library:
        assert len(find_ids(library, parse_query("is:starred one"))) == 19
        assert len(find_ids(library, parse_query("is:starred two"))) == 19
        assert library.search(parse_query("is:trash")).count == 2
        assert not any(field_values(library.rescan()))


def field_values(changes: object) -> list[object]:
    return [
        getattr(changes, name)
        for name in ("added", "moved", "changed", "missing", "back", "unreadable")
    ]


def test_threads_that_write_at_once(library: Library) -> None:
    """A page's many threads get in each other's way."""
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
    assert sorted(entry.record.tags) == [f"t{index}" for index in range(6)]
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


def test_a_full_disk(folder: Path) -> None:
    """A picture that doesn't fit any more takes a former one with it, stays there in halves, or ends the program."""
    completed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", FULL_DISK_SCRIPT, folder],
        capture_output=True,
        text=True,
        check=False,
    )  # ourselves
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
        assert not any(field_values(library.rescan()))


def test_who_is_alive(folder: Path) -> None:
    """A program that was killed counts as running, so that its jobs wait for ever; or one that runs doesn't."""
    code = "import sys; from sd35.library.library import *; from pathlib import Path\n"
    code += "library = Library.open(Path(sys.argv[1])); print(library.instance_id, flush=True); sys.stdin.read()"
    other_process = subprocess.Popen(  # noqa: S603  # ourselves
        [sys.executable, "-c", code, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other_process.stdout is not None
    name = other_process.stdout.readline().strip()
    with Library.open(folder) as library:
        assert library.is_alive(library.instance_id)
        assert library.is_alive(name)
        other_process.kill()
        other_process.communicate()
        assert not library.is_alive(name)
        assert not library.is_alive("../../x")
        assert library.is_alive(library.instance_id)


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """A library where a file is ends the program with a traceback."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(LibraryError, match="--library"):
        Library.open(tmp_path / "file")
    (tmp_path / STATE_DIR / "library.sqlite3").mkdir(parents=True)
    with pytest.raises(LibraryError):
        Library.open(tmp_path)
