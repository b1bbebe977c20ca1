"""The records of jobs in the library's index."""

import datetime as dt
import io
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sd35.core.origin import RequestOrigin
from sd35.core.request import GenerationRequest
from sd35.jobs.record import STORED_STATUSES, JobRecord, JobStatus
from sd35.jobs.repository import _SELECT_RUNS, JobRepository, reorder_jobs
from sd35.jobs.sheets import load_sheet
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import parse_query
from sd35.library.sheet_html import render_page, sheet_archive
from sd35.library.sheet_image import MAX_SIDE, render_sheet
from tests.library_fixtures import ANN, BOB, add_picture, folder, library

__all__ = ["folder", "library"]

LIBRARY_OF_VERSION_4 = Path(__file__).parent / "data" / "library-version-4.zip"
"""Written by the program before the columns of jobs were renamed, with a job of each status."""


def make_record(id_: str, **overrides: Any) -> JobRecord:  # noqa: ANN401  # any of its fields
    request = GenerationRequest(f"a {id_}", seed=7, randomize_seed=False)
    defaults = {
        "owner": "",
        "original_request": replace(request, seed=0, randomize_seed=True),
        "request": request,
        "space": "x/y",
        "created_at": 5.0,
        "worker_id": "me",
    }
    return JobRecord(**{"id": id_, "position": 1.0, **defaults, **overrides})


def joined_ids(jobs: tuple[JobRecord, ...]) -> str:
    return "".join(job.id for job in jobs)


@pytest.fixture
def repository(library: Library) -> JobRepository:
    return JobRepository(library)


@settings(max_examples=25)
@given(
    request=st.builds(
        GenerationRequest,
        prompt=st.text(),
        negative_prompt=st.text(),
        width=st.integers(-(2**60), 2**60),
        guidance_scale=st.floats(allow_nan=False),
        seed=st.integers(),
        randomize_seed=st.booleans(),
    ),
    overrides=st.fixed_dictionaries(
        {
            "status": st.sampled_from(STORED_STATUSES),
            "is_held": st.booleans(),
            "is_api_call": st.booleans(),
            "started_at": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "retry_at": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
            "error_message": st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\0")
            ),
            "picture_id": st.none() | st.just("x"),
        }
    ),
)
def test_job_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, request: GenerationRequest, overrides: dict[str, Any]
) -> None:
    """A job has the same request, status and error after a restart."""
    folder = tmp_path_factory.mktemp("jobs")
    job = make_record("a", request=request, **overrides)
    with Library.open(folder) as library:
        JobRepository(library).add(job)
    with Library.open(folder) as library:
        assert JobRepository(library).get("a") == job


def test_request_of_another_version_is_read(library: Library, repository: JobRepository) -> None:
    """Unknown fields of a stored request are ignored, and malformed ones have their default."""
    repository.add(make_record("a"))
    request_json = (
        '{"prompt": "x", "width": "wide", "seed": true, "guidance_scale": 3, "novel": [1],'
        ' "negative_prompt": null}'
    )
    with closing(sqlite3.connect(library.folder / STATE_DIR / "library.sqlite3")) as connection:
        connection.execute("UPDATE jobs SET request = ?, status = 'novel'", (request_json,))
        connection.commit()
    job = repository.get("a")
    assert job is not None
    assert job.request == GenerationRequest("x", guidance_scale=3)
    assert job.status is JobStatus.CANCELLED


def test_update_changes_the_fields_of_a_job(repository: JobRepository) -> None:
    """An update writes its fields alone, and refuses a name that is no field."""
    job = make_record("a")
    repository.add(job)
    changed = repository.update("a", status=JobStatus.COMPLETED, picture_id="p", ended_at=9.5)
    assert changed == replace(job, status=JobStatus.COMPLETED, picture_id="p", ended_at=9.5)
    assert changed == repository.get("a") == repository.update("a")
    assert repository.update("b", space="z") is None
    with pytest.raises(TypeError):
        repository.update("a", **{"space = '' --": 1})


def test_unfinished_jobs_come_in_queue_order(repository: JobRepository) -> None:
    """Unfinished jobs are sorted by position, also after they were reordered."""
    for name, position in zip("abcd", (2, 4, 3, 1), strict=True):
        owner = ANN if name in "ac" else ""
        worker_id = "you" if name == "d" else "me"
        repository.add(
            make_record(name, owner=owner, worker_id=worker_id, position=float(position))
        )
    assert joined_ids(repository.list_unfinished()) == "dacb"
    positions = [("a", 4.0, False), ("b", 2.0, True)]
    assert repository.apply([lambda connection: reorder_jobs(connection, positions)]) == [None]
    assert joined_ids(repository.list_unfinished()) == "dbca"
    assert [job.is_held for job in repository.list_unfinished()] == [False, True, False, False]
    assert joined_ids(repository.list_unfinished(worker_id="you")) == "d"
    assert joined_ids(repository.list_unfinished(owner=ANN)) == "ca"
    repository.update("d", status=JobStatus.RUNNING)
    repository.update("b", status=JobStatus.COMPLETED)
    assert joined_ids(repository.list_unfinished()) == "dca"
    assert repository.count_by_status() == {
        **dict.fromkeys(STORED_STATUSES, 0),
        JobStatus.PENDING: 2,
        JobStatus.RUNNING: 1,
        JobStatus.COMPLETED: 1,
    }


def test_jobs_of_a_program_that_is_gone_are_adopted(
    library: Library, repository: JobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending jobs are adopted, held; a running one is interrupted unless its image exists."""
    monkeypatch.setattr(library, "is_alive", lambda worker_id: worker_id == "alive")
    me = library.instance_id
    for job in (
        make_record("a", worker_id="dead"),
        make_record("b", worker_id="dead", status=JobStatus.RUNNING),
        make_record("c", worker_id="dead", is_api_call=True),
        make_record("d", worker_id="dead", status=JobStatus.COMPLETED),
        make_record("e", worker_id="alive"),
        make_record("f", worker_id=me),
        make_record("g", worker_id="dead too", position=0.5),
        make_record("h", worker_id="dead too", status=JobStatus.RUNNING),
    ):
        repository.add(job)
    add_picture(library, id="h")
    for _ in range(2):
        repository.adopt_orphans()
        adopted = {job.id: job for job in repository.list_unfinished(worker_id=me)}
        assert list(adopted) == ["g", "a", "f"]
        assert {id_: job.is_held for id_, job in adopted.items()} == {
            "g": True,
            "a": True,
            "f": False,
        }
        assert joined_ids(repository.list_unfinished(worker_id="alive")) == "e"
        assert joined_ids(repository.list_failed("")) == "b", "an API caller has got its error"
        statuses = [job.status for job in filter(None, map(repository.get, "bch"))]
        assert statuses == [JobStatus.INTERRUPTED, JobStatus.INTERRUPTED, JobStatus.COMPLETED]


def test_rescan_completes_a_job_whose_picture_it_finds(
    library: Library, repository: JobRepository
) -> None:
    """A job that seemed to be interrupted is completed once its picture is in the index."""
    repository.add(make_record("a", status=JobStatus.INTERRUPTED))
    add_picture(library, id="a")
    repository.rescan()
    job = repository.get("a")
    assert job is not None
    assert (job.status, job.picture_id) == (JobStatus.COMPLETED, "a")


def test_failed_jobs_are_listed_for_their_owner(repository: JobRepository) -> None:
    """Failed jobs are listed until dismissed; a job that its owner cancelled isn't."""
    statuses = [
        JobStatus.FAILED,
        JobStatus.CANCELLED,
        JobStatus.INTERRUPTED,
        JobStatus.COMPLETED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
    ]
    for index, (name, status) in enumerate(zip("abcdef", statuses, strict=True)):
        repository.add(
            make_record(
                name,
                status=status,
                created_at=float(index),
                owner=BOB if name == "e" else ANN,
                cancel_reason="No page was open." if name == "f" else "",
            )
        )
    assert joined_ids(repository.list_failed(ANN)) == "fca"
    assert joined_ids(repository.list_failed(ANN, limit=1)) == "f"
    repository.update("c", is_dismissed=True)
    assert joined_ids(repository.list_failed(ANN)) == "fa"
    assert joined_ids(repository.list_failed()) == "fea"


@pytest.fixture
def failed_jobs(repository: JobRepository) -> JobRepository:
    """Yield a repository with six failed jobs of Ann's, two per second, and a completed one."""
    for index, name in enumerate("abcdef"):
        request = GenerationRequest(
            f"a Lighthouse {name}", seed=index, width=512, randomize_seed=False
        )
        repository.add(
            make_record(
                name,
                status=JobStatus.FAILED,
                created_at=float(index // 2),
                request=request,
                owner=ANN,
            )
        )
    repository.add(make_record("g", status=JobStatus.COMPLETED, owner=ANN))
    return repository


def test_search_finds_the_longest_seed(repository: JobRepository) -> None:
    """A job is found by all digits of its seed, whatever its prompt says."""
    prompt = f'"seed": {2**64 - 2}, {{"seed": {2**64 - 2}, '
    request = GenerationRequest(prompt, seed=2**64 - 1, randomize_seed=False)
    repository.add(make_record("a", status=JobStatus.FAILED, request=request))
    for seed, expected in ((2**64 - 1, "a"), (2**64 - 2, ""), (2**64 // 10, "")):
        page = repository.search(parse_query(f"is:failed seed:{seed}"))
        assert joined_ids(page.jobs) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "fedcba"),
        ("lighthouse", "fedcba"),
        ("LIGHT", "fedcba"),
        ("-lighthouse", ""),
        ('"lighthouse c"', "c"),
        ("seed:3", "d"),
        ("-seed:3", "fecba"),
        ("size:512x1024 steps:40", "fedcba"),
        ("before:1971", "fedcba"),
        ("after:1971", ""),
        ("space:X/", "fedcba"),
        ("space:z", ""),
    ],
)
def test_search_finds_failed_jobs(failed_jobs: JobRepository, text: str, expected: str) -> None:
    """A query finds jobs by the prompt and by the filters that apply to jobs."""
    query = parse_query(f"is:failed {text}")
    assert joined_ids(failed_jobs.search(query, ANN).jobs) == expected
    assert failed_jobs.search(query, BOB).jobs == ()


def test_search_pages_lead_to_all_jobs(failed_jobs: JobRepository) -> None:
    """Pages follow each other without a gap, and a malformed cursor shows the first one."""
    query = parse_query("is:failed")
    page = failed_jobs.search(query, ANN, limit=4)
    ids = joined_ids(page.jobs)
    while page.older_cursor is not None:
        page = failed_jobs.search(query, ANN, page.older_cursor, limit=1)
        ids += joined_ids(page.jobs)
    assert ids == "fedcba"
    assert joined_ids(failed_jobs.search(query, ANN, "made up").jobs) == "fedcba"


def test_library_of_an_older_version_keeps_its_jobs(folder: Path) -> None:
    """A library that an older program wrote opens with all its images and jobs."""
    with zipfile.ZipFile(LIBRARY_OF_VERSION_4) as archive:
        archive.extractall(folder)
    with Library.open(folder) as library:
        repository = JobRepository(library)
        assert library.search().count == 2
        assert repository.count_by_status() == {
            JobStatus.PENDING: 3,
            JobStatus.RUNNING: 1,
            JobStatus.COMPLETED: 2,
            JobStatus.CANCELLED: 2,
            JobStatus.FAILED: 2,
            JobStatus.INTERRUPTED: 1,
        }
        request = GenerationRequest(
            "a lighthouse", "blurry", 512, 768, 5.5, 20, 7, randomize_seed=False
        )
        assert repository.get("quota") == JobRecord(
            id="quota",
            owner="",
            original_request=replace(request, seed=0, randomize_seed=True),
            request=request,
            space="stabilityai/stable-diffusion-3.5-large",
            created_at=1764000000.0,
            worker_id="gone",
            position=3.0,
            error_kind="quota",
            error_message="You have exceeded your GPU quota.",
            error_remedy="Wait.",
            retry_at=dt.datetime(2026, 11, 26, 9, 38, tzinfo=dt.UTC),
        )
        cancelled = repository.get("unwatched")
        assert cancelled is not None
        assert (cancelled.cancel_outcome, cancelled.cancel_reason) == (
            "MAY_FINISH",
            "No page looked any more.",
        )
        repository.adopt_orphans()
        assert [job.id for job in repository.list_unfinished()] == ["waiting", "quota"]
        assert {job.id for job in repository.list_failed("")} == {"failed", "unwatched", "running"}
        assert {job.id for job in repository.search(parse_query("is:failed")).jobs} == {
            *("failed", "interrupted", "program", "running", "stopped", "unwatched"),
        }


def test_runs_of_a_space_are_read_for_estimates(
    library: Library, repository: JobRepository
) -> None:
    """Runs of one Space and model, the newest first; an image of unknown time is left out."""
    fields: dict[str, Any] = {
        "space": "a/b",
        "model": "large",
        "num_inference_steps": 40,
        "guidance_scale": 4.5,
    }
    for index, seconds in enumerate((20.0, 30.0, None)):
        add_picture(library, index, took_seconds=seconds, **fields)
    add_picture(library, 3, took_seconds=1.0, **{**fields, "space": "a/bc"})
    add_picture(library, 4, took_seconds=1.0, **{**fields, "model": "turbo"})
    add_picture(library, 5, took_seconds=1.0, **fields, is_demo=True)
    entry = add_picture(library, 6, took_seconds=10.0, **fields)
    job = make_record(entry.id, status=JobStatus.COMPLETED, started_at=100.0, ended_at=115.0)
    repository.add(job)
    samples = repository.run_samples("a/b", "large", is_demo=False)
    assert repository.run_samples("a/b", None, is_demo=False) == samples
    assert [(run.seconds, run.wait_seconds) for run in samples] == [
        (10.0, 5.0),
        (30.0, None),
        (20.0, None),
    ]
    with library.database.read_transaction() as connection:
        plan = connection.execute(
            f"EXPLAIN QUERY PLAN {_SELECT_RUNS}", ("a/b", 0, "large", 9)
        ).fetchall()
    assert any("pictures_runs" in row[3] for row in plan)
    assert not any("TEMP B-TREE" in row[3] for row in plan), "many images take no longer than few"


def grid_origin(index: int) -> RequestOrigin:
    """Return the origin of a cell of a grid of 2 × 3."""
    axes = (("Steps", f"{20 + index % 2}"), ("Style", ["Ink", "<b>Oil</b>", "水"][index // 2]))
    return RequestOrigin(axes=axes, set_id="-grid", set_index=index, set_size=6)


def set_fields(origin: RequestOrigin) -> dict[str, Any]:
    """Return an image's metadata of its place in a set."""
    names = ("axes", "set_id", "set_index", "set_size")
    return {name: getattr(origin, name) for name in names}


def test_sheet_of_a_grid_has_all_its_cells(library: Library, repository: JobRepository) -> None:
    """Images, failed and deleted cells stand in their columns and rows, also in files."""
    entries = [
        add_picture(library, index, id=f"p{index}", prompt="fox", **set_fields(grid_origin(index)))
        for index in (4, 0, 1, 5)
    ]
    add_picture(library, 9, owner=ANN, **set_fields(grid_origin(3)))
    for id_, index, changes in (
        ("old", 0, {"status": JobStatus.FAILED}),
        ("failed", 2, {"status": JobStatus.FAILED, "error_message": "No <GPU>."}),
        ("gone", 3, {"status": JobStatus.FAILED, "is_dismissed": True}),
    ):
        origin = grid_origin(index)
        repository.add(make_record(id_, origin=origin, set_id=origin.set_id, **changes))
    library.trash([entries[3].id], None)
    loaded = load_sheet(library, "-grid", "")
    assert loaded is not None
    sheet = loaded.sheet
    assert (sheet.axis_names, sheet.columns) == (("Steps", "Style"), ("20", "21"))
    assert sheet.row_labels == ("Ink", "<b>Oil</b>", "水")
    assert [
        [cell.picture.metadata.id if cell.picture else cell.note for cell in row]
        for row in sheet.rows
    ] == [["p0", "p1"], ["Failed", "No image"], ["p4", "Deleted"]]
    assert [cell.job_id for cell in sheet.rows[1]] == ["failed", ""]
    assert not any(cell.is_pending for cell in sheet.cells)
    assert load_sheet(library, "-grid", BOB) is None
    assert load_sheet(library, "") is None

    page = render_page(sheet)
    assert page.count("data:image/webp") == 3
    assert "&lt;b&gt;Oil&lt;/b&gt;" in page
    assert "No &lt;GPU&gt;." in page
    assert "<script" not in page
    library.file_path(entries[0]).unlink()
    library.file_path(entries[1]).rename(library.file_path(entries[1]).with_name("100% #1?.png"))
    library.rescan()
    loaded = load_sheet(library, "-grid", "")
    assert loaded is not None
    sheet = loaded.sheet
    with zipfile.ZipFile(io.BytesIO(b"".join(sheet_archive(sheet)))) as archive:
        names = archive.namelist()
        assert len(names) == 3
        index_page = archive.read("index.html").decode()
        assert names[0] == "images/001-100% #1?.png"
        assert all(f'src="{quote(name)}"' in index_page for name in names[:2])
        assert archive.read(names[0]) == library.read_bytes(entries[1].id)
    with Image.open(io.BytesIO(render_sheet(sheet))) as image:
        assert image.format == "PNG"
        assert image.width > image.height // 3


def test_sheets_of_hostile_sets_stay_small(library: Library) -> None:
    """Whatever images claim about their set, a sheet has no more cells than a set."""
    for index in range(8):
        axes = (("A" * 999, f"{index}" * 900), ("B", f"{index}"))
        fields: dict[str, Any] = {
            "set_index": index * 10**6 if index % 2 else index,
            "set_size": 10**12,
        }
        add_picture(library, index, set_id="x", axes=axes, **fields)
    loaded = load_sheet(library, "x")
    assert loaded is not None
    assert len(list(loaded.sheet.cells)) <= 500
    with Image.open(io.BytesIO(render_sheet(loaded.sheet))) as image:
        assert max(image.size) <= MAX_SIDE
