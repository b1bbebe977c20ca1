"""Images of a visitor that requests would make once more."""

from collections.abc import Sequence

import anyio.to_thread

from sd35.client import SpaceClient
from sd35.core.request import GenerationRequest
from sd35.jobs.provenance import space_label
from sd35.library.library import Library
from sd35.library.prompt_history import ModelIdentity, find_identical
from sd35.library.repository import Entry

__all__ = ["find_duplicates"]


async def find_duplicates(
    library: Library, owner: str, space: SpaceClient, requests: Sequence[GenerationRequest]
) -> list[Entry]:
    """Return the owner's images that these requests would make once more at a Space.

    There are none unless each of the requests has one.

    Raises:
        LibraryError: the index can't be read.
    """
    identity = ModelIdentity(space.model, space_label(space), is_demo=space.contract.is_demo)

    def find() -> list[Entry]:
        entries = []
        with library.database.read_transaction() as connection:
            for request in requests:
                entry = find_identical(connection, request, identity, owner)
                if entry is None:
                    return []
                entries.append(entry)
        return entries

    return await anyio.to_thread.run_sync(find)
