"""What is told, as sentences. Pure; nothing that a Space or a person wrote leaves here with a control character."""

from collections.abc import Mapping
from typing import Final

from sd35.cli.events import (
    Begun,
    Checking,
    Connecting,
    Failed,
    Fetching,
    News,
    Saved,
    Stopped,
    Stopping,
    Working,
)
from sd35.core.events import Notice, Progress, Queued, Started, Waiting

__all__ = [
    "DEMO",
    "clock",
    "facts",
    "failed",
    "headline",
    "notice",
    "plain",
    "reason",
    "size",
    "stopped",
]

DEMO: Final = "These pictures come from the demo painter, not from Stable Diffusion."


_HEADLINES: Final[Mapping[type, str]] = {
    Begun: "Asking for a place in the queue…",
    Fetching: "Fetching the picture…",
    Stopping: "Stopping… (again to leave at once)",
}


def plain(text: object) -> str:
    """Return the text as one line that moves no cursor and changes no colour."""
    return " ".join(
        "".join(letter if letter.isprintable() else " " for letter in str(text)).split()
    )


def headline(news: News) -> str:
    """What is going on now, in a few words; nothing for what doesn't change that."""
    text = _HEADLINES.get(type(news), "")
    match news:
        case Checking(what=what):
            text = f"Checking: {what}…"
        case Connecting(space=space):
            text = (
                "Starting the demo Space…" if space == "demo" else f"Connecting to {plain(space)}…"
            )
        case Waiting():
            text = _waiting(news)
        case Queued():
            text = _place(news)
        case Started(eta_seconds=eta):
            text = f"The Space is working{_about(eta, '; it takes about {}')}…"
        case Progress():
            text = _step(news)
        case Working():
            text = _work(news)
    return text


def _waiting(waiting: Waiting) -> str:
    limit = (
        f" It is waited for {clock(waiting.limit_seconds)} at most."
        if waiting.limit_seconds
        else ""
    )
    return f"{plain(waiting.reason)}{limit}"


def _place(queued: Queued) -> str:
    eta = _about(queued.eta_seconds, ", about {} to go")
    if queued.rank == 0:
        return f"Next in the queue{eta}"
    return f"Number {queued.rank + 1} of {max(queued.size, queued.rank + 1)} in the queue{eta}"


def _about(seconds: float | None, words: str) -> str:
    return "" if seconds is None or seconds < 1 else words.format(clock(seconds))


def _step(progress: Progress) -> str:
    if progress.step is not None and progress.total:
        return f"Step {min(progress.step, progress.total)} of {progress.total}"
    return plain(progress.description or "") or "The Space is working…"


def _work(news: Working) -> str:
    if news.total is not None:
        return f"{news.what}: {news.done:,} of {news.total:,}…"
    return f"{news.what}: {news.done:,}…" if news.done else f"{news.what}…"


def notice(news: Notice) -> str:
    """A Space's own line, under its title, unless that only says of what level it is."""
    is_titled = news.title is not None and news.title.lower() != news.level.lower()
    return plain(f"{news.title}: {news.text}" if is_titled else news.text)


def facts(saved: Saved) -> str:
    """What a saved picture is."""
    picture = saved.picture
    return " · ".join(
        (
            *((f"seed {picture.seed}",) if picture.seed is not None else ()),
            f"{picture.width} × {picture.height}",
            f"{picture.format} {size(len(picture.data))}",
            f"{saved.seconds:.1f} s" if saved.seconds < 60 else clock(saved.seconds),
            *(("demo painter",) if saved.is_demo else ()),
        )
    )


def failed(news: Failed) -> tuple[str, str]:
    """What happened; and when it passes, what to do, and with which seed."""
    seed = "" if news.request is None else f"The seed was {news.request.seed}."
    return plain(news.error.happened), plain(f"{news.error.when} {news.error.remedy} {seed}")


def reason(error: OSError) -> str:
    """Return why this machine said no, in its own words."""
    return error.strerror or type(error).__name__


def stopped(news: Stopped) -> str:
    """What stopping did."""
    if news.has_saved:
        return "The picture that was complete is saved."
    return "Nothing was under way at the Space." if news.outcome is None else news.outcome.sentence


def clock(seconds: float) -> str:
    """Return a length of time as a person says it."""
    whole = int(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02d} min"


def size(count: int) -> str:
    """Return a number of bytes as a person says it."""
    for limit, unit, digits in ((1e9, "GB", 1), (1e6, "MB", 1), (1e3, "KB", 0)):
        if count >= limit:
            return f"{count / limit:.{digits}f} {unit}"
    return f"{count} bytes"
