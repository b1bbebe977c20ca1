"""Images of the library over HTTP: served unchanged to their owner, and to nobody else."""

import base64
import io
import json
import os
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
    """Serve a public page: each browser is a visitor of its own."""
    with serve_gallery(
        tmp_path_factory.mktemp("library"), Authenticator(is_private=False)
    ) as gallery_server:
        yield gallery_server


class VisitorBrowser(httpx.Client):
    """A visitor's browser that has opened the page."""

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


def send_gallery_event(
    browser: VisitorBrowser, action: str, *ids: str, listener: str = "_on_event"
) -> str:
    """Send an event as the page does, and return the HTML of the grid and the viewer."""
    dependencies = browser.get("/config").json()["dependencies"]
    fn_index = next(d["id"] for d in dependencies if d["api_name"] == listener)
    payload = {
        "data": ["", "All"] if listener == "_on_event" else [],
        "event_data": {"action": action, "ids": ids},
        "fn_index": fn_index,
        "session_hash": "session",
    }
    response = browser.post("/gradio_api/run/predict", json=payload).raise_for_status()
    return "".join(value for value in response.json()["data"][:2] if isinstance(value, str))


def test_image_is_served_unchanged(server: GalleryServer, ann: VisitorBrowser) -> None:
    """The owner gets the thumbnail, the file byte by byte, and a download under the file's name."""
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


def test_images_of_others_do_not_exist(
    server: GalleryServer, ann: VisitorBrowser, bob: VisitorBrowser
) -> None:
    """For other visitors and programs, an image answers just like one that doesn't exist."""
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


def test_sheets_show_a_set_to_its_owner_alone(
    server: GalleryServer, ann: VisitorBrowser, bob: VisitorBrowser
) -> None:
    """A set is saved as a file, never shown as a page of this site; others don't have that set."""
    record = GenerationMetadata(prompt="<script>", set_id="-s", set_index=1, set_size=2)
    entry = add_picture(server.library, record, ann.key, (96, 64))
    responses = {kind: ann.get(f"/studio/sheet/-s.{kind}") for kind in ("html", "zip", "png")}
    for kind, response in responses.items():
        assert response.status_code == 200
        assert response.headers["content-disposition"].startswith("attachment")
        assert response.headers["content-disposition"].endswith(f'.{kind}"')
        assert response.headers["x-content-type-options"] == "nosniff"
        assert bob.get(f"/studio/sheet/-s.{kind}").status_code == 404
    assert "&lt;script&gt;" in responses["html"].text
    assert "<script" not in responses["html"].text
    assert open_picture(responses["png"].content).format == "PNG"
    with zipfile.ZipFile(io.BytesIO(responses["zip"].content)) as archive:
        picture_name, page_name = archive.namelist()
        assert page_name == "index.html"
        assert archive.read(picture_name) == server.library.read_bytes(entry.id)
    assert "Show the set" in send_gallery_event(ann, "open", entry.id)


def test_library_tab_shows_and_changes_only_own_images(
    server: GalleryServer, ann: VisitorBrowser, bob: VisitorBrowser
) -> None:
    """Through the page's events, too, a visitor neither sees nor changes another's images."""
    entry = add_lighthouse(server, ann)
    assert entry.id in send_gallery_event(ann, "page")
    for action in ("star", "trash", "page"):
        assert "No images yet" in send_gallery_event(bob, action, entry.id)
    assert "Image not found" in send_gallery_event(bob, "open", entry.id)
    own = add_lighthouse(server, bob)
    for action in ("compare", "star", "trash"):
        html = send_gallery_event(bob, action, own.id, entry.id, listener="_on_comparison")
        assert entry.id not in html
        assert "1 image" in html, "it isn't said that one is missing"
    assert server.library.get(entry.id) == entry


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_link_or_pipe_in_place_of_an_image_is_not_found(
    server: GalleryServer, ann: VisitorBrowser, tmp_path: Path, kind: str
) -> None:
    """A link or a pipe in place of an image or its thumbnail is neither followed nor awaited."""
    entry = add_lighthouse(server, ann)
    thumbnail = server.library.thumbnail(entry.id)
    assert thumbnail is not None
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for file in (thumbnail, server.library.file_path(entry)):
        file.unlink()
        if kind == "link":
            file.symlink_to(secret)
        else:
            os.mkfifo(file)
        assert ann.get(f"/studio/thumbnail/{entry.id}").content.startswith(b"RIFF"), "a new one"
    for query in ("", "?download"):
        assert ann.get(f"/studio/picture/{entry.id}{query}").status_code == 404


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
def test_invalid_id_is_not_found(ann: VisitorBrowser, path: str) -> None:
    """An id is never used as a path: whatever isn't an id is not found."""
    assert ann.get(f"/studio/{path}").status_code == 404


def test_zip_holds_images_and_metadata(server: GalleryServer, ann: VisitorBrowser) -> None:
    """The ZIP holds each image once, with a manifest, and leaves out missing files."""
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
    response = download_zip(ann, *(entry.id for entry in entries), entries[0].id)
    assert response.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(response.content))
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
def test_zip_needs_a_valid_list_of_ids(ann: VisitorBrowser, body: str) -> None:
    """A ZIP request without a valid list of ids is a bad request."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ann.post("/studio/zip", content=body, headers=headers).status_code == 400


def test_zip_is_limited(ann: VisitorBrowser) -> None:
    """A ZIP has a maximum size, and neither another site nor a link can request one."""
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


def test_zip_is_streamed(tmp_path: Path) -> None:
    """A ZIP of many images takes less memory than two of them."""
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


def test_browsing_is_not_throttled(server: GalleryServer, ann: VisitorBrowser) -> None:
    """Hundreds of thumbnails in a row stay within the rate limit."""
    entry = add_lighthouse(server, ann)
    assert {ann.get(f"/studio/thumbnail/{entry.id}").status_code for _ in range(400)} == {200}


def test_login_protects_images(tmp_path: Path) -> None:
    """With a login, images need it too; programs may send it as Basic authentication."""
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
