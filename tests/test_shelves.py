"""The library's pictures over HTTP: to whom they belong, as they are, and to nobody else."""

import base64
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from PIL import Image

from sd35.core.picture import open_picture
from sd35.core.visitor import owner_from_cookie
from sd35.library.layout import owner_key
from sd35.library.library import Library
from sd35.library.repository import Entry
from sd35.metadata.model import GenerationMetadata, new_id
from sd35.server.accounts import CredentialStore
from sd35.server.auth import BROWSER_COOKIE, Authenticator
from sd35.server.picture_routes import MAX_ZIP_PICTURES
from tests.app_server import CHEAP_HASHER
from tests.gallery_server import GalleryServer, add_picture, serve_gallery


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryServer]:
    """A page for everybody: each browser is a visitor."""
    with serve_gallery(
        tmp_path_factory.mktemp("library"), Authenticator(is_private=False)
    ) as gallery_server:
        yield gallery_server


class VisitorBrowser(httpx.Client):
    """A visitor's browser, which has opened the page."""

    def __init__(self, server: GalleryServer) -> None:
        super().__init__(base_url=server.address, trust_env=False)
        assert self.get("/").status_code == 200
        self.key = owner_key(owner_from_cookie(self.cookies[BROWSER_COOKIE]))


@pytest.fixture
def ann(server: GalleryServer) -> Iterator[VisitorBrowser]:
    with closing(VisitorBrowser(server)) as browser:
        yield browser


@pytest.fixture
def bob(server: GalleryServer) -> Iterator[VisitorBrowser]:
    with closing(VisitorBrowser(server)) as browser:
        yield browser


def add_lighthouse(server: GalleryServer, browser: VisitorBrowser) -> Entry:
    return add_picture(
        server.library, GenerationMetadata(prompt="a lighthouse", seed=7), browser.key, (960, 640)
    )


def download_zip(browser: httpx.Client, *ids: str) -> httpx.Response:
    return browser.post("/studio/zip", data={"ids": ",".join(ids)})


def test_pictures_come_as_they_are(server: GalleryServer, ann: VisitorBrowser) -> None:
    """A picture isn't there for who made it, is another than its file, or is saved without its name."""
    entry = add_lighthouse(server, ann)
    small = ann.get(f"/studio/thumbnail/{entry.id}")
    assert max(Image.open(io.BytesIO(small.content)).size) == 320
    assert small.headers["content-type"] == "image/webp"
    assert small.headers["cache-control"] == "private, max-age=31536000, immutable"
    large = ann.get(f"/studio/picture/{entry.id}")
    assert large.content == server.library.read_bytes(entry.id)
    assert large.headers["content-type"] == "image/png"
    assert "attachment" not in large.headers.get("content-disposition", "")
    assert {small.headers["x-content-type-options"], large.headers["x-content-type-options"]} == {
        "nosniff"
    }
    saved = ann.get(f"/studio/picture/{entry.id}?download")
    assert saved.headers["content-disposition"] == f'attachment; filename="{Path(entry.path).name}"'
    head_response = ann.head(f"/studio/picture/{entry.id}")
    assert (head_response.status_code, head_response.content) == (200, b"")
    assert head_response.headers["content-length"] == str(entry.size_bytes)


def test_nobody_gets_at_another_s(
    server: GalleryServer, ann: VisitorBrowser, bob: VisitorBrowser
) -> None:
    """A picture is handed to somebody else; or it is told that there is one."""
    entry = add_lighthouse(server, ann)
    with httpx.Client(base_url=server.address, trust_env=False) as program:
        for client in (bob, program):
            for path in ("thumbnail", "picture"):
                other_response, missing_response = (
                    client.get(f"/studio/{path}/{id_}") for id_ in (entry.id, new_id())
                )
                assert (other_response.status_code, other_response.text) == (
                    missing_response.status_code,
                    missing_response.text,
                )
                assert other_response.status_code == 404
            assert download_zip(client, entry.id).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "thumbnail/",
        "picture/..",
        "picture/%2e%2e%2flibrary.sqlite3",
        "picture/a/b",
        "picture/" + "a" * 65,
        "picture/%00",
        "picture/a%0A",
        "picture/ſ",
        "thumbnail/..%5c..%5cx",
        "library.sqlite3",
        "",
    ],
)
def test_no_path_is_made_of_what_is_asked(ann: VisitorBrowser, path: str) -> None:
    """A file of the server's can be had, or a request breaks it."""
    assert ann.get(f"/studio/{path}").status_code == 404


def test_many_in_one_file(server: GalleryServer, ann: VisitorBrowser) -> None:
    """The ZIP can't be opened, misses a picture or what is known of it, or breaks off at a file that is gone."""
    entries = [
        add_picture(
            server.library,
            GenerationMetadata(prompt=f"picture {n}", seed=n, tags=("sea",)),
            ann.key,
        )
        for n in range(5)
    ]
    server.library.file_path(entries[3]).unlink()
    server.library.trash([entries[4].id], ann.key)
    answer = download_zip(ann, *(entry.id for entry in entries), entries[0].id)
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    manifest = [json.loads(line) for line in archive.read("pictures.jsonl").splitlines()]
    remaining_entries = [*entries[:3], entries[4]]
    assert [manifest_entry["id"] for manifest_entry in manifest] == [
        entry.id for entry in remaining_entries
    ]
    assert all(
        "/" in manifest_entry["path"] and "visitors" not in manifest_entry["path"]
        for manifest_entry in manifest
    )
    assert [archive.read(manifest_entry["path"]) for manifest_entry in manifest] == [
        server.library.read_bytes(entry.id) for entry in remaining_entries
    ]
    assert [
        (manifest_entry["record"]["seed"], manifest_entry["record"]["tags"])
        for manifest_entry in manifest
    ] == [(n, ["sea"]) for n in (0, 1, 2, 4)]
    assert len(archive.namelist()) == 5


@pytest.mark.parametrize(
    "body",
    [
        "",
        "ids=",
        "ids=../x",
        "ids=a,,b",
        "ids=%ff",
        "ids=" + ",".join(["a"] * 9 + ["b c"]),
        "&" * 50,
    ],
)
def test_what_is_no_list_of_pictures(ann: VisitorBrowser, body: str) -> None:
    """A request for a ZIP breaks the server, or asks for what has no id."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ann.post("/studio/zip", content=body, headers=headers).status_code == 400


def test_a_zip_has_its_limits(ann: VisitorBrowser) -> None:
    """One request reads the whole disk, another site's page asks for it, or a link does."""
    assert download_zip(ann, *(f"a{n}" for n in range(MAX_ZIP_PICTURES + 1))).status_code == 400
    assert download_zip(ann, *(f"a{n}" for n in range(MAX_ZIP_PICTURES))).status_code == 404
    assert (
        ann.post(
            "/studio/zip", data={"ids": "a"}, headers={"Origin": "https://evil.example"}
        ).status_code
        == 403
    )
    assert ann.get("/studio/zip").status_code == 405
    assert ann.post("/studio/picture/a").status_code == 405


def test_a_zip_is_never_in_memory(tmp_path: Path) -> None:
    """Who takes many pictures at once takes as much of the server's memory."""
    with Library.open(tmp_path) as library:
        out = io.BytesIO()
        Image.effect_noise((1000, 1000), 100).save(out, "PNG")
        picture = open_picture(out.getvalue())
        entries = [
            library.add(picture, GenerationMetadata(prompt=f"noise {n}"), "") for n in range(12)
        ]
        tracemalloc.start()
        size = sum(map(len, library.zip_export(entries, "")))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert size > 12 * len(picture.data)
    assert peak < 2 * len(picture.data)


def test_a_page_of_many_is_no_attack(server: GalleryServer, ann: VisitorBrowser) -> None:
    """Who looks through their pictures is told to slow down."""
    entry = add_lighthouse(server, ann)
    assert {ann.get(f"/studio/thumbnail/{entry.id}").status_code for _ in range(400)} == {200}


def test_the_door(tmp_path: Path) -> None:
    """Pictures are handed out without the login that the page needs; or a program with one doesn't get them."""
    accounts = CredentialStore(["ann:ann's password"], hasher=CHEAP_HASHER)
    with (
        serve_gallery(tmp_path, Authenticator(is_private=False, accounts=accounts)) as server,
        httpx.Client(base_url=server.address, trust_env=False) as program,
    ):
        entry = add_picture(
            server.library, GenerationMetadata(prompt="a cat"), owner_key("user:ann")
        )
        response = program.get(f"/studio/picture/{entry.id}")
        assert response.status_code == 401
        assert "www-authenticate" not in response.headers, (
            "or browsers ask for a password at each picture"
        )
        login = base64.b64encode(b"ann:ann's password").decode()
        authorized_response = program.get(
            f"/studio/picture/{entry.id}", headers={"Authorization": f"Basic {login}"}
        )
        assert authorized_response.status_code == 200
