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
from sd35.core.events import Notice, Progress, Queued, Started, Waiting

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
    PictureStarted: "Asking for a place in the queue…",
    DownloadStarted: "Fetching the picture…",
    ShutdownRequested: "Stopping… (again to leave at once)",
}


def one_line(text: object) -> str:
    """Return the text as one line that moves no cursor and changes no colour."""
    return " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())


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
            text = _waiting_text(event)
        case Queued():
            text = _queue_text(event)
        case Started(eta_seconds=eta_seconds):
            text = f"The Space is working{_eta_text(eta_seconds, '; it takes about {}')}…"
        case Progress():
            text = _step_text(event)
        case TaskProgress():
            text = _task_text(event)
    return text


def _waiting_text(event: Waiting) -> str:
    limit_text = (
        f" It is waited for {format_duration(event.limit_seconds)} at most."
        if event.limit_seconds
        else ""
    )
    return f"{one_line(event.reason)}{limit_text}"


def _queue_text(event: Queued) -> str:
    eta_text = _eta_text(event.eta_seconds, ", about {} to go")
    if event.rank == 0:
        return f"Next in the queue{eta_text}"
    return f"Number {event.rank + 1} of {max(event.size, event.rank + 1)} in the queue{eta_text}"


def _eta_text(seconds: float | None, template: str) -> str:
    return "" if seconds is None or seconds < 1 else template.format(format_duration(seconds))


def _step_text(event: Progress) -> str:
    if event.step is not None and event.total:
        return f"Step {min(event.step, event.total)} of {event.total}"
    return one_line(event.description or "") or "The Space is working…"


def _task_text(event: TaskProgress) -> str:
    if event.total is not None:
        return f"{event.description}: {event.completed:,} of {event.total:,}…"
    return (
        f"{event.description}: {event.completed:,}…" if event.completed else f"{event.description}…"
    )


def notice_text(event: Notice) -> str:
    """A Space's own line, under its title, unless that only says of what level it is."""
    has_title = event.title is not None and event.title.lower() != event.level.lower()
    return one_line(f"{event.title}: {event.text}" if has_title else event.text)


def picture_summary(event: PictureSaved) -> str:
    """What a saved picture is."""
    picture = event.picture
    return " · ".join(
        (
            *((f"seed {picture.seed}",) if picture.seed is not None else ()),
            f"{picture.width} × {picture.height}",
            f"{picture.format} {format_bytes(len(picture.data))}",
            f"{event.elapsed_seconds:.1f} s"
            if event.elapsed_seconds < 60
            else format_duration(event.elapsed_seconds),
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


def format_duration(seconds: float) -> str:
    """Return a length of time as a person says it."""
    whole_seconds = int(seconds)
    return (
        f"{whole_seconds} s"
        if whole_seconds < 60
        else f"{whole_seconds // 60}:{whole_seconds % 60:02d} min"
    )


def format_bytes(byte_count: int) -> str:
    """Return a number of bytes as a person says it."""
    for threshold, unit, decimals in ((1e9, "GB", 1), (1e6, "MB", 1), (1e3, "KB", 0)):
        if byte_count >= threshold:
            return f"{byte_count / threshold:.{decimals}f} {unit}"
    return f"{byte_count} bytes"
