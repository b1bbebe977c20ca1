"""The words of a refusal → the error it is."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.client.refusals import clean, error_of_run, error_of_status
from sd35.errors import (
    AbortedError,
    AccessDeniedError,
    BusyError,
    GenerationFailedError,
    ProtocolError,
    QuotaError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
)


@pytest.mark.parametrize(
    ("title", "text", "kind"),
    [
        ("ZeroGPU quota exceeded", "You have exceeded your GPU quota", QuotaError),
        ("Error", "Unlogged user is runnning out of daily ZeroGPU quotas. Sign in.", QuotaError),
        ("Error", "You have exceeded your ZeroGPU runs limit.", QuotaError),
        ("ZeroGPU illegal duration", "The requested GPU duration (65s) is larger than the maximum allowed", QuotaError),
        ("ZeroGPU queue timeout", "No GPU was available after 60s. Retry later", BusyError),
        ("Error", "No GPU is currently available for you", BusyError),
        ("Error", "You have too many ZeroGPU credits allocated to running tasks.", BusyError),
        ("ZeroGPU worker error", "GPU task aborted", AbortedError),
        ("Error", "Expired ZeroGPU proxy token", AccessDeniedError),
        ("ZeroGPU worker error", "'OutOfMemoryError'", GenerationFailedError),
        ("Error", None, GenerationFailedError),
        ("Error", "", GenerationFailedError),
        ("Fehler", "Etwas ganz Neues", GenerationFailedError),
    ],
)
def test_kinds(title: str, text: str | None, kind: type[SD35Error]) -> None:
    """A wording of ZeroGPU is taken for another kind, or the Space's own words are lost."""
    error = error_of_run(text, title)
    assert type(error) is kind
    assert clean(text or "") in str(error)


@given(
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=3)),
    st.sampled_from(["Please retry in {}", "Try again in {}. Authenticate with a Hugging Face token", "try in {}"]),
)
def test_when_the_quota_returns(wait: dt.timedelta, wording: str) -> None:
    """The time that a refusal gives is misread; 0:00:00 means unknown, not now."""
    error = error_of_run(f"You have exceeded your GPU quota (60s requested vs. 34s left). {wording.format(wait)}")
    assert isinstance(error, QuotaError)
    assert error.retry_after_seconds == (int(wait.total_seconds()) or None)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, '{"detail": "Not authenticated"}', AccessDeniedError),
        (404, "<html>Sorry, we can't find the page</html>", SpaceNotFoundError),
        (422, '{"detail": "bad"}', ProtocolError),
        (429, "", RateLimitedError),
        (500, "Internal Server Error", ProtocolError),
        (503, '{"detail": "Queue is full. Max size is 2 and size is 2."}', BusyError),
        (503, "Your space is in error, check its status on hf.co", SpaceBrokenError),
        (502, "<html><h1>Bad Gateway</h1></html>", SpaceAsleepError),
        (302, "", SD35Error),
    ],
)
def test_statuses(status: int, body: str, kind: type[SD35Error]) -> None:
    """What a Space's host answers below the application is taken for something else."""
    assert isinstance(error_of_status(status, body), kind)


@given(st.text(max_size=2000))
def test_words_are_fit_to_be_read(text: str) -> None:
    """A Space's words carry markup or line breaks onto the page, or never end."""
    words = clean(f"'<b>{text}</b>'")
    assert "<b>" not in words
    assert "\n" not in words
    assert len(words) <= 400
