"""The HTML of the Create tab, without a server."""

import re
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sd35.core.account import HubAccount
from sd35.core.errors import InvalidRequestError, QuotaError, SD35Error, UnreachableError
from sd35.core.events import Notice, Progress, Queued, Waiting
from sd35.core.limits import PUBLIC_LIMITS
from sd35.core.request import GenerationRequest
from sd35.core.run_time import Pace
from sd35.jobs.job import JobResult, JobState
from sd35.jobs.limits import UNLIMITED, RemainingQuota, UsageLimits
from sd35.jobs.record import JobStatus
from sd35.jobs.space_connection import ConnectionState
from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.prompts.plan import BatchOptions, parse_batch_options
from sd35.prompts.styles import Style, StyleBook
from sd35.ui.create import notices, space_view, token_view
from sd35.ui.create.focus import LIVE, Focus
from sd35.ui.create.form import CUSTOM_SIZE, FormValues
from sd35.ui.create.import_settings import apply_settings, variations
from sd35.ui.create.job_panel import job_panel, rejection_panel
from sd35.ui.create.space_access import SpaceAccess, VisitorToken
from sd35.ui.markup import error_message

MARKUP = "<img src=x onerror=alert(1)>"

FORM_VALUES = FormValues("", "", "1:1", 1024, 1024, 4.5, 40, 0, True, "")  # noqa: FBT003


def make_state(status: JobStatus, **changes: Any) -> JobState:  # noqa: ANN401
    state = JobState(GenerationRequest("a cat"), status, time.monotonic())
    return replace(state, **changes)


def make_running_state(
    expected_seconds: float | None, progress: Progress | None = None
) -> JobState:
    """Return a run that has just started, or reached this progress by steps of a minute."""
    started_at = time.monotonic()
    pace = Pace(started_at)
    if progress is not None and progress.step is not None:
        started_at -= 60 * progress.step
        for step in range(1, progress.step + 1):
            pace = pace.advance(Progress(step, progress.total), started_at + 60 * step)
    return make_state(
        JobStatus.RUNNING,
        started_at=started_at,
        pace=pace,
        expected_seconds=expected_seconds,
        progress=progress,
    )


RESULT = JobResult("a.png", "a.png", None, "PNG", "image/png", 8, 8, 9, seed=7, is_unsaved=True)
DOWNLOAD = Waiting("Downloading the model", 4.0, fraction=0.25)


@pytest.mark.parametrize(
    ("state", "expected_text"),
    [
        (make_state(JobStatus.PENDING), "Queued"),
        (make_state(JobStatus.PENDING, is_held=True), "Resume"),
        (
            make_state(JobStatus.QUEUED_REMOTELY, queued_event=Queued(2, 9, 600)),
            "about 10 min left",
        ),
        (make_state(JobStatus.RUNNING, progress=Progress(2, 8)), 'aria-valuenow="25"'),
        (make_state(JobStatus.CONNECTING, waiting_event=Waiting("Full.", 4.0, 90.0)), "Try now"),
        (make_state(JobStatus.CONNECTING, waiting_event=DOWNLOAD), 'aria-valuenow="25"'),
        (make_state(JobStatus.FAILED, error=SD35Error("No GPU.")), "Generation failed"),
        (make_state(JobStatus.CANCELLED), "Cancelled before it was sent."),
        (make_state(JobStatus.INTERRUPTED), "The app closed while this image"),
        (make_state(JobStatus.INTERRUPTED, error=SD35Error("It crashed.")), "It crashed."),
        (make_state(JobStatus.COMPLETED, result=RESULT), "saving…"),
    ],
)
def test_panel_shows_the_status(state: JobState, expected_text: str) -> None:
    """The panel of each status says what happens, and what to do."""
    assert expected_text in job_panel("x", state)


@pytest.mark.parametrize(
    ("expected_seconds", "progress", "expected_text"),
    [
        (None, None, "Generating…<"),
        (600.0, None, "Generating · about 10 min left"),
        (600.0, None, 'aria-label="Estimated progress"'),
        (None, Progress(10, 40), "Step 10 of 40 · about 30 min left"),
    ],
)
def test_panel_says_how_long_a_run_takes(
    expected_seconds: float | None, progress: Progress | None, expected_text: str
) -> None:
    """The time left is estimated from the steps, or from earlier runs."""
    assert expected_text in job_panel("x", make_running_state(expected_seconds, progress))


def test_remedy_has_steps_commands_and_links_to_the_hub_alone() -> None:
    """Each numbered step is a line; an address that is not the Hub's is no link."""
    text = "1. Open https://huggingface.co/a/b. 2. Run `x <y`. 3. See https://other.example/c."
    html = error_message(SD35Error("No.", text))
    assert html.count('<span class="step">') == 3
    assert '<a href="https://huggingface.co/a/b" target="_blank"' in html
    assert "<code>x &lt;y</code>" in html
    assert html.count("<a ") == 1


def test_foreign_text_is_escaped() -> None:
    """Nothing that a Space, a file or a visitor says becomes markup."""
    error = SD35Error(MARKUP, MARKUP)
    metadata = GenerationMetadata(prompt=MARKUP, tool=MARKUP, extra=((MARKUP, MARKUP),))
    notice = Notice(MARKUP)
    space: Any = SimpleNamespace(warnings=(MARKUP,))
    for html in (
        job_panel("x", make_state(JobStatus.FAILED, error=error)),
        job_panel("x", make_state(JobStatus.RUNNING, notices=(notice,))),
        rejection_panel(MARKUP),
        rejection_panel(error_message(error)),
        notices.no_settings_found(MARKUP),
        notices.account_info(MARKUP, can_log_out=True),
        notices.import_summary(
            MARKUP, MARKUP, apply_settings(metadata, FORM_VALUES, PUBLIC_LIMITS)
        ),
        space_view.banner(ConnectionState(MARKUP, error=UnreachableError(MARKUP))),
        space_view.banner(ConnectionState("x", space=space)),
        space_view.status_line(ConnectionState(MARKUP)),
        token_view.token_section(
            SpaceAccess(
                token=VisitorToken("1234", account=HubAccount(MARKUP, is_pro=True)),
                can_remove_token=True,
            ),
            "",
        ),
    ):
        assert "<img" not in html
        assert "&lt;img" in html


def test_quota_error_says_when_the_queue_resumes() -> None:
    """The time is there for the browser's clock, and the Space's own words on demand."""
    error = QuotaError("The Space says: no more.")
    error.set_retry_after(3 * 3600 + 120)
    html = job_panel("x", make_state(JobStatus.PENDING, pause_error=error))
    assert f'<time datetime="{error.retry_at:%Y-%m-%dT%H:%M:%S}+00:00" data-day="long">' in html
    assert "(in 3 h)" in html
    assert "The queue goes on then." in html
    assert "The Space says: no more." in html
    buttons = re.findall(r"<button[^>]*>([^<]*)</button>", html)
    assert buttons[-3:] == ["Use Turbo", "Add token", "Try now"]
    error.remaining_seconds = 0
    html = job_panel("x", make_state(JobStatus.PENDING, pause_error=error))
    assert "Use Turbo" not in html, "a shorter run has no GPU time left, either"


def test_configured_token_is_shown_and_stays() -> None:
    """A token of the environment has its source, and neither a field nor a button in its place."""
    access = SpaceAccess(token=VisitorToken("1234", "HF_TOKEN"), can_switch=True)
    html = token_view.token_section(access, "")
    assert "Token <code>…1234</code>, from HF_TOKEN." in html
    assert "<form" not in html
    assert "data-remove-token" not in html


def test_lost_connection_is_explained() -> None:
    """Without a Space, and without a fallback, the banner says why."""
    connection = ConnectionState("http://127.0.0.1:1/", error=UnreachableError("It refused."))
    assert "<b>Not connected.</b> It refused." in space_view.banner(connection)
    assert "offline" in space_view.status_line(connection)


@pytest.mark.parametrize(
    ("quota", "limits", "expected_texts"),
    [
        (None, UNLIMITED, []),
        (
            RemainingQuota(30, 30, 0, 3),
            UsageLimits(max_concurrent=1),
            ["30 of 30 images left this hour", "1 at a time", "up to 3 queued"],
        ),
    ],
)
def test_quota_lists_the_limits(
    quota: RemainingQuota | None, limits: UsageLimits, expected_texts: list[str]
) -> None:
    """Only the limits that exist are listed."""
    html = notices.quota_info(quota, limits)
    assert bool(html) == bool(expected_texts)
    assert all(text in html for text in expected_texts)


def test_imported_settings_are_fitted_to_the_space() -> None:
    """Values beyond the Space's limits are changed, and the summary says so."""
    metadata = GenerationMetadata(
        prompt="a cat", width=832, height=1216, guidance_scale=9, seed=2**40, model="sdxl", tool="X"
    )
    settings = apply_settings(metadata, FORM_VALUES, PUBLIC_LIMITS)
    assert settings.values.size == CUSTOM_SIZE
    assert settings.values.guidance_scale == 7.5
    assert settings.changes == [
        f"Seed {2**40} can't be used here (0 to 2,147,483,647), so Random seed is on.",
        "Size 832 × 1216 changed to 704 × 1024, the closest available.",
        "Guidance scale 9 changed to 7.5, the maximum.",
    ]
    assert settings.ignored == ["Model sdxl"]
    assert "Imported from" in notices.import_summary("x.png", "X", settings)


def test_origin_of_an_own_prompt_is_no_unsupported_setting() -> None:
    """Of an image of this app, the template and the styles have done their work."""
    pairs = (("Template", "a {cat|dog}"), ("Styles", "Ink"), ("Base prompt", "a cat"))
    metadata = GenerationMetadata(prompt="ink of a cat", seed=1, extra=pairs)
    assert not apply_settings(metadata, FORM_VALUES, PUBLIC_LIMITS).ignored
    other_metadata = replace(metadata, tool="X", extra=pairs[:1])
    assert apply_settings(other_metadata, FORM_VALUES, PUBLIC_LIMITS).ignored


def test_own_image_is_made_again_from_its_prompt_and_styles() -> None:
    """An image fills in the prompt without the words of its styles, if they are the same still."""
    book = StyleBook((Style("Ink", "ink of {prompt}"),))
    pairs = (("Styles", "Ink"), ("Base prompt", "a {x|y} cat"), ("Base negative", "fog"))
    metadata = GenerationMetadata(
        prompt="ink of a {x|y} cat", negative_prompt="fog, photo", tool=THIS_TOOL, extra=pairs
    )
    values = apply_settings(metadata, FORM_VALUES, PUBLIC_LIMITS, style_book=book).values
    options = parse_batch_options(values.batch_options)
    assert (values.prompt, values.negative_prompt) == ("a {x|y} cat", "fog")
    assert options == BatchOptions(is_literal=True, styles=("Ink",))
    for changed_book in (StyleBook(), StyleBook((Style("Ink", "an ink drawing of {prompt}"),))):
        values = apply_settings(metadata, values, PUBLIC_LIMITS, style_book=changed_book).values
        assert values.prompt == "ink of a {x|y} cat"
        assert parse_batch_options(values.batch_options).styles == ()


@pytest.mark.parametrize(
    ("seed", "extra", "expected_text"),
    [
        (2**31, (), "Seed 2147483648 can't be used here (0 to 2,147,483,647), so"),
        (2**64 - 1, (), "Seed 18446744073709551615 can't be used here"),
        (None, (("Seed", "1.5"),), "Seed 1.5 can't be used here"),
        (None, (), "Seed: not found, so Random seed is on."),
    ],
)
def test_unusable_seed_replaces_that_of_another_image(
    seed: int | None, extra: tuple[tuple[str, str], ...], expected_text: str
) -> None:
    """After an image without a usable seed, the form has a random one, and the summary says so."""
    values = replace(FORM_VALUES, seed="4711", randomize_seed=False)
    metadata = GenerationMetadata(prompt="a cat", seed=seed, tool="X", extra=extra)
    for group in ("all", "seed"):
        settings = apply_settings(metadata, values, PUBLIC_LIMITS, group)
        assert (settings.values.seed, settings.values.randomize_seed) == ("", True)
        assert expected_text in " ".join(settings.changes)
        assert not settings.ignored
    settings = apply_settings(metadata, values, PUBLIC_LIMITS, "prompt")
    assert (settings.values.seed, settings.values.randomize_seed) == ("4711", False)


def test_missing_prompt_keeps_the_visitor_s() -> None:
    """An image without a prompt changes none, and the summary says so."""
    metadata = GenerationMetadata(seed=7, tool="X", extra=(("Prompt", "generated by LLM"),))
    values = replace(FORM_VALUES, prompt="a dog", negative_prompt="fog")
    for group in ("all", "prompt"):
        settings = apply_settings(metadata, values, PUBLIC_LIMITS, group)
        assert (settings.values.prompt, settings.values.negative_prompt) == ("a dog", "fog")
        assert "Prompt: not found, yours is unchanged." in settings.changes
        assert settings.ignored == ["Prompt generated by LLM"]


def test_summary_lists_everything_and_first_what_matters() -> None:
    """LoRAs, remarks about the prompt and the sampler come first, hashes last, and none is lost."""
    names = ("Model hash", "Lora hashes", *"abcdefg", "Scheduler", "Sampler")
    names += ("Prompt for T5", "LoRA", "Variation seed")
    extra = tuple((name, f"<{name}>") for name in names)
    metadata = GenerationMetadata(prompt="a cat", seed=7, tool="X", model="sdxl", extra=extra)
    settings = apply_settings(metadata, FORM_VALUES, PUBLIC_LIMITS)
    html = notices.import_summary("x.png", "X", settings)
    start, _, end = html.partition("<details><summary>and 7 more</summary>")
    order = re.findall("<li>(.+?) (?:&lt;|sdxl)", html)
    assert order[:5] == ["Variation seed", "LoRA", "Prompt for T5", "Scheduler", "Sampler"]
    assert order[-2:] == ["Model hash", "Lora hashes"]
    assert sorted(order) == sorted([*(name[:1].upper() + name[1:] for name in names), "Model"])
    assert (start.count("<li>"), end.count("<li>")) == (8, 7)


def test_stopped_job_says_what_stopping_did() -> None:
    """The reason and the Space's answer are both shown."""
    state = make_state(
        JobStatus.CANCELLED,
        cancel_reason="Stopped because no page was open.",
        cancel_outcome=SimpleNamespace(message="The Space cancelled the job."),
    )
    html = job_panel("x", state)
    assert "Stopped because no page was open." in html
    assert "The Space cancelled the job." in html


def test_variations_are_like_the_image() -> None:
    """One has a random seed, four have the seeds around the image's, across the range's ends."""
    metadata = GenerationMetadata(prompt="a cat", width=512, height=768, seed=0)
    [request] = variations(metadata, "same", PUBLIC_LIMITS)
    assert (request.prompt, request.width, request.height) == ("a cat", 512, 768)
    assert request.randomize_seed
    adjacent_requests = variations(metadata, "adjacent", PUBLIC_LIMITS)
    assert [request.seed for request in adjacent_requests] == [2**31 - 2, 2**31 - 1, 1, 2]
    assert not any(request.randomize_seed for request in adjacent_requests)
    with pytest.raises(InvalidRequestError, match="no recorded seed"):
        variations(replace(metadata, seed=None), "adjacent", PUBLIC_LIMITS)
    with pytest.raises(InvalidRequestError, match="can't be used here"):
        variations(replace(metadata, seed=2**31), "adjacent", PUBLIC_LIMITS)
    with pytest.raises(InvalidRequestError, match="Enter a prompt"):
        variations(replace(metadata, prompt=""), "same", PUBLIC_LIMITS)


@pytest.mark.parametrize("focus", [LIVE, Focus("a"), Focus.image("a"), Focus.whole_set("a")])
def test_focus_survives_the_browser(focus: Focus) -> None:
    """The focus that a page keeps as text is read back; other values mean the newest image."""
    assert Focus.parse(str(focus)) == focus
    assert Focus.parse(None) == Focus.parse({}) == LIVE
