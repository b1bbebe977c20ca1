"""What is told, as sentences. Pure; nothing that a Space or a person wrote leaves here with a control character."""

from collections.abc import Mapping
from typing import Final

from sd35.cli.events import (
    CheckStarted,
    CliEvent,
    ConnectionStarted,
    DownloadStarted,
    OperationFailed,
    PictureSaved,
    PictureStarted,
    ShutdownReport,
    ShutdownRequested,
    TaskProgress,
)
from sd35.core.events import Progress, Queued, Started, Waiting
from sd35.core.text import (
    format_bytes,
    format_duration,
    format_elapsed,
    notice_text,
    one_line,
    progress_text,
    queue_text,
    waiting_text,
)

__all__ = [
    "DEMO_NOTICE",
    "failure_text",
    "format_bytes",
    "format_duration",
    "headline",
    "notice_text",
    "one_line",
    "os_error_text",
    "picture_summary",
    "shutdown_text",
]

DEMO_NOTICE: Final = "These pictures come from the demo painter, not from Stable Diffusion."


_HEADLINES: Final[Mapping[type, str]] = {
    PictureStarted: "Joining the queue…",
    DownloadStarted: "Downloading the image…",
    ShutdownRequested: "Stopping… (again to leave at once)",
}


def headline(event: CliEvent) -> str:
    """What is going on now, in a few words; nothing for what doesn't change that."""
    text = _HEADLINES.get(type(event), "")
    match event:
        case CheckStarted(check_name=check_name):
            text = f"Checking: {check_name}…"
        case ConnectionStarted(space=space):
            text = (
                "Starting the demo Space…"
                if space == "demo"
                else f"Connecting to {one_line(space)}…"
            )
        case Waiting():
            text = waiting_text(event)
        case Queued():
            text = f"{queue_text(event)}{_eta_text(event.eta_seconds, ', about {} left')}"
        case Started(eta_seconds=eta_seconds):
            text = f"Generating…{_eta_text(eta_seconds, ' Usually takes about {}.')}"
        case Progress():
            text = progress_text(event)
        case TaskProgress():
            text = _task_text(event)
    return text


def _eta_text(seconds: float | None, template: str) -> str:
    return "" if seconds is None or seconds < 1 else template.format(format_duration(seconds))


def _task_text(event: TaskProgress) -> str:
    if event.total is not None:
        return f"{event.description}: {event.completed:,} of {event.total:,}…"
    return (
        f"{event.description}: {event.completed:,}…" if event.completed else f"{event.description}…"
    )


def picture_summary(event: PictureSaved) -> str:
    """What a saved picture is."""
    picture = event.picture
    return " · ".join(
        (
            *((f"seed {picture.seed}",) if picture.seed is not None else ()),
            f"{picture.width} × {picture.height}",
            f"{picture.format} {format_bytes(len(picture.data))}",
            format_elapsed(event.elapsed_seconds),
            *(("demo painter",) if event.is_demo else ()),
        )
    )


def failure_text(event: OperationFailed) -> tuple[str, str]:
    """What happened; and when it passes, what to do, and with which seed."""
    seed_text = "" if event.request is None else f"The seed was {event.request.seed}."
    return one_line(event.error.happened), one_line(
        f"{event.error.retry_hint} {event.error.remedy} {seed_text}"
    )


def os_error_text(error: OSError) -> str:
    """Return why this machine said no, in its own words."""
    return error.strerror or type(error).__name__


def shutdown_text(event: ShutdownReport) -> str:
    """What stopping did."""
    if event.has_saved_picture:
        return "The picture that was complete is saved."
    return "Nothing was under way at the Space." if event.outcome is None else event.outcome.message
