"""Readers of other tools' metadata, one module per tool, and how to add one.

A reader is a function from the texts of an image file to its metadata, or `None` if its tool didn't
write them. To support another tool:

1. Make an image with it, and look at what `embedding.read_texts` returns for the file.
2. Write `readers/TOOL.py` with a function `read_TOOL(texts)`. The keys of `texts` are described at
   `embedding.EmbeddedTexts`. For a tool that writes a JSON object this is all (see `swarmui.py`):

       def read_mytool(texts: ToolTexts) -> GenerationMetadata | None:
           values = find_json_object(texts, ["mytool"])
           if not values:
               return None
           version = format_value(values.get("version"))
           mapping = FieldMapping(steps="num_steps", ignored_keys=frozenset({"version"}))
           return metadata_from_fields("MyTool", version, values, mapping)

3. Add it to `_READERS`, before readers that would take its texts for their own.
4. Add the keyword of its texts to `assets/import.js`: of a dropped image, nothing else is sent.
5. Add its texts, and the metadata that they mean, to `IMAGES_BY_TOOL` in `tests/test_readers.py`.

Texts may come from anyone: take values only through `sd35.metadata.parsing`, which checks them.
Parse JSON with `texts.json_object`, and spend `texts.budget` wherever a file could make a loop
long, or have the same text copied again and again. Settings that this program doesn't have go to
`extra`; leave out what you can't read with certainty, as people generate again with these values.
"""

from collections.abc import Callable, Mapping

from sd35.metadata.budget import Budget, BudgetExceededError
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.readers.automatic1111 import read_automatic1111
from sd35.metadata.readers.comfyui import read_comfyui
from sd35.metadata.readers.draw_things import read_draw_things
from sd35.metadata.readers.fooocus import read_fooocus
from sd35.metadata.readers.invokeai import read_invokeai
from sd35.metadata.readers.json_settings import read_json_settings
from sd35.metadata.readers.novelai import read_novelai
from sd35.metadata.readers.swarmui import read_swarmui
from sd35.metadata.readers.tensorart import read_tensorart
from sd35.metadata.resources import separate_resources
from sd35.metadata.tool_texts import ToolTexts

__all__ = ["read_tool_metadata"]

# Tools that write JSON under AUTOMATIC1111's key come before it, and those with names of their own
# before `read_json_settings`, which takes any. ComfyUI comes last: tools that run on it, such as
# SwarmUI, leave its graph in the file as well.
_READERS: tuple[Callable[[ToolTexts], GenerationMetadata | None], ...] = (
    read_swarmui,
    read_fooocus,
    read_draw_things,
    read_novelai,
    read_tensorart,
    read_json_settings,
    read_automatic1111,
    read_invokeai,
    read_comfyui,
)


def read_tool_metadata(
    texts: Mapping[str, str], budget: Budget | None = None
) -> GenerationMetadata | None:
    """Return the metadata that another tool wrote.

    `None` if no reader knows the texts, or reading them would take too much work.
    """
    try:
        tool_texts = ToolTexts(texts, budget or Budget())
        results = (reader(tool_texts) for reader in _READERS)
        metadata = next((result for result in results if result is not None), None)
    except BudgetExceededError:
        return None
    return metadata and separate_resources(metadata.truncated()).truncated()
