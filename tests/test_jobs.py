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
from sd35.jobs.repository import JobRecord, Jobs, Stage
from sd35.library.database import Database
from sd35.library.layout import HIDDEN
from sd35.library.library import Library
from sd35.library.query import parse_query
from tests.shelves import ANN, BOB, folder, library

__all__ = ["folder", "library"]


def a_job(id_: str, **told: Any) -> JobRecord:  # noqa: ANN401
    request = GenerationRequest(f"a {id_}", seed=7, randomize_seed=False)
    asked = replace(request, seed=0, randomize_seed=True)
    usual = {
        "owner": "",
        "asked": asked,
        "request": request,
        "space": "x/y",
        "created_at": 5.0,
        "runner": "me",
    }
    return JobRecord(**{"id": id_, "position": 1.0, **usual, **told})


def names(jobs: tuple[JobRecord, ...]) -> str:
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
    told=st.fixed_dictionaries(
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
    tmp_path_factory: pytest.TempPathFactory, request: GenerationRequest, told: dict[str, Any]
) -> None:
    """A job is another one after the program was started again: another seed, prompt or error."""
    path = tmp_path_factory.mktemp("jobs") / "index"
    with closing(Database.open(path)) as database:
        job = a_job("a", request=request, **told)
        Jobs(database).add(job)
    with closing(Database.open(path)) as database:
        assert Jobs(database).get("a") == job


def test_what_another_version_wrote(library: Library) -> None:
    """A request that a newer program has kept, with more or other fields, ends the older one."""
    library.jobs.add(a_job("a"))
    connection = sqlite3.connect(library.folder / HIDDEN / "library.sqlite3")
    told = '{"prompt": "x", "width": "wide", "seed": true, "guidance_scale": 3, "novel": [1], "negative_prompt": null}'
    with connection:
        connection.execute("UPDATE jobs SET request = ?", (told,))
    connection.close()
    job = library.jobs.get("a")
    assert job is not None
    assert job.request == GenerationRequest("x", guidance_scale=3)


def test_changes(library: Library) -> None:
    """A change isn't kept, or is kept of something that a job doesn't have."""
    job = a_job("a")
    library.jobs.add(job)
    changed = library.jobs.change("a", stage=Stage.SAVED, picture_id="p", ended_at=9.5)
    assert (
        changed
        == replace(job, stage=Stage.SAVED, picture_id="p", ended_at=9.5)
        == library.jobs.get("a")
    )
    assert library.jobs.change("a") == changed
    assert library.jobs.change("b", space="z") is None
    with pytest.raises(TypeError):
        library.jobs.change("a", **{"space = '' --": 1})
    assert {field.name for field in fields(JobRecord)} >= {"space"}


def test_the_line(library: Library) -> None:
    """Jobs wait in another order than they were put in."""
    for name, position in zip("abcd", (2, 4, 3, 1), strict=True):
        owner, runner = ANN if name in "ac" else "", "you" if name == "d" else "me"
        library.jobs.add(a_job(name, owner=owner, runner=runner, position=float(position)))
    assert names(library.jobs.unfinished()) == "dacb"
    library.jobs.arrange([("a", 4.0, False), ("b", 2.0, True)])
    assert names(library.jobs.unfinished()) == "dbca"
    assert [job.is_held for job in library.jobs.unfinished()] == [False, True, False, False]
    assert names(library.jobs.unfinished(runner="you")) == "d"
    assert names(library.jobs.unfinished(owner=ANN)) == "ca"
    library.jobs.change("d", stage=Stage.RUNNING)
    library.jobs.change("b", stage=Stage.SAVED)
    assert names(library.jobs.unfinished()) == "dca"
    assert library.jobs.counts()[Stage.WAITING] == 2


def test_what_is_left_of_a_program_that_is_gone(library: Library) -> None:
    """A waiting job is lost with its program, goes on without being told to, or runs twice."""
    dead, alive = {"runner": "dead"}, {"runner": "alive"}
    for job in (
        a_job("a", **dead),
        a_job("b", stage=Stage.RUNNING, **dead),
        a_job("c", by_program=True, **dead),
        a_job("d", stage=Stage.SAVED, **dead),
        a_job("e", **alive),
        a_job("f", runner="me"),
        a_job("g", runner="dead too", position=0.5),
    ):
        library.jobs.add(job)
    taken = library.jobs.take_over("me", lambda name: name == "alive")
    assert names(taken) == "ga"
    assert {(job.runner, job.is_held, job.stage) for job in taken} == {("me", True, Stage.WAITING)}
    assert names(library.jobs.troubles("")) == "b", "what a program had asked for, it was told of"
    assert {job.stage for job in filter(None, map(library.jobs.get, "bc"))} == {Stage.INTERRUPTED}
    assert names(library.jobs.unfinished(runner="me")) == "gaf"
    assert names(library.jobs.unfinished(runner="alive")) == "e"
    assert library.jobs.take_over("me", lambda name: name == "alive") == ()


def test_troubles(library: Library) -> None:
    """A failure isn't told, is told to somebody else, or for ever; or what somebody has stopped is told to them."""
    stages = [
        Stage.FAILED,
        Stage.STOPPED,
        Stage.INTERRUPTED,
        Stage.SAVED,
        Stage.FAILED,
        Stage.STOPPED,
    ]
    for name, stage, created in zip("abcdef", stages, range(6), strict=True):
        owner, reason = BOB if name == "e" else ANN, "No page looked." if name == "f" else ""
        library.jobs.add(
            a_job(name, stage=stage, created_at=float(created), owner=owner, reason=reason)
        )
    assert names(library.jobs.troubles(ANN)) == "fca"
    assert names(library.jobs.troubles(ANN, limit=1)) == "f"
    library.jobs.change("c", is_dismissed=True)
    assert names(library.jobs.troubles(ANN)) == "fa"
    assert names(library.jobs.troubles()) == "fea"


def test_failed_jobs_are_found(library: Library) -> None:
    """What failed isn't found by its words, or a page of it leads nowhere."""
    for number, name in enumerate("abcdef"):
        request = GenerationRequest(
            f"a Lighthouse {name}", seed=number, width=512, randomize_seed=False
        )
        library.jobs.add(
            a_job(
                name, stage=Stage.FAILED, created_at=float(number // 2), request=request, owner=ANN
            )
        )
    library.jobs.add(a_job("g", stage=Stage.SAVED, owner=ANN))

    def found(text: str) -> str:
        return names(library.jobs.search(parse_query(f"is:failed {text}"), ANN).jobs)

    assert found("") == "fedcba"
    assert (found("lighthouse"), found("LIGHT"), found("-lighthouse"), found('"lighthouse c"')) == (
        "fedcba",
    ) * 2 + (
        "",
        "c",
    )
    assert (found("seed:3"), found("-seed:3"), found("size:512x1024 steps:40")) == (
        "d",
        "fecba",
        "fedcba",
    )
    assert (found("before:1971"), found("after:1971"), found("space:X/"), found("space:z")) == (
        "fedcba",
        "",
        "fedcba",
        "",
    )
    assert library.jobs.search(parse_query("is:failed"), BOB).jobs == ()
    page, seen = library.jobs.search(parse_query("is:failed"), ANN, limit=4), ""
    while True:
        seen += names(page.jobs)
        if page.older is None:
            break
        page = library.jobs.search(parse_query("is:failed"), ANN, page.older, limit=1)
    assert seen == "fedcba"
    assert names(library.jobs.search(parse_query("is:failed"), ANN, "made up").jobs) == "fedcba"
