"""What is done to the pictures in the library's room, and what is said of it where it can't be seen."""

from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup

from sd35.jobs.repository import JobRepository
from sd35.library.layout import LOCAL_OWNER_KEY
from sd35.library.library import Library
from sd35.library.scanner import ScanResult
from sd35.ui.gallery import view as view  # noqa: PLC0414
from sd35.ui.gallery.events import GalleryEvent

__all__ = ["run_action"]

RESCAN_TIMEOUT: Final = 5.0
"""How long is waited for another look through the folder that is under way."""


def run_action(library: Library, owner: str, event: GalleryEvent) -> Markup:
    """Do to an owner's pictures what is asked.

    Raises:
        SD35Error: it can't be done.

    """
    ids, message = event.ids, view.EMPTY_HTML
    match event.action:
        case "star" | "unstar" | "tag" | "tags":
            message = _star_or_tag(library, owner, event)
        case "trash":
            message = _move_to_trash(library, owner, ids)
        case "look":
            message = view.scan_summary(_rescan(library, owner))
        case "restore":
            message = view.restore_summary(library.restore(ids, owner))
        case "forget":
            message = view.removal_summary(len(library.remove_missing(ids, owner)))
        case "erase":
            message = view.deletion_summary(library.empty_trash(owner))
    return message


def _rescan(library: Library, owner: str) -> ScanResult | None:
    """Look through the folder for who runs the program: visitors put nothing there."""
    if owner != LOCAL_OWNER_KEY:
        return None
    return JobRepository(library).rescan(lock_timeout=RESCAN_TIMEOUT)


def _star_or_tag(library: Library, owner: str, event: GalleryEvent) -> Markup:
    """Star or tag pictures; those whose file isn't where it was are looked for."""
    _write_metadata(library, owner, event.ids, event)
    missing_ids = _missing_ids(library, owner, event.ids)
    if missing_ids:
        _rescan(library, owner)
        _write_metadata(library, owner, missing_ids, event)
        missing_ids = _missing_ids(library, owner, missing_ids)
    return view.tag_summary(
        len(event.ids) - len(missing_ids) if event.action == "tag" else 0, len(missing_ids)
    )


def _write_metadata(library: Library, owner: str, ids: Sequence[str], event: GalleryEvent) -> None:
    match event.action:
        case "tag":
            removed_tags = [
                word.removeprefix("-").strip() for word in event.tags if word.startswith("-")
            ]
            library.tag(
                ids,
                owner,
                add=[word for word in event.tags if not word.startswith("-")],
                remove=removed_tags,
            )
        case "tags":
            _replace_tags(library, owner, ids, event.tags)
        case _:
            library.star(ids, owner, is_starred=event.action == "star")


def _replace_tags(library: Library, owner: str, ids: Sequence[str], tags: list[str]) -> None:
    """Let a picture have these tags and no others."""
    for entry in filter(None, (library.get(id_, owner) for id_ in ids[:1])):
        removed_tags = [tag for tag in entry.record.tags if tag not in tags]
        library.tag([entry.id], owner, add=tags, remove=removed_tags)


def _move_to_trash(library: Library, owner: str, ids: Sequence[str]) -> Markup:
    """Put pictures into the trash; those that a click before has put there are told of as well."""
    library.trash(ids, owner)
    entries = [library.get(id_, owner) for id_ in ids]
    trashed_ids = [entry.id for entry in entries if entry is not None and entry.is_trashed]
    if len(trashed_ids) < len(ids):
        _rescan(library, owner)
    return view.trash_summary(trashed_ids, len(ids) - len(trashed_ids))


def _missing_ids(library: Library, owner: str, ids: Iterable[str]) -> list[str]:
    """Return which of these aren't an owner's pictures whose files are there."""
    entries = {id_: library.get(id_, owner) for id_ in ids}
    return [id_ for id_, entry in entries.items() if entry is None or entry.is_missing]
