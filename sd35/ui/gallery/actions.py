"""What is done to the pictures in the library's room, and what is said of it where it can't be seen."""

from collections.abc import Iterable, Sequence
from typing import Final

from markupsafe import Markup

from sd35.library.layout import HERE
from sd35.library.library import Library
from sd35.library.scanner import Changes
from sd35.ui.gallery import view as view  # noqa: PLC0414
from sd35.ui.gallery.events import Asked

__all__ = ["do"]

LOOK_SECONDS: Final = 5.0
"""How long is waited for another look through the folder that is under way."""


def do(library: Library, owner: str, asked: Asked) -> Markup:
    """Do to an owner's pictures what is asked.

    Raises:
        SD35Error: it can't be done.

    """
    ids, said = asked.ids, view.NOTHING
    match asked.what:
        case "star" | "unstar" | "tag" | "tags":
            said = _mark(library, owner, asked)
        case "trash":
            said = _trash(library, owner, ids)
        case "look":
            said = view.looked(_look(library, owner))
        case "restore":
            said = view.out_of_trash(library.restore(ids, owner))
        case "forget":
            said = view.forgotten(len(library.forget_missing(ids, owner)))
        case "erase":
            said = view.gone_for_ever(library.empty_trash(owner))
    return said


def _look(library: Library, owner: str) -> Changes | None:
    """Look through the folder for who runs the program: visitors put nothing there."""
    return library.rescan(limit_seconds=LOOK_SECONDS) if owner == HERE else None


def _mark(library: Library, owner: str, asked: Asked) -> Markup:
    """Star or tag pictures; those whose file isn't where it was are looked for."""
    _write_marks(library, owner, asked.ids, asked)
    lost = _lost(library, owner, asked.ids)
    if lost:
        _look(library, owner)
        _write_marks(library, owner, lost, asked)
        lost = _lost(library, owner, lost)
    return view.marked(len(asked.ids) - len(lost) if asked.what == "tag" else 0, len(lost))


def _write_marks(library: Library, owner: str, ids: Sequence[str], asked: Asked) -> None:
    match asked.what:
        case "tag":
            gone = [word.removeprefix("-").strip() for word in asked.tags if word.startswith("-")]
            library.tag(
                ids,
                owner,
                add=[word for word in asked.tags if not word.startswith("-")],
                remove=gone,
            )
        case "tags":
            _retag(library, owner, ids, asked.tags)
        case _:
            library.star(ids, owner, is_starred=asked.what == "star")


def _retag(library: Library, owner: str, ids: Sequence[str], words: list[str]) -> None:
    """Let a picture have these tags and no others."""
    for entry in filter(None, (library.entry(id_, owner) for id_ in ids[:1])):
        gone = [tag for tag in entry.record.tags if tag not in words]
        library.tag([entry.id], owner, add=words, remove=gone)


def _trash(library: Library, owner: str, ids: Sequence[str]) -> Markup:
    """Put pictures into the trash; those that a click before has put there are told of as well."""
    library.trash(ids, owner)
    entries = [library.entry(id_, owner) for id_ in ids]
    trashed = [entry.id for entry in entries if entry is not None and entry.is_trashed]
    if len(trashed) < len(ids):
        _look(library, owner)
    return view.in_trash(trashed, len(ids) - len(trashed))


def _lost(library: Library, owner: str, ids: Iterable[str]) -> list[str]:
    """Return which of these aren't an owner's pictures whose files are there."""
    entries = {id_: library.entry(id_, owner) for id_ in ids}
    return [id_ for id_, entry in entries.items() if entry is None or entry.is_missing]
