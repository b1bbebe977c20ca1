"""Actions on a visitor's images: star, tag, trash, restore, remove, rescan."""

from collections.abc import Callable, Iterable
from typing import Final

from markupsafe import Markup

from sd35.jobs.repository import JobRepository
from sd35.library.layout import LOCAL_OWNER_KEY
from sd35.library.library import Library
from sd35.library.scanner import ScanResult
from sd35.ui.gallery import messages
from sd35.ui.gallery.events import GalleryEvent
from sd35.ui.markup import EMPTY_HTML

__all__ = ["ACTIONS", "run_action"]

RESCAN_TIMEOUT: Final = 5.0  # seconds to wait for another rescan that is running


def run_action(library: Library, owner: str, event: GalleryEvent) -> Markup:
    """Run an event's action on an owner's images, and return a message about the outcome.

    Events without an action, such as turning the page, return no message.

    Raises:
        SD35Error: the action failed.
    """
    action = ACTIONS.get(event.action)
    return EMPTY_HTML if action is None else action(library, owner, event)


def _star_or_tag(library: Library, owner: str, event: GalleryEvent) -> Markup:
    _write_metadata(library, owner, event.ids, event)
    missing_ids = _missing_ids(library, owner, event.ids)
    if missing_ids:
        # Their files may have been moved by hand. A rescan finds them under their new paths.
        _rescan(library, owner)
        _write_metadata(library, owner, missing_ids, event)
        missing_ids = _missing_ids(library, owner, missing_ids)
    # No message about stars and the tags of one image, which are visible anyway.
    tagged_count = len(event.ids) - len(missing_ids) if event.action == "tag" else 0
    return messages.tag_summary(tagged_count, len(missing_ids))


def _write_metadata(library: Library, owner: str, ids: Iterable[str], event: GalleryEvent) -> None:
    match event.action:
        case "tag":
            library.tag(
                ids,
                owner,
                add=[tag for tag in event.tags if not tag.startswith("-")],
                remove=[tag[1:].strip() for tag in event.tags if tag.startswith("-")],
            )
        case "set_tags":
            _replace_tags(library, owner, ids, event.tags)
        case _:
            library.star(ids, owner, is_starred=event.action == "star")


def _replace_tags(library: Library, owner: str, ids: Iterable[str], tags: list[str]) -> None:
    for id_ in ids:
        entry = library.get(id_, owner)
        if entry is not None:
            removed_tags = [tag for tag in entry.metadata.tags if tag not in tags]
            library.tag([id_], owner, add=tags, remove=removed_tags)


def _move_to_trash(library: Library, owner: str, event: GalleryEvent) -> Markup:
    library.trash(event.ids, owner)
    # Not what `trash` returns: after a double click the first click has already moved the image,
    # and the answer to the second one must not say that deleting it failed.
    entries = [library.get(id_, owner) for id_ in event.ids]
    trashed_ids = [entry.id for entry in entries if entry is not None and entry.is_trashed]
    missing_count = len(event.ids) - len(trashed_ids)
    if missing_count:
        _rescan(library, owner)
    return messages.trash_summary(trashed_ids, missing_count)


def _missing_ids(library: Library, owner: str, ids: Iterable[str]) -> list[str]:
    """Return the ids of images that have no file or belong to another owner."""
    entries = {id_: library.get(id_, owner) for id_ in ids}
    return [id_ for id_, entry in entries.items() if entry is None or entry.is_missing]


def _rescan(library: Library, owner: str) -> ScanResult | None:
    # Only the local user can put files into the folder; visitors mustn't keep the disk busy.
    if owner != LOCAL_OWNER_KEY:
        return None
    return JobRepository(library).rescan(lock_timeout=RESCAN_TIMEOUT, checks_index=True)


ACTIONS: Final[dict[str, Callable[[Library, str, GalleryEvent], Markup]]] = {
    "star": _star_or_tag,
    "unstar": _star_or_tag,
    "tag": _star_or_tag,
    "set_tags": _star_or_tag,
    "trash": _move_to_trash,
    "restore": lambda library, owner, event: messages.restore_summary(
        len(library.restore(event.ids, owner))
    ),
    "remove": lambda library, owner, event: messages.removal_summary(
        len(library.remove_missing(event.ids, owner))
    ),
    "empty_trash": lambda library, owner, _: messages.deletion_summary(library.empty_trash(owner)),
    "rescan": lambda library, owner, _: messages.scan_summary(_rescan(library, owner)),
}
