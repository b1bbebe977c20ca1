"""Texts that the page, the terminal and agents share."""

import datetime as dt
import io
import logging

import pytest

from sd35.core.events import Notice, Progress, Queued, Waiting
from sd35.core.file_names import file_name
from sd35.core.log_format import PrintableFormatter
from sd35.core.picture import Picture
from sd35.core.text import (
    format_bytes,
    format_duration,
    format_elapsed,
    format_estimate,
    format_local_time,
    local_queue_text,
    notice_text,
    one_line,
    ordinal,
    pluralize,
    progress_text,
    queue_text,
    waiting_text,
)


@pytest.mark.parametrize(
    ("byte_count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_500, "2 KB"),
        (1_340_000, "1.3 MB"),
        (2_000_000_000, "2.0 GB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(byte_count: int, text: str) -> None:
    assert format_bytes(byte_count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (12.9, "12 s"),
        (60, "1 min"),
        (65, "1 min 5 s"),
        (300, "5 min"),
        (3600, "1 h"),
        (3725, "1 h 2 min 5 s"),
    ],
)
def test_durations_skip_units_that_are_zero(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "a few seconds"),
        (12.4, "about 12 s"),
        (19.8, "about 20 s"),
        (43, "about 45 s"),
        (88, "about 1 min 30 s"),
        (119, "about 2 min"),
        (200, "about 3 min 30 s"),
        (380, "about 6 min"),
        (3590, "about 1 h"),
        (4700, "about 1 h 20 min"),
    ],
)
def test_estimates_have_no_digits_that_nobody_knows(seconds: float, text: str) -> None:
    assert format_estimate(seconds) == text


def test_elapsed_time_has_tenths_below_a_minute() -> None:
    assert format_elapsed(3.24) == "3.2 s"
    assert format_elapsed(83.2) == "1 min 23 s"


def test_a_clock_time_is_local_and_has_its_day_unless_that_is_today() -> None:
    now = dt.datetime.now().astimezone()
    noon = now.replace(hour=12, minute=5)
    later = noon + dt.timedelta(days=40)
    assert format_local_time(noon.astimezone(dt.UTC)) == "12:05"
    assert format_local_time(noon + dt.timedelta(days=1)) == "12:05 tomorrow"
    assert format_local_time(later) == f"12:05 on {later.day} {later:%B %Y}"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 images"), (1, "1 image"), (1_200, "1,200 images"), ("1,000+", "1,000+ images")],
)
def test_a_noun_agrees_with_its_count(count: int | str, text: str) -> None:
    assert pluralize(count, "image") == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (112, "112th"), (23, "23rd")],
)
def test_ordinals_have_their_endings(number: int, text: str) -> None:
    assert ordinal(number) == text


def test_one_line_holds_no_control_characters() -> None:
    assert one_line("a\n b\x1b[2J\tc\u202e") == "a b [2J c"


@pytest.mark.parametrize(
    ("jobs_ahead", "queue_length", "text"),
    [(0, 0, "Queued"), (0, 3, "Up next"), (1, 5, "2nd of 5 in the queue")],
)
def test_the_position_in_the_own_queue(jobs_ahead: int, queue_length: int, text: str) -> None:
    assert local_queue_text(jobs_ahead, queue_length) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Queued(0, 1, None), "Next at the Space"),
        (Queued(2, 9, 12.0), "Position 3 of 9 at the Space"),
        (Queued(2, 1, None), "Position 3 of 3 at the Space"),
    ],
)
def test_the_position_at_the_space(event: Queued, text: str) -> None:
    assert queue_text(event) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Waiting("Waking up the Space", 12.3, 300.0), "Waking up the Space (12 s, up to 5 min)…"),
        (Waiting("The Space's queue is full.", 0.0), "The Space's queue is full…"),
        (Waiting("The Space's queue is full.", 4.0), "The Space's queue is full (4 s)…"),
        (Waiting("a\x1b[31m\nb", 0.0), "a [31m b…"),
    ],
)
def test_waiting_names_its_reason_and_its_limit(event: Waiting, text: str) -> None:
    assert waiting_text(event) == text


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (None, "Generating…"),
        (Progress(), "Generating…"),
        (Progress(step=3, total=28), "Step 3 of 28"),
        (Progress(step=30, total=28), "Step 28 of 28"),
        (Progress(description="Loading\nthe model"), "Loading the model"),
    ],
)
def test_progress_is_a_step_or_the_space_s_own_words(progress: Progress | None, text: str) -> None:
    assert progress_text(progress) == text


@pytest.mark.parametrize(
    ("notice", "text"),
    [
        (Notice("No GPU yet", "info", "Info"), "No GPU yet"),
        (Notice("No GPU yet", "warning", "ZeroGPU queue"), "ZeroGPU queue: No GPU yet"),
        (Notice("No GPU\nyet"), "No GPU yet"),
    ],
)
def test_a_notice_has_its_title_unless_that_is_its_level(notice: Notice, text: str) -> None:
    assert notice_text(notice) == text


def test_log_entry_is_one_printable_line() -> None:
    """A name or a message in the log forges no other entry, and controls no terminal."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(PrintableFormatter("%(levelname)s: %(message)s"))
    record = logging.makeLogRecord(
        {"levelname": "WARNING", "msg": "%s isn't there", "args": ("a\nERROR: b\x1b[2J\u202e",)}
    )
    handler.handle(record)
    assert stream.getvalue() == "WARNING: a ERROR: b[2J isn't there\n"


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("一座灯塔，黄昏", "一座灯塔-黄昏"),
        ("قطة على السطح", "قطة-على-السطح"),
        ("रात में प्रकाशस्तंभ", "रात-में-प्रकाशस्तंभ"),
        ("می\u200cخواهم", "میخواهم"),
        ("👩\u200d🚀 👍🏽 🇩🇪", "👩🚀-👍🏽-🇩🇪"),
        ("Cafe\u0301", "café"),
        ("\u202e -gpj.exe\ud800", "gpj-exe"),
        ("灯" * 99, "灯" * 50),
        ("../../a:b\\c\0|d. ", "a-b-c-d"),
        ("COM1.", "picture-com1"),
        ("…!", "picture"),
    ],
)
def test_names_of_files_keep_every_script(prompt: str, stem: str) -> None:
    """A file's name has the prompt's letters and pictographs, and is valid on every system."""
    assert file_name("", prompt, None, Picture(b"", "PNG", 1, 1)) == f"{stem}.png"


def test_names_of_files_suit_the_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name has no letter that the file system can't encode."""
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "latin-1")
    name = file_name("Model 3.5", "ein Möwe, 灯", 7, Picture(b"", "WEBP", 1, 1))
    assert name == "model-3-5-ein-möwe-seed-7.webp"
