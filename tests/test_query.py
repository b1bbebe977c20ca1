"""Search queries: whatever is typed is understood or reported, and finds what it should."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sd35.library import schema
from sd35.library.query import MATCH_ALL, Filter, Query, parse_query
from sd35.library.repository import Entry, upsert_entry
from sd35.library.search import find_page
from sd35.metadata.model import GenerationMetadata
from tests.library_fixtures import NOON


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", MATCH_ALL),
        ("  ", MATCH_ALL),
        ("red boat", Query(terms=("red",), prefix="boat")),
        ("red boat ", Query(terms=("red", "boat"))),
        ('"red boat" x', Query(terms=("red boat",), prefix="x")),
        ('"red boat"', Query(terms=("red boat",))),
        ('say "red boat', Query(terms=("say", "red boat"))),
        ('-red -"old boat" x-y', Query(excluded_terms=("red", "old boat"), prefix="x-y")),
        ("seed:7 steps:40 ", Query(filters=(Filter("seed", (7,)), Filter("steps", (40,))))),
        ("SIZE:1024X576", Query(filters=(Filter("size", (1024, 576)),))),
        ("-tag:sea", Query(filters=(Filter("tag", ("sea",), is_excluded=True),))),
        ('tag:"deep sea"', Query(filters=(Filter("tag", ("deep sea",)),))),
        ("space:turbo", Query(filters=(Filter("space", ("turbo",)),))),
        (
            "is:starred -is:demo",
            Query(filters=(Filter("starred"), Filter("demo", is_excluded=True))),
        ),
        ("is:trash boat", Query(prefix="boat", scope="trash")),
        ("is:failed", Query(scope="failed")),
        ("time:12:30 http://x", Query(terms=("time:12:30",), prefix="http://x")),
        ("seed: 7", Query(filters=(Filter("seed", (7,)),))),
        ("seed: x", Query(terms=("seed:",), prefix="x")),
    ],
)  # fmt: skip
def test_query_is_parsed(text: str, query: Query) -> None:
    """A query is parsed as it was meant."""
    assert parse_query(text) == query


@pytest.mark.parametrize(
    "text",
    [
        *("seed:abc", "seed:-1", f"seed:{2**64}", "steps:٣", "size:1024", "size:axb"),
        *("before:2026-13", "after:yesterday", "on:2026-02-30", "on:0000", "on:9999", "before:1"),
        *("is:nice", "-is:trash", "ratio:x", "ratio:0:1"),
        *('tag:""', "!!!", "🦊", "x" * 5000, "x " * 100),
    ],
)  # fmt: skip
def test_mistake_is_one_problem_and_no_filter(text: str) -> None:
    """A mistake in a query is reported in one sentence, and filters nothing."""
    query = parse_query(text)
    assert len(query.problems) == 1
    assert query.problems[0].endswith(".")
    assert not query.filters


def create_index(*records: GenerationMetadata) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    for record in records:
        made_at = record.made_at or NOON
        entry = Entry(record.id, f"{record.id}.png", "", record, "PNG", 4, 3, 5, made_at)
        upsert_entry(connection, entry, 6)
    return connection


def search_ids(connection: sqlite3.Connection, text: str) -> list[str]:
    return [
        entry.id for entry in find_page(connection, parse_query(text), "", 9, None, None).entries
    ]


@pytest.fixture(scope="module")
def searchable_index() -> Iterator[sqlite3.Connection]:
    lighthouse = GenerationMetadata(
        id="a",
        made_at=NOON,
        prompt="An old lighthouse",
        seed=1,
        space="x/SD-Turbo",
        num_inference_steps=40,
    )
    fox = GenerationMetadata(
        id="b",
        made_at=NOON + dt.timedelta(minutes=1),
        prompt="a fox running to a café",
        negative_prompt="blurry",
        seed=2,
        model="sd-medium",
        is_demo=True,
    )
    night = GenerationMetadata(
        id="c",
        made_at=NOON + dt.timedelta(minutes=2),
        prompt="夜の灯台",
        tags=("Sea",),
        is_starred=True,
        tool="ComfyUI",
    )
    with closing(create_index(lighthouse, fox, night)) as connection:
        yield connection


@pytest.mark.parametrize("seed", [2**53 + 1, 10**15, 2**63 - 1, 2**63, 2**64 - 1])
def test_long_seed_is_found_to_the_last_digit(seed: int) -> None:
    """A seed of 64 bits is found by all its digits, and its neighbors aren't."""
    records = [
        GenerationMetadata(id=id_, seed=number)
        for id_, number in (("a", seed - 1), ("b", seed), ("c", (seed + 1) % 2**64))
    ]
    with closing(create_index(*records)) as connection:
        page = find_page(connection, parse_query(f"seed:{seed}"), "", 9, None, None)
        assert [(entry.id, entry.metadata.seed) for entry in page.entries] == [("b", seed)]
        assert sorted(search_ids(connection, f"-seed:{seed}")) == ["a", "c"]


def timestamp(*date: int) -> float:
    return dt.datetime(*date).astimezone().timestamp()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("on:2026-11-24", timestamp(2026, 11, 24), timestamp(2026, 11, 25)),
        ("on:2026-12", timestamp(2026, 12, 1), timestamp(2027, 1, 1)),
        ("on:2026", timestamp(2026, 1, 1), timestamp(2027, 1, 1)),
        ("after:2026-10", timestamp(2026, 10, 1), float("inf")),
        ("before:2026-11-01", float("-inf"), timestamp(2026, 11, 1)),
    ],
)
def test_dates_are_local_and_exact(text: str, first: float, last: float) -> None:
    """A day, month or year begins and ends at local midnight."""
    (date_filter,) = parse_query(text).filters
    range_start, range_end = date_filter.values
    assert range_start == first
    assert float(range_end) <= last
    assert last - float(range_end) < 1e-3 or last == range_end


@pytest.mark.parametrize(
    ("text", "expected_ids"),
    [
        *(("lighthouse", "a"), ("lighthouses", "a"), ("lightho", "a"), ("runnin", "b")),
        *(("run", "b"), ("RUN", "b"), ("灯台", "c"), ("夜", "c"), ("台灯", "")),
        *(("cafe", "b"), ("café", "b"), ('"old lighthouse"', "a"), ('"lighthouse old"', "")),
        *(("-old", "cb"), ("a -lighthouse", "b"), ("blurry", ""), ("medium", ""), ("studio", "")),
        *(("seed:1", "a"), ("seed:2", "b"), ("-seed:1", "cb"), ("-steps:40", "cb")),
        *(("size:4x3", "cba"), ("ratio:4:3", "cba"), ("ratio:1:1", "")),
        *(("model:MEDIUM", "b"), ("space:Turbo", "a"), ("tool:comfy", "c")),
        *(("tag:sea", "c"), ("sea", "c"), ("tag:s", "")),
        *(("is:starred", "c"), ("-is:starred", "ba"), ("is:demo", "b"), ("-is:demo", "ca")),
        *(("before:2026", ""), ("after:2026", "cba"), ("on:2026-11", "cba")),
        *(("is:trash", ""), ("is:failed", "")),
    ],
)  # fmt: skip
def test_search_finds(searchable_index: sqlite3.Connection, text: str, expected_ids: str) -> None:
    """Words and filters find the images that have them, and no others."""
    assert "".join(search_ids(searchable_index, text)) == expected_ids


QUERY_TEXT = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            [
                *("seed:", "size:", "is:", "on:", "-", '"', "*", "^", "NEAR(", "AND", "OR", "NOT"),
                *("(", ")", "{", "prompt:", "others", "1", "灯", "a", " ", ":", "+", "'", "\\"),
                *("%", "\0", "\ud800", "9" * 30, "𞤀"),
            ]
        )
    ).map("".join),
)  # fmt: skip


@given(QUERY_TEXT)
@example('"' * 10_000)
@example("-:" * 5000)
@example("a " * 5000)
@example("seed:" * 2000)
@example("x" * 10_000)
def test_any_text_is_a_safe_query(text: str) -> None:
    """Nothing that is typed is an operator or an error of SQLite."""
    connection = create_index(GenerationMetadata(id="a", prompt="a picture"))
    assert search_ids(connection, text) in (["a"], [])
    connection.close()


@given(st.text(max_size=80), st.lists(st.text(min_size=1, max_size=20), max_size=3))
@example("灯台lighthouse's naïve “quotes” İstanbul ẞ ﬁ ² x\u0301y", ["a-b", "c d"])
def test_every_word_finds_its_image(prompt: str, tags: list[str]) -> None:
    """An image is found by every word of its prompt and tags, as it is written."""
    connection = create_index(
        GenerationMetadata(id="a", prompt=prompt, tags=tuple(tags)), GenerationMetadata(id="_")
    )
    text = " ".join([prompt, *tags])
    for word in text.replace('"', " ").replace(":", " ").replace("\0", " ").split():
        if not word.startswith("-") and any(
            "a" <= char <= "z" or "一" <= char <= "鿿" for char in word
        ):
            assert search_ids(connection, f"{word} ") == ["a"]
            assert search_ids(connection, word) == ["a"]
    connection.close()
