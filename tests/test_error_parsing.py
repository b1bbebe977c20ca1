"""From the messages and statuses of a Space to errors."""

import datetime as dt
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sd35.client.error_parsing import (
    RUN_ERROR_PATTERNS,
    STAGE_ERRORS,
    error_for_stage,
    error_for_status,
    parse_run_error,
    sanitize,
)
from sd35.core import errors
from sd35.core.errors import (
    AbortedError,
    AccessDeniedError,
    BusyError,
    GenerationFailedError,
    IdentityError,
    IdentityExpiredError,
    InvalidRequestError,
    LoginPageError,
    LoginRequiredError,
    MalformedRequestError,
    ProtocolError,
    QueueFullError,
    QuotaError,
    RateLimitedError,
    SD35Error,
    SpaceAsleepError,
    SpaceBrokenError,
    SpaceNotFoundError,
    SpacePausedError,
    SpaceStoppedError,
)

ANONYMOUS_HINT = (
    "Authenticate with a Hugging Face token for more quota - https://huggingface.co/settings/tokens"
)
FREE_ACCOUNT_HINT = (
    "Subscribe to Hugging Face PRO to get 40 min of ZeroGPU quota a day - "
    "https://huggingface.co/subscribe/pro"
)
PRO_ACCOUNT_HINT = (
    "Add credits to keep using ZeroGPU. $1 for 10 minutes of ZeroGPU "
    "inference - https://huggingface.co/settings"
)
SIGN_UP_LINK = (
    '<a style="white-space: nowrap" '
    'href="https://huggingface.co/join">Create a free account</a> to get more'
)


@pytest.mark.parametrize(
    ("title", "text", "kind"),
    [
        ("ZeroGPU quota exceeded", "You have exceeded your GPU quota", QuotaError),
        (
            "Error",
            (
                "You have exceeded your GPU quota (59s left vs. 60s requested). Please "
                "retry in 0:00:56"
            ),
            QuotaError,
        ),
        (
            "Error",
            "Unlogged user is runnning out of daily ZeroGPU quotas. Signup for free",
            QuotaError,
        ),
        ("Error", "You have exceeded your runs limit.", QuotaError),
        ("Error", "You have exceeded your ZeroGPU runs limit. " + ANONYMOUS_HINT, QuotaError),
        (
            "ZeroGPU illegal duration",
            "The requested GPU duration (65s) is larger than the maximum allowed",
            QuotaError,
        ),
        (
            "Error",
            "The requested GPU duration (65s) is larger than the maximum allowedSubscribe to",
            QuotaError,
        ),
        (
            "ZeroGPU quota exceeded",
            "Space app has reached its GPU limit. Try re-running outside",
            IdentityError,
        ),
        ("ZeroGPU client error", "Expired ZeroGPU proxy token", IdentityExpiredError),
        ("ZeroGPU queue timeout", "No GPU was available after 60s. Retry later", BusyError),
        (
            "ZeroGPU quota exceeded",
            "No GPU was available after 60s. Try re-running outside of examples",
            BusyError,
        ),
        ("ZeroGPU client error", "No GPU was available", BusyError),
        ("Error", "No GPU is currently available for you after 60s", BusyError),
        (
            "ZeroGPU pending credits exceeded",
            (
                "You have too many ZeroGPU credits allocated to running tasks. Try "
                "again once some have completed."
            ),
            BusyError,
        ),
        ("Error", "Queue is full. Max size is 4 and size is 4.", QueueFullError),
        ("ZeroGPU worker error", "GPU task aborted", AbortedError),
        ("ZeroGPU worker error", "'ValueError'", GenerationFailedError),
        ("ZeroGPU worker error", "'OutOfMemoryError'", GenerationFailedError),
        ("ZeroGPU client error", "Internal Gradio error", GenerationFailedError),
        ("Error", "Value 1344 is greater than maximum value 1024.", InvalidRequestError),
        ("Error", "Value 8 is less than minimum value 512.", InvalidRequestError),
        ("Error", "Invalid token", AccessDeniedError),
        ("Error", None, GenerationFailedError),
        ("Error", "", GenerationFailedError),
        (None, {"un": "foreseen"}, GenerationFailedError),
        ("Fehler", "Etwas ganz Neues", GenerationFailedError),
        ("Error", "[Errno 122] Disk quota exceeded", GenerationFailedError),
        ("Error", "There is no pad token in this tokenizer", GenerationFailedError),
        ("Error", "Prompt blocked: 'a grand piano and a token'", GenerationFailedError),
        ("Error", "No GPU was found: CUDA driver missing", GenerationFailedError),
        ("Error", "The size a < b is invalid but c > d", GenerationFailedError),
        ("ZeroGPU quota exceeded", "in words that are new", QuotaError),
    ],
)
def test_a_message_of_a_space_is_the_right_error_and_stays_readable(
    title: str | None, text: object, kind: type[SD35Error]
) -> None:
    error = parse_run_error(text, title)
    assert type(error) is kind
    if isinstance(text, str):
        assert sanitize(text) in str(error)


@pytest.mark.parametrize(
    ("text", "account"),
    [
        (
            "You have exceeded your GPU quota (60s left vs. 60s requested). " + SIGN_UP_LINK,
            "anonymous",
        ),
        (
            "You have exceeded your ZeroGPU quota (65s requested vs. 81s left). "
            "Try again in 23:31:01. " + ANONYMOUS_HINT,
            ...,
        ),
        ("Unlogged user is runnning out of daily ZeroGPU quotas. Signup", "anonymous"),
        (
            (
                "You have exceeded your free GPU quota (60s requested vs. 34s left). "
                "Try again in 1:23:54"
            ),
            "free",
        ),
        (
            "You have exceeded your free ZeroGPU quota (65s requested vs. 3s "
            "left). Try again in 1:23:54. " + FREE_ACCOUNT_HINT,
            "free",
        ),
        (
            (
                "User is runnning out of daily ZeroGPU quotas. Visit "
                "https://huggingface.co/subscribe/pro"
            ),
            "free",
        ),
        (
            (
                "You have exceeded your Pro GPU quota (60s requested vs. 34s left). "
                "Try again in 1:23:54"
            ),
            "pro",
        ),
        (
            "You have exceeded your Pro ZeroGPU quota (65s requested vs. 3s left). "
            "Try again in 1:23:54. " + PRO_ACCOUNT_HINT,
            "pro",
        ),
        ("You have exceeded your GPU quota", None),
    ],
)
def test_a_quota_message_tells_the_kind_of_account(text: str, account: object) -> None:
    error = parse_run_error(text, "ZeroGPU quota exceeded")
    assert isinstance(error, QuotaError)
    assert error.account == ("anonymous" if account is ... else account)


@given(
    st.timedeltas(dt.timedelta(0), dt.timedelta(days=3)),
    st.integers(0, 999),
    st.integers(0, 999),
    st.sampled_from(
        [
            "Please retry in {}",
            "Try again in {}. Authenticate with a Hugging Face token",
            "try in {}",
        ]
    ),
    st.sampled_from(["{a}s requested vs. {b}s left", "{b}s left vs. {a}s requested"]),
)
def test_a_quota_message_tells_its_numbers(
    wait: dt.timedelta, requested_seconds: int, remaining_seconds: int, wording: str, numbers: str
) -> None:
    """0:00:00 means unknown, not now."""
    seconds = numbers.format(a=requested_seconds, b=remaining_seconds)
    message = f"You have exceeded your GPU quota ({seconds}). {wording.format(wait)}"
    error = parse_run_error(message)
    assert isinstance(error, QuotaError)
    assert error.retry_after_seconds == (int(wait.total_seconds()) or None)
    assert (error.requested_seconds, error.remaining_seconds) == (
        requested_seconds,
        remaining_seconds,
    )
    assert (
        (error.retry_at is not None)
        == (int(wait.total_seconds()) > 0)
        == ("Try again at" in str(error))
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Try again in 45s", 45),
        ("retry in 2 minutes", 120),
        ("try again after 3 hours.", 10800),
        ("Try again in -1 day, 23:59:50", None),
    ],
)
def test_other_forms_of_a_delay_are_understood(text: str, seconds: int | None) -> None:
    assert (
        parse_run_error(f"You have exceeded your GPU quota. {text}").retry_after_seconds == seconds
    )


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (302, "", SpaceNotFoundError),
        (400, "", MalformedRequestError),
        (401, "", AccessDeniedError),
        (401, '{"detail": "Not authenticated"}', LoginRequiredError),
        (401, '{"detail": {"error": "Not authenticated"}}', LoginRequiredError),
        (403, "", AccessDeniedError),
        (404, "<html>Sorry, we can't find the page</html>", SpaceNotFoundError),
        (413, "", MalformedRequestError),
        (418, "I'm a teapot", MalformedRequestError),
        (422, '{"detail": [{"loc": ["body"], "msg": "bad"}]}', MalformedRequestError),
        (429, "", RateLimitedError),
        (500, "Internal Server Error", ProtocolError),
        (503, '{"detail": "Queue is full. Max size is 2 and size is 2."}', QueueFullError),
        (503, '{"detail": "Queue is stopped."}', SpaceStoppedError),
        (503, "Your space is in error, check its status on hf.co", SpaceBrokenError),
        (502, "<html><h1>Bad Gateway</h1></html>", SpaceAsleepError),
        (503, "<html>Service Unavailable</html>", SpaceAsleepError),
        (504, "", SpaceAsleepError),
        (511, "<html>Log in</html>", LoginPageError),
        (204, "", ProtocolError),
    ],
)
def test_a_status_is_the_right_error_without_the_page(
    status: int, body: str, kind: type[SD35Error]
) -> None:
    error = error_for_status(status, body)
    assert type(error) is kind
    assert "<" not in str(error)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "in three hours"}, 10800),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "9" * 40}, None),
        ({"RateLimit": '"api";r=0;t=32'}, 32),
        ({"RateLimit": "limit=100"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_if_it_is_plausible(
    status: int, headers: dict[str, str], seconds: int | None
) -> None:
    if headers.get("Retry-After") == "in three hours":
        headers = {
            "Retry-After": email.utils.format_datetime(
                dt.datetime.now(dt.UTC) + dt.timedelta(hours=3)
            )
        }
    retry_after = error_for_status(status, "", headers).retry_after_seconds
    assert retry_after == pytest.approx(seconds, abs=30) if seconds else retry_after is None


@pytest.mark.parametrize(
    ("stage", "kind"),
    [
        *(
            (stage, None)
            for stage in (
                "RUNNING",
                "RUNNING_BUILDING",
                "RUNNING_APP_STARTING",
                "SOMETHING_NEW",
                "",
            )
        ),
        *(
            (stage, SpaceAsleepError)
            for stage in ("STOPPED", "SLEEPING", "BUILDING", "APP_STARTING")
        ),
        ("PAUSED", SpacePausedError),
        *(
            (stage, SpaceBrokenError)
            for stage in ("NO_APP_FILE", "CONFIG_ERROR", "BUILD_ERROR", "RUNTIME_ERROR")
        ),
        ("DELETING", SpaceBrokenError),
    ],
)
def test_a_stage_that_only_the_owner_can_change_is_told_apart(
    stage: str, kind: type[SD35Error] | None
) -> None:
    error = error_for_stage("owner/name", stage)
    assert (None if error is None else type(error)) is kind


@given(st.text(max_size=2000))
def test_a_message_is_one_short_printable_line(text: str) -> None:
    sanitized = sanitize(f"'<b>{text}</b>'")
    assert "<b>" not in sanitized
    assert all(char.isprintable() for char in sanitized)
    assert len(sanitized) <= 400
    assert parse_run_error(text, text).happened


def test_a_sentence_of_zerogpu_gets_its_missing_end() -> None:
    text = "The requested GPU duration (98s) is larger than the maximum allowedSubscribe to PRO"
    assert "the maximum allowed. Subscribe to PRO" in parse_run_error(text).happened


def test_every_error_has_a_kind_a_remedy_and_a_place_in_the_tree() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    kinds.remove(errors.FieldError)
    assert len({kind.kind for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.__doc__
        assert kind("It happened.").remedy or issubclass(kind, InvalidRequestError)
        assert f"{kind.__name__}" in (errors.__doc__ or "")
    assert {wording.error for wording in RUN_ERROR_PATTERNS} <= set(kinds)
    assert {error for error, _ in STAGE_ERRORS.values() if error} <= set(kinds)
