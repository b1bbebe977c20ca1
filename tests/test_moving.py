"""Pictures from elsewhere and to elsewhere: byte for byte, once, and nothing that was there is lost."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from sd35.core.errors import LibraryError
from sd35.library.exporter import Exported
from sd35.library.importer import Imported
from sd35.library.layout import HIDDEN
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.metadata.embedding import embed_record
from sd35.metadata.model import Record, read_record
from tests.shelves import ANN, BOB, encoded, folder, ids, library, put

__all__ = ["folder", "library"]


def test_an_export_brought_back(library: Library, tmp_path: Path) -> None:
    """A star, a tag or a date is lost on the way from one library to another."""
    made = [
        put(library, number, kind=["PNG", "JPEG", "WEBP"][number % 3], prompt=f"fox {number}")
        for number in range(6)
    ]
    (library.folder / "by hand.png").write_bytes(encoded(50))
    os.utime(library.folder / "by hand.png", (10**9, 10**9))
    library.rescan()
    library.star([made[1].id], None, is_starred=True)
    library.tag([made[2].id], None, ["sea"])
    library.trash([made[5].id], None)
    assert library.export(tmp_path / "out") == Exported(tmp_path / "out", 6, ())
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "pictures.jsonl").read_text().splitlines()
    ]
    assert [line["id"] for line in lines] == ids(library)
    for line in lines:
        entry = library.entry(line["id"])
        assert entry is not None
        assert (tmp_path / "out" / line["path"]).read_bytes() == library.read(entry.id)
        assert read_record(json.dumps(line["record"])) == entry.record
        told = (line["width"], line["height"], line["format"], line["size"])
        assert told == (32, 24, entry.format, entry.size_bytes)
    with Library.open(tmp_path / "other") as other:
        told_of = list[tuple[int, int]]()
        assert other.import_from(
            tmp_path / "out", "", lambda *told: told_of.append(told)
        ) == Imported(6, 0, ())
        assert told_of == [(number, 6) for number in range(1, 7)]
        assert ids(other) == ids(library)
        for query in ("is:starred", "tag:sea", "on:2001", "fox"):
            assert ids(other, parse_query(query)) == ids(library, parse_query(query)) != []
        assert [entry.record for entry in other.page().entries] == [
            entry.record for entry in library.page().entries
        ]
        assert other.import_from(tmp_path / "out", "") == Imported(0, 6, ())
        assert not other.rescan().changed


def test_into_a_zip(library: Library, tmp_path: Path) -> None:
    """A .zip holds somebody else's pictures, tells who they are, or can't be opened."""
    entry, lost = put(library, 1, ANN, prompt="夜"), put(library, 2, ANN)
    put(library, 3, BOB)
    library.path_of(lost).unlink()
    path = tmp_path / "new" / "out.ZIP"
    assert library.export(path, parse_query(""), ANN) == Exported(path, 1, (lost.path,))
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        name = entry.path.removeprefix(f"visitors/{ANN}/")
        assert file.namelist() == [name, "pictures.jsonl"]
        assert file.read(name) == library.read(entry.id)
        assert ANN not in file.read("pictures.jsonl").decode()
    assert [each.name for each in path.parent.iterdir()] == ["out.ZIP"]


def test_out_of_a_zip(library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported .zip can't be brought back, or what somebody has made of one ends it, or gets somewhere else."""
    made = [
        put(library, number, kind=["PNG", "JPEG", "WEBP"][number], prompt=f"fox {number}")
        for number in range(3)
    ]
    library.star([made[1].id], None, is_starred=True)
    library.export(tmp_path / "out.zip")
    with Library.open(tmp_path / "other") as other:
        for done in (Imported(3, 0, ()), Imported(0, 3, ())):
            assert other.import_from(tmp_path / "out.zip", "") == done
        assert [entry.record for entry in other.page().entries] == [
            entry.record for entry in library.page().entries
        ]
        assert ids(other, parse_query("is:starred")) == [made[1].id]

    monkeypatch.setattr("sd35.library.importer.MAX_BYTES", 1 << 20)
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("../../Old Cat.png", (2001, 2, 3, 4, 5, 6)), encoded(10))
        file.writestr(zipfile.ZipInfo("/no day.png", (1980, 0, 0, 0, 0, 0)), encoded(11))
        file.writestr("again.png", encoded(10))
        file.writestr("x\\.hidden\\y.png", encoded(15))
        file.writestr("__MACOSX/._x.png", b"x")
        file.writestr("a/.hidden/x.png", encoded(12))
        file.writestr("notes.txt", "x")
        file.writestr("broken.png", encoded(13)[:40])
        file.writestr("torn.png", encoded(14))
        torn = file.getinfo("torn.png")
        file.writestr("lzma.png", encoded(16, size=(200, 200)), zipfile.ZIP_LZMA)
        lzma = file.getinfo("lzma.png")
        file.writestr("bomb.png", bytes((1 << 20) + 1))
    data = bytearray(hostile.read_bytes())
    for info in (torn, lzma):
        data[info.header_offset + 60] ^= 255
    hostile.write_bytes(data)
    done = library.import_from(hostile, BOB)
    assert done == Imported(
        2, 1, tuple(hostile / name for name in ("broken.png", "torn.png", "lzma.png", "bomb.png"))
    )
    (cat,) = library.page(parse_query("on:2001-02-03"), BOB).entries
    assert cat.path.startswith(f"visitors/{BOB}/2001-02-03/")
    assert cat.path.endswith("-old-cat.png")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".png") == []

    (tmp_path / "one.png").write_bytes(encoded(20))
    assert library.import_from(tmp_path / "one.png", BOB) == Imported(1, 0, ())
    for name, held in (("no.zip", b"PK\3\4 and nothing more"), ("x.txt", b"x"), ("empty.zip", b"")):
        (tmp_path / name).write_bytes(held)
        with pytest.raises(LibraryError, match="no picture"):
            library.import_from(tmp_path / name, BOB)


def test_an_export_overwrites_nothing(library: Library, tmp_path: Path) -> None:
    """An export takes the place of an earlier one, or fills the library with copies of itself."""
    entry = put(library)
    (tmp_path / "x.zip").write_bytes(b"mine")
    with pytest.raises(LibraryError, match="already"):
        library.export(tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == b"mine"
    theirs = tmp_path / "out" / entry.path
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    library.export(tmp_path / "out")
    assert theirs.read_bytes() == b"theirs"
    line = json.loads((tmp_path / "out" / "pictures.jsonl").read_text())
    assert (tmp_path / "out" / line["path"]).read_bytes() == library.read(entry.id)
    for target in (
        tmp_path / "out",
        library.folder / "out",
        library.folder,
        library.folder / "x.zip",
    ):
        with pytest.raises(LibraryError):
            library.export(target)


def test_pictures_of_other_programs(library: Library, tmp_path: Path) -> None:
    """A picture is changed on its way in, comes twice, or what is no picture ends it."""
    there = tmp_path / "there" / "deep"
    there.mkdir(parents=True)
    (there / "My Cat!.JPG").write_bytes(encoded(1, "JPEG"))
    os.utime(there / "My Cat!.JPG", (10**9, 10**9))
    (there / "again.jpg").write_bytes(encoded(1, "JPEG"))
    (there / "broken.png").write_bytes(encoded(2)[:40])
    (there / "text.txt").write_text("x")
    (there / ".hidden.png").write_bytes(encoded(3))
    done = library.import_from(tmp_path / "there", ANN)
    assert done == Imported(1, 1, (there / "broken.png",))
    (entry,) = library.page(parse_query("on:2001"), ANN).entries
    assert library.read(entry.id) == encoded(1, "JPEG")
    assert entry.path.startswith(f"visitors/{ANN}/2001-09-")
    assert entry.path.endswith("-my-cat.jpg")
    assert entry.record == Record(id=entry.id, tool="")
    library.star([entry.id], ANN, is_starred=True)
    assert library.import_from(tmp_path / "there", ANN).added == 0, "it is known by what it was"


def test_an_edited_copy(library: Library, tmp_path: Path) -> None:
    """A picture that was made larger elsewhere is passed over, since it still tells which one it was."""
    entry = put(library, 1)
    library.star([entry.id], None, is_starred=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "as it was.png").write_bytes(embed_record(encoded(1), entry.record))
    (tmp_path / "there" / "larger.png").write_bytes(
        embed_record(encoded(1, size=(64, 48)), entry.record)
    )
    for done in (Imported(1, 1, ()), Imported(0, 2, ())):
        assert library.import_from(tmp_path / "there", "") == done
    assert not library.rescan().changed
    assert sorted(each.width for each in library.page().entries) == [32, 64]


def test_what_is_there_for_somebody_else(library: Library, tmp_path: Path) -> None:
    """A picture that another owner has, or that lies in the trash, can't be brought in; or comes again each time."""
    library.export(tmp_path / "out", parse_query("is:starred"))
    entry = put(library, 1, ANN)
    (tmp_path / "out" / "x.png").write_bytes(library.read(entry.id))
    for added in (1, 0):
        assert library.import_from(tmp_path / "out", BOB).added == added
    assert len(ids(library, owner=BOB)) == 1
    library.trash([entry.id], ANN)
    for added in (1, 0):
        assert library.import_from(tmp_path / "out", ANN).added == added
    assert not library.rescan().added
    assert library.restore([entry.id], ANN) == (entry.id,)
    assert len(ids(library, owner=ANN)) == 2


def test_folders_that_are_none(library: Library, tmp_path: Path) -> None:
    """A library is imported into itself, or a folder that isn't there ends it with a traceback."""
    put(library)
    for path in (
        tmp_path / "nothing",
        library.folder,
        library.folder / "2026-11-24",
        library.folder / HIDDEN,
    ):
        with pytest.raises(LibraryError):
            library.import_from(path, "")
    assert library.import_from(tmp_path, "") == Imported(0, 0, ()), (
        "the library lies in it, and is passed over"
    )
    with pytest.raises(ValueError, match="key"):
        library.import_from(tmp_path, "../x")
