"""Messages about the outcome of an action as HTML, for the grid or the viewer. Pure."""

from collections.abc import Sequence

from markupsafe import Markup

from sd35.core.errors import SD35Error
from sd35.core.text import pluralize
from sd35.library.scanner import ScanResult
from sd35.ui.markup import EMPTY_HTML

__all__ = [
    "action_error",
    "deletion_summary",
    "not_saved",
    "removal_summary",
    "restore_summary",
    "scan_summary",
    "tag_summary",
    "trash_summary",
]


def action_error(error: SD35Error) -> Markup:
    """Return why an action failed and what to do about it."""
    return _alert(f"{error.happened} {error.remedy}".strip())


def not_saved() -> Markup:
    """Return that an anonymous visitor has no library."""
    return _alert("Nothing is saved in this view. Log in or open the full page.")


def trash_summary(ids: Sequence[str], missing_count: int) -> Markup:
    """Return the number of images moved to the trash, with an Undo button, and of failures."""
    message = EMPTY_HTML
    if ids:
        message = _status(f"{pluralize(len(ids), 'image')} moved to trash") + Markup(
            '<button type="button" data-action="restore" data-ids="{}">Undo</button>'
        ).format(" ".join(ids))
    if missing_count:
        message += _alert(f"Couldn't delete {pluralize(missing_count, 'image')}: file not found")
    return message


def restore_summary(count: int) -> Markup:
    """Return the number of images restored from the trash."""
    return _status(f"{pluralize(count, 'image')} restored")


def scan_summary(result: ScanResult | None) -> Markup:
    """Return the changes that a rescan has found, and what it passed over; nothing without one."""
    if result is None:
        return EMPTY_HTML
    counts = {
        "added": result.added,
        "moved": result.moved,
        "changed": result.changed,
        "missing": result.missing,
        "restored": result.back,
    }
    changes = [f"{count:,} {name}" for name, count in counts.items() if count]
    message = _status(", ".join(changes) or "No changes")
    return message + EMPTY_HTML.join(_alert(str(files)) for files in result.skipped_files)


def tag_summary(tagged_count: int, missing_count: int) -> Markup:
    """Return the number of images tagged, and of those that couldn't be changed."""
    message = EMPTY_HTML
    if tagged_count:
        message = _status(f"{pluralize(tagged_count, 'image')} tagged")
    if missing_count:
        message += _alert(f"{pluralize(missing_count, 'image')} not changed: file not found")
    return message


def removal_summary(count: int) -> Markup:
    """Return the number of missing files' entries that were removed from the index."""
    return _status(f"{count:,} {'entry' if count == 1 else 'entries'} removed")


def deletion_summary(count: int) -> Markup:
    """Return the number of images deleted from the disk."""
    return _status(f"{pluralize(count, 'image')} permanently deleted")


def _status(text: str) -> Markup:
    return Markup('<p role="status">{}</p>').format(text)


def _alert(text: str) -> Markup:
    return Markup('<p role="alert">{}</p>').format(text)
