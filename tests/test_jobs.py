"""Jobs in the index: what was asked for outlives the program that was asked."""

import datetime as dt
import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sd35.core.request import GenerationRequest
from sd35.jobs.repository import JobRecord, JobRepository, Stage
from sd35.library.database import Database
from sd35.library.layout import STATE_DIR
from sd35.library.library import Library
from sd35.library.query import parse_query
from tests.library_fixtures import ANN, BOB, folder, library

__all__ = ["folder", "library"]


def make_record(id_: str, **overrides: Any) -> JobRecord:  # noqa: ANN401
    request = GenerationRequest(f"a {id_}", seed=7, randomize_seed=False)
    original_request = replace(request, seed=0, randomize_seed=True)
    defaults = {
        "owner": "",
        "asked": original_request,
        "request": request,
        "space": "x/y",
        "created_at": 5.0,
        "runner": "me",
    }
    return JobRecord(**{"id": id_, "position": 1.0, **defaults, **overrides})


def joined_ids(jobs: tuple[JobRecord, ...]) -> str:
    return "".join(job.id for job in jobs)


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
            "stage": st.sampled_from(Stage),
            "is_held": st.booleans(),
            "by_program": st.booleans(),
            "started_at": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "retry_at": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
            "error_happened": st.text(
                st.characters(exclude_categories=["Cs"], exclude_characters="\0")
            ),
            "picture_id": st.none() | st.just("x"),
        }
    ),
)
def test_a_job_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, request: GenerationRequest, overrides: dict[str, Any]
) -> None:
    """A job is another one after the program was started again: another seed, prompt or error."""
    path = tmp_path_factory.mktemp("jobs") / "index"
    with closing(Database.open(path)) as database:
        job = make_record("a", request=request, **overrides)
        JobRepository(database).add(job)
    with closing(Database.open(path)) as database:
        assert JobRepository(database).get("a") == job


def test_what_another_version_wrote(library: Library) -> None:
    """A request that a newer program has kept, with more or other fields, ends the older one."""
    library.jobs.add(make_record("a"))
    connection = sqlite3.connect(library.folder / STATE_DIR / "library.sqlite3")
    request_json = '{"prompt": "x", "width": "wide", "seed": true, "guidance_scale": 3, "novel": [1], "negative_prompt": null}'
    with connection:
        connection.execute("UPDATE jobs SET request = ?", (request_json,))
    connection.close()
    job = library.jobs.get("a")
    assert job is not None
    assert job.request == GenerationRequest("x", guidance_scale=3)


def test_changes(library: Library) -> None:
    """A change isn't kept, or is kept of something that a job doesn't have."""
    job = make_record("a")
    library.jobs.add(job)
    changed = library.jobs.update("a", stage=Stage.COMPLETED, picture_id="p", ended_at=9.5)
    assert (
        changed
        == replace(job, stage=Stage.COMPLETED, picture_id="p", ended_at=9.5)
        == library.jobs.get("a")
    )
    assert library.jobs.update("a") == changed
    assert library.jobs.update("b", space="z") is None
    with pytest.raises(TypeError):
        library.jobs.update("a", **{"space = '' --": 1})
    assert {field.name for field in fields(JobRecord)} >= {"space"}


def test_the_line(library: Library) -> None:
    """Jobs wait in another order than they were put in."""
    for name, position in zip("abcd", (2, 4, 3, 1), strict=True):
        owner, runner = ANN if name in "ac" else "", "you" if name == "d" else "me"
        library.jobs.add(make_record(name, owner=owner, runner=runner, position=float(position)))
    assert joined_ids(library.jobs.list_unfinished()) == "dacb"
    library.jobs.reorder([("a", 4.0, False), ("b", 2.0, True)])
    assert joined_ids(library.jobs.list_unfinished()) == "dbca"
    assert [job.is_held for job in library.jobs.list_unfinished()] == [False, True, False, False]
    assert joined_ids(library.jobs.list_unfinished(runner="you")) == "d"
    assert joined_ids(library.jobs.list_unfinished(owner=ANN)) == "ca"
    library.jobs.update("d", stage=Stage.RUNNING)
    library.jobs.update("b", stage=Stage.COMPLETED)
    assert joined_ids(library.jobs.list_unfinished()) == "dca"
    assert library.jobs.count_by_status()[Stage.PENDING] == 2


def test_what_is_left_of_a_program_that_is_gone(library: Library) -> None:
    """A waiting job is lost with its program, goes on without being told to, or runs twice."""
    dead, alive = {"runner": "dead"}, {"runner": "alive"}
    for job in (
        make_record("a", **dead),
        make_record("b", stage=Stage.RUNNING, **dead),
        make_record("c", by_program=True, **dead),
        make_record("d", stage=Stage.COMPLETED, **dead),
        make_record("e", **alive),
        make_record("f", runner="me"),
        make_record("g", runner="dead too", position=0.5),
    ):
        library.jobs.add(job)
    adopted_jobs = library.jobs.adopt_orphans("me", lambda name: name == "alive")
    assert joined_ids(adopted_jobs) == "ga"
    assert {(job.runner, job.is_held, job.stage) for job in adopted_jobs} == {
        ("me", True, Stage.PENDING)
    }
    assert joined_ids(library.jobs.list_failed("")) == "b", (
        "what a program had asked for, it was told of"
    )
    assert {job.stage for job in filter(None, map(library.jobs.get, "bc"))} == {Stage.INTERRUPTED}
    assert joined_ids(library.jobs.list_unfinished(runner="me")) == "gaf"
    assert joined_ids(library.jobs.list_unfinished(runner="alive")) == "e"
    assert library.jobs.adopt_orphans("me", lambda name: name == "alive") == ()


def test_troubles(library: Library) -> None:
    """A failure isn't told, is told to somebody else, or for ever; or what somebody has stopped is told to them."""
    stages = [
        Stage.FAILED,
        Stage.CANCELLED,
        Stage.INTERRUPTED,
        Stage.COMPLETED,
        Stage.FAILED,
        Stage.CANCELLED,
    ]
    for name, stage, created in zip("abcdef", stages, range(6), strict=True):
        owner, reason = BOB if name == "e" else ANN, "No page looked." if name == "f" else ""
        library.jobs.add(
            make_record(name, stage=stage, created_at=float(created), owner=owner, reason=reason)
        )
    assert joined_ids(library.jobs.list_failed(ANN)) == "fca"
    assert joined_ids(library.jobs.list_failed(ANN, limit=1)) == "f"
    library.jobs.update("c", is_dismissed=True)
    assert joined_ids(library.jobs.list_failed(ANN)) == "fa"
    assert joined_ids(library.jobs.list_failed()) == "fea"


def test_failed_jobs_are_found(library: Library) -> None:
    """What failed isn't found by its words, or a page of it leads nowhere."""
    for index, name in enumerate("abcdef"):
        request = GenerationRequest(
            f"a Lighthouse {name}", seed=index, width=512, randomize_seed=False
        )
        library.jobs.add(
            make_record(
                name, stage=Stage.FAILED, created_at=float(index // 2), request=request, owner=ANN
            )
        )
    library.jobs.add(make_record("g", stage=Stage.COMPLETED, owner=ANN))

    def find_names(text: str) -> str:
        return joined_ids(library.jobs.search(parse_query(f"is:failed {text}"), ANN).jobs)

    assert find_names("") == "fedcba"
    assert (
        find_names("lighthouse"),
        find_names("LIGHT"),
        find_names("-lighthouse"),
        find_names('"lighthouse c"'),
    ) == ("fedcba",) * 2 + (
        "",
        "c",
    )
    assert (find_names("seed:3"), find_names("-seed:3"), find_names("size:512x1024 steps:40")) == (
        "d",
        "fecba",
        "fedcba",
    )
    assert (
        find_names("before:1971"),
        find_names("after:1971"),
        find_names("space:X/"),
        find_names("space:z"),
    ) == (
        "fedcba",
        "",
        "fedcba",
        "",
    )
    assert library.jobs.search(parse_query("is:failed"), BOB).jobs == ()
    page, collected_names = library.jobs.search(parse_query("is:failed"), ANN, limit=4), ""
    while True:
        collected_names += joined_ids(page.jobs)
        if page.older_cursor is None:
            break
        page = library.jobs.search(parse_query("is:failed"), ANN, page.older_cursor, limit=1)
    assert collected_names == "fedcba"
    assert (
        joined_ids(library.jobs.search(parse_query("is:failed"), ANN, "made up").jobs) == "fedcba"
    )
