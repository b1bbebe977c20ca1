"""Import and export: byte for byte, once each, and nothing is overwritten."""

import datetime as dt
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from sd35.core.errors import LibraryError
from sd35.library.exporter import ExportResult
from sd35.library.importer import ImportResult
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.library_file import MAX_FILE_BYTES
from sd35.library.query import parse_query
from sd35.library.scanner import ScanResult
from sd35.metadata import budget
from sd35.metadata.embedding import embed_metadata, read_metadata
from sd35.metadata.model import (
    MAX_TAG_LENGTH,
    MAX_TAGS,
    GenerationMetadata,
    metadata_from_json,
)
from sd35.metadata.parsing import MAX_TEXT_LENGTH
from sd35.metadata.sidecar import MAX_SIDECAR_BYTES
from tests.library_fixtures import ANN, BOB, add_picture, encode_picture, find_ids, folder, library
from tests.test_readers import COSTLY_TEXTS, encode_png

__all__ = ["folder", "library"]


def test_exported_folder_imports_completely(library: Library, tmp_path: Path) -> None:
    """Stars, tags and dates survive an export to a folder and its import."""
    entries = [
        add_picture(library, index, kind=["PNG", "JPEG", "WEBP"][index % 3], prompt=f"fox {index}")
        for index in range(6)
    ]
    (library.folder / "by hand.png").write_bytes(encode_picture(50))
    os.utime(library.folder / "by hand.png", (10**9, 10**9))
    library.rescan()
    library.star([entries[1].id], None, is_starred=True)
    library.tag([entries[2].id], None, ["sea"])
    library.trash([entries[5].id], None)
    assert library.export(tmp_path / "out") == ExportResult(tmp_path / "out", 6, ())
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "pictures.jsonl").read_text().splitlines()
    ]
    assert [line["id"] for line in lines] == find_ids(library)
    for line in lines:
        entry = library.get(line["id"])
        assert entry is not None
        assert (tmp_path / "out" / line["path"]).read_bytes() == library.read_bytes(entry.id)
        assert metadata_from_json(json.dumps(line["record"])) == entry.metadata
        manifest_values = (line["width"], line["height"], line["format"], line["size"])
        assert manifest_values == (32, 24, entry.format, entry.size_bytes)
    with Library.open(tmp_path / "other") as second_library:
        progress_calls = list[tuple[int, int]]()
        assert second_library.import_from(
            tmp_path / "out", "", lambda *progress: progress_calls.append(progress)
        ) == ImportResult(6, 0)
        assert progress_calls == [(index, 6) for index in range(1, 7)]
        assert find_ids(second_library) == find_ids(library)
        for query in ("is:starred", "tag:sea", "on:2001", "fox"):
            ids = find_ids(library, parse_query(query))
            assert find_ids(second_library, parse_query(query)) == ids != []
        assert [entry.metadata for entry in second_library.search().entries] == [
            entry.metadata for entry in library.search().entries
        ]
        assert second_library.import_from(tmp_path / "out", "") == ImportResult(0, 6)
        assert not second_library.rescan().changed


def test_zip_export_has_only_the_owners_images(library: Library, tmp_path: Path) -> None:
    """A ZIP has the owner's images only, and doesn't tell who the owner is."""
    entry = add_picture(library, 1, ANN, prompt="夜")
    missing = add_picture(library, 2, ANN)
    add_picture(library, 3, BOB)
    library.file_path(missing).unlink()
    os.utime(library.file_path(entry), (10**9, 10**9))
    path = tmp_path / "new" / "out.ZIP"
    assert library.export(path, parse_query(""), ANN) == ExportResult(path, 1, (missing.path,))
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        name = entry.path.removeprefix(f"visitors/{ANN}/")
        assert file.namelist() == [name, "pictures.jsonl"]
        assert file.read(name) == library.read_bytes(entry.id)
        assert file.getinfo(name).date_time[:2] == (2001, 9)
        assert ANN not in file.read("pictures.jsonl").decode()
    assert [directory_entry.name for directory_entry in path.parent.iterdir()] == ["out.ZIP"]


def test_exported_zip_imports_completely(library: Library, tmp_path: Path) -> None:
    """Metadata and stars survive an export to a ZIP and its import."""
    entries = [
        add_picture(library, index, kind=["PNG", "JPEG", "WEBP"][index], prompt=f"fox {index}")
        for index in range(3)
    ]
    library.star([entries[1].id], None, is_starred=True)
    library.export(tmp_path / "out.zip")
    with Library.open(tmp_path / "other") as second_library:
        for result in (ImportResult(3, 0), ImportResult(0, 3)):
            assert second_library.import_from(tmp_path / "out.zip", "") == result
        records = [entry.metadata for entry in second_library.search().entries]
        assert records == [entry.metadata for entry in library.search().entries]
        assert find_ids(second_library, parse_query("is:starred")) == [entries[1].id]


def write_hostile_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(
            zipfile.ZipInfo("../../Old Cat.png", (2001, 2, 3, 4, 5, 6)), encode_picture(10)
        )
        file.writestr(zipfile.ZipInfo("/no day.png", (1980, 0, 0, 0, 0, 0)), encode_picture(11))
        file.writestr("again.png", encode_picture(10))
        file.writestr("x\\.hidden\\y.png", encode_picture(15))
        file.writestr("__MACOSX/._x.png", b"x")
        file.writestr("a/.hidden/x.png", encode_picture(12))
        file.writestr("notes.txt", "x")
        file.writestr("broken.png", encode_picture(13)[:40])
        file.writestr("torn.png", encode_picture(14))
        file.writestr("lzma.png", encode_picture(16, size=(200, 200)), zipfile.ZIP_LZMA)
        file.writestr("bomb.png", bytes((1 << 20) + 1))
        file.writestr("dense.png", bytes(500_000), zipfile.ZIP_BZIP2)
        file.writestr("empty.png", b"")
        file.mkdir("folder.png")
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("locked.png", encode_picture(17))
        file.writestr("unknown method.png", encode_picture(18))
        offsets = [file.getinfo(name).header_offset + 60 for name in ("torn.png", "lzma.png")]
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 255
    # In both headers of a file, the flags of encryption and the number of the method.
    for name, field_offset, value in ((b"locked.png", 6, 1), (b"unknown method.png", 8, 98)):
        local_name = data.find(name)
        central_name = data.rfind(name)
        data[local_name - 30 + field_offset] = value
        data[central_name - 46 + field_offset + 2] = value
    path.write_bytes(data)


def test_hostile_zip_is_harmless(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile ZIP writes nowhere else; what can't be unpacked is reported."""
    monkeypatch.setattr("sd35.library.importer.MAX_FILE_BYTES", 1 << 20)
    path = tmp_path / "hostile.zip"
    write_hostile_zip(path)
    result = library.import_from(path, BOB)
    assert (result.added, result.duplicates) == (2, 1)
    assert {files.reason.json_name: files.paths for files in result.skipped_files} == {
        "damaged": ("broken.png", "torn.png", "lzma.png"),
        "empty": ("empty.png",),
        "too-large": ("bomb.png", "dense.png"),
        "locked": ("locked.png",),
        "unknown-method": ("unknown method.png",),
        "link": ("link.png",),
        "other-kind": ("notes.txt",),
        "hidden": ("x/.hidden/y.png", "__MACOSX/._x.png", "a/.hidden/x.png"),
    }
    (cat,) = library.search(parse_query("on:2001-02-03"), BOB).entries
    assert cat.path.startswith(f"visitors/{BOB}/2001-02-03/")
    assert cat.path.endswith("-old-cat.png")
    assert not list(tmp_path.glob("*.png"))


def test_overlapping_files_of_a_zip_are_refused(library: Library, tmp_path: Path) -> None:
    """A ZIP whose files share their bytes, so that kilobytes unpack to terabytes, is refused."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(1_000_000))
        file.filelist *= 1000
    with pytest.raises(LibraryError, match="overlap"):
        library.import_from(tmp_path / "x.zip", BOB)


def test_images_with_one_name_and_id_are_imported_once_each(
    library: Library, tmp_path: Path
) -> None:
    """Many images that claim one time, prompt and ID are all kept, and none of them twice."""
    metadata = GenerationMetadata(
        id="x", prompt="a fox", made_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    )
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for index in range(30):
            file.writestr(f"{index}.png", embed_metadata(encode_picture(index), metadata))
    assert library.import_from(tmp_path / "x.zip", BOB) == ImportResult(30, 0)
    assert library.import_from(tmp_path / "x.zip", BOB) == ImportResult(0, 30)


def test_costly_images_are_imported_and_found(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images with hostile texts are imported, and found by a scan, within the limits."""
    monkeypatch.setattr(budget, "MAX_STEPS", 60_000)
    for index, texts in enumerate(COSTLY_TEXTS.values()):
        encoded = {name: json.dumps(text, ensure_ascii=False) for name, text in texts.items()}
        for folder_path in (tmp_path / "source", library.folder / "by hand"):
            folder_path.mkdir(exist_ok=True)
            (folder_path / f"{index}.png").write_bytes(encode_png(encoded, is_compressed=True))
    count = len(COSTLY_TEXTS)
    assert library.import_from(tmp_path / "source", BOB) == ImportResult(count, 0)
    assert library.rescan() == ScanResult(added=count)
    for entry in library.search(parse_query("")).entries:
        assert len(entry.metadata.prompt) <= MAX_TEXT_LENGTH
        assert sum(map(len, entry.metadata.tags)) <= MAX_TAGS * MAX_TAG_LENGTH


def test_source_may_be_a_single_image(library: Library, tmp_path: Path) -> None:
    """A single image can be imported, and nothing but images, folders and ZIPs."""
    (tmp_path / "one.png").write_bytes(encode_picture(20))
    assert library.import_from(tmp_path / "one.png", BOB) == ImportResult(1, 0)
    (tmp_path / ".one.png").write_bytes(encode_picture(20))
    assert library.import_from(tmp_path / ".one.png", BOB) == ImportResult(0, 1)
    for name, content, message in (
        ("no.zip", b"PK\3\4 and no more", "damaged or incomplete"),
        ("empty.zip", b"", "damaged or incomplete"),
        ("x.txt", b"x", "PNG, JPEG or WebP"),
        ("x.7z", b"7z\xbc\xaf", "PNG, JPEG or WebP"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LibraryError, match=message):
            library.import_from(tmp_path / name, BOB)


def test_export_overwrites_nothing(library: Library, tmp_path: Path) -> None:
    """An export replaces no file, and doesn't go into the library."""
    entry = add_picture(library)
    (tmp_path / "x.zip").write_bytes(b"mine")
    with pytest.raises(LibraryError, match="already"):
        library.export(tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == b"mine"
    other_file = tmp_path / "out" / entry.path
    other_file.parent.mkdir(parents=True)
    other_file.write_bytes(b"theirs")
    library.export(tmp_path / "out")
    assert other_file.read_bytes() == b"theirs"
    line = json.loads((tmp_path / "out" / "pictures.jsonl").read_text())
    assert (tmp_path / "out" / line["path"]).read_bytes() == library.read_bytes(entry.id)
    for target in (
        tmp_path / "out",
        library.folder / "out",
        library.folder,
        library.folder / "x.zip",
    ):
        with pytest.raises(LibraryError):
            library.export(target)


def test_foreign_images_are_imported_unchanged(library: Library, tmp_path: Path) -> None:
    """An image of another program is imported unchanged, once, with its date."""
    directory = tmp_path / "there" / "deep"
    directory.mkdir(parents=True)
    (directory / "My Cat!.JPG").write_bytes(encode_picture(1, "JPEG"))
    os.utime(directory / "My Cat!.JPG", (10**9, 10**9))
    (directory / "again.Jpe").write_bytes(encode_picture(1, "JPEG"))
    (directory / "broken.png").write_bytes(encode_picture(2)[:40])
    result = library.import_from(tmp_path / "there", ANN)
    assert (result.added, result.duplicates) == (1, 1)
    (entry,) = library.search(parse_query("on:2001"), ANN).entries
    assert library.read_bytes(entry.id) == encode_picture(1, "JPEG")
    assert entry.path.startswith(f"visitors/{ANN}/2001-09-")
    assert entry.path.endswith("-my-cat.jpg")
    assert entry.metadata == GenerationMetadata(id=entry.id, tool="")
    library.star([entry.id], ANN, is_starred=True)
    assert library.import_from(tmp_path / "there", ANN).added == 0, "it is known by what it was"


@pytest.mark.skipif(os.name == "nt", reason="names are bytes, and there are pipes, elsewhere alone")
def test_import_counts_what_it_leaves(library: Library, tmp_path: Path) -> None:
    """An import tells how many files it left and why, with the first names of each kind."""
    source = tmp_path / "there"
    (source / "deep").mkdir(parents=True)
    picture = encode_picture(1)
    for name, content in {
        **{f"{index:02}.txt": b"x" for index in range(30)},
        "deep/x.GIF": b"GIF89a",
        "page.png": b"<!doctype html>",
        "half.webp": picture[:40],
        "empty.jpg": b"",
        "old.ZIP": b"PK",
        ".hidden.png": picture,
        "Thumbs.db": b"x",
        "n" * 250 + ".md": b"x",
    }.items():
        (source / name).write_bytes(content)
    (source / os.fsdecode(b"\xff\xfe.png")).write_bytes(picture)
    with (source / "huge.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    os.mkfifo(source / "pipe.png")
    (source / "folder").symlink_to(tmp_path)
    (source / "deep" / "file.png").symlink_to(source / "page.png")
    (source / "lost.png").symlink_to("nowhere")
    result = library.import_from(source, ANN)
    assert (result.added, result.duplicates) == (1, 0)
    skipped_files = {
        files.reason.json_name: (files.count, files.paths) for files in result.skipped_files
    }
    other_count, other_paths = skipped_files.pop("other-kind")
    assert (other_count, other_paths[:2], len(other_paths)) == (33, ("00.txt", "01.txt"), 20)
    assert skipped_files == {
        "damaged": (2, ("half.webp", "page.png")),
        "empty": (1, ("empty.jpg",)),
        "too-large": (1, ("huge.png",)),
        "link": (3, ("folder", "lost.png", "deep/file.png")),
        "special": (1, ("pipe.png",)),
        "archive": (1, ("old.ZIP",)),
        "hidden": (1, (".hidden.png",)),
    }
    assert [str(files) for files in result.skipped_files][-2:] == [
        "Skipped 33 files: not PNG, JPEG or WebP (00.txt, 01.txt, 02.txt, …).",
        "Skipped 1 item: hidden (.hidden.png).",
    ]


@pytest.mark.parametrize("is_zip", [False, True], ids=["folder", "ZIP"])
def test_settings_beside_an_image_are_imported(
    library: Library, tmp_path: Path, *, is_zip: bool
) -> None:
    """An image without settings gets those of a file beside it, in its file, too; once only."""
    source = tmp_path / "there"
    source.mkdir()
    infotext = "a fox\nNegative prompt: fog\nSteps: 20, Sampler: Euler, Seed: 7, Size: 512x512"
    prompts = [("a.png", "a fox"), ("b.webp", "a cat"), ("c.jpg", "a dog")]
    for index, (name, _) in enumerate(prompts):
        kind = name.partition(".")[2].upper().replace("JPG", "JPEG")
        (source / name).write_bytes(encode_picture(index, kind))
    (source / "a.TXT").write_bytes(infotext.encode("utf-16"))
    (source / "b.webp.json").write_text('{"meta": {"prompt": "a cat", "seed": 8, "cfgScale": 7}}')
    (source / "c.txt").write_text("Prompt: a dog\nSeed: 9\nSteps: 5\nStable Diffusion model: m")
    (source / "x.png").write_bytes(encode_png({"parameters": "a bird"}))
    (source / "x.txt").write_text(infotext)
    (source / "d.png").write_bytes(encode_png({}))
    (source / "d.txt").write_text("1girl, red hair")
    (source / "d.json").write_bytes(b" " * MAX_SIDECAR_BYTES + b"{}")
    path = Path(shutil.make_archive(str(source), "zip", source)) if is_zip else source
    result = library.import_from(path, "")
    (skipped_files,) = result.skipped_files
    assert (skipped_files.count, set(skipped_files.paths)) == (3, {"d.json", "d.txt", "x.txt"})
    assert (result.added, library.import_from(path, "").duplicates) == (5, 5)
    entries = {entry.metadata.prompt: entry for entry in library.search().entries}
    assert {prompt: entries[prompt].metadata.seed for prompt in entries} == {
        **{prompt: index for index, (_, prompt) in enumerate(prompts, 7)},
        "a bird": None,
        "": None,
    }
    for entry in entries.values():
        metadata = read_metadata(library.read_bytes(entry.id)) or GenerationMetadata(tool="")
        assert replace(metadata, id=entry.id) == entry.metadata
    for file in source.glob("*.*[tT]*"):
        file.unlink()
    assert library.import_from(source, "").added == 0, "known without the settings, too"
    assert not library.rescan().changed


def test_edited_copy_is_another_image(library: Library, tmp_path: Path) -> None:
    """An image that was edited elsewhere is imported beside the original."""
    entry = add_picture(library, 1)
    library.star([entry.id], None, is_starred=True)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "as it was.png").write_bytes(
        embed_metadata(encode_picture(1), entry.metadata)
    )
    (tmp_path / "there" / "larger.png").write_bytes(
        embed_metadata(encode_picture(1, size=(64, 48)), entry.metadata)
    )
    for expected_result in (ImportResult(1, 1), ImportResult(0, 2)):
        assert library.import_from(tmp_path / "there", "") == expected_result
    assert not library.rescan().changed
    assert sorted(picture_entry.width for picture_entry in library.search().entries) == [32, 64]


def test_images_of_others_and_in_the_trash_are_no_duplicates(
    library: Library, tmp_path: Path
) -> None:
    """An image that another owner has, or that is in the trash, can be imported once."""
    library.export(tmp_path / "out", parse_query("is:starred"))
    entry = add_picture(library, 1, ANN)
    (tmp_path / "out" / "x.png").write_bytes(library.read_bytes(entry.id))
    for added in (1, 0):
        assert library.import_from(tmp_path / "out", BOB).added == added
    assert len(find_ids(library, owner=BOB)) == 1
    library.trash([entry.id], ANN)
    for added in (1, 0):
        assert library.import_from(tmp_path / "out", ANN).added == added
    assert not library.rescan().added
    assert library.restore([entry.id], ANN) == (entry.id,)
    assert len(find_ids(library, owner=ANN)) == 2


def test_invalid_sources_are_refused(library: Library, tmp_path: Path) -> None:
    """A missing folder, and the library itself, can't be imported."""
    add_picture(library)
    for path in (
        tmp_path / "nothing",
        library.folder,
        library.folder / "2026-11-24",
        library.folder / STATE_DIR,
    ):
        with pytest.raises(LibraryError):
            library.import_from(path, "")
    assert library.import_from(tmp_path, "") == ImportResult(0, 0), (
        "the library lies in it, and is passed over"
    )
    with pytest.raises(ValueError, match="key"):
        library.import_from(tmp_path, "../x")
