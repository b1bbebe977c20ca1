"""Resources that a prompt names, such as a LoRA or an embedding: listed beside the prompt.

Stable Diffusion 3.5's Space has none of them, and would read their names as words.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby, islice
from typing import Final

from sd35.metadata.model import THIS_TOOL, GenerationMetadata
from sd35.metadata.parsing import MAX_EXTRA, MAX_VALUE_LENGTH, model_name, parse_number

__all__ = ["format_resource", "merge_numbered_resources", "separate_resources"]

# AUTOMATIC1111's tags for networks, and SwarmUI's for everything else.
_TITLES: Final = {
    "lora": "LoRA",
    "lyco": "LyCORIS",
    "hypernet": "Hypernetwork",
    "embed": "Embedding",
    "embedding": "Embedding",
    "preset": "Preset",
    "p": "Preset",
    "wildcard": "Wildcard",
    "wc": "Wildcard",
    "random": "Random",
    "alternate": "Alternate",
    "alt": "Alternate",
    "fromto": "From-to",
    "repeat": "Repeat",
    "setvar": "Variable",
    "var": "Variable",
    "setmacro": "Macro",
    "macro": "Macro",
    "comment": "Comment",
    "clear": "Clear",
}
_NETWORKS: Final = frozenset({"LoRA", "LyCORIS", "Hypernetwork", "Embedding"})

# Bounded: with a plain quantifier, many opening brackets would take quadratic time.
_TAG: Final = re.compile(
    rf"(?:, ?| )?<(?:trigger|break|base|({'|'.join(_TITLES)})"
    r"(?:\[([^\[\]<>]{0,100})\])?:([^<>]{0,400}))>",
    re.IGNORECASE,
)
# What follows such a tag is the prompt of a part of the image, or of a later pass.
_SECTION: Final = re.compile(
    r"<(segment|region|object|refiner|video|edit|extend)"
    r"(?:\[[^\[\]<>]{0,100}\])?(?::([^<>]{0,400}))?>",
    re.IGNORECASE,
)
# ComfyUI's name of an embedding stands in the prompt as a word, with a weight in parentheses.
_EMBEDDING: Final = re.compile(
    r"\bembedding:([\w./\\+\-]{1,200})(?::(-?\d+(?:\.\d+)?))?", re.IGNORECASE
)
# There may be several between two commas, each in brackets.
_EMBEDDING_ITEM: Final = re.compile(rf"(?:[(\[\s]*+{_EMBEDDING.pattern}[)\]\s]*+)++", re.IGNORECASE)
# Such as `Lora_0 Model name: ink`, `Lora_0 Strength model: 0.8` and `Lora_0 Strength clip: 0.8`.
_NUMBERED: Final = re.compile(
    r"(?P<kind>Lora|Embedding)_(?P<number>\d{1,3}) "
    r"(?P<detail>(?:Model )?(?:name|hash)|Strength (?:model|clip))",
    re.IGNORECASE,
)
# SwarmUI numbers the tags that it keeps.
_TAG_NUMBER: Final = re.compile(r"//cid=\d+$")
_MAX_DEPTH: Final = 5  # of tags within tags


def separate_resources(metadata: GenerationMetadata) -> GenerationMetadata:
    """Return the metadata with the resources of its prompts in `extra`, once each."""
    if metadata.tool == THIS_TOOL:  # which has none: angle brackets are part of the prompt
        return metadata
    prompt, pairs = _split_resources(metadata.prompt)
    negative_prompt, negative_pairs = _split_resources(metadata.negative_prompt)
    extra = dict.fromkeys((*metadata.extra, *pairs, *negative_pairs))
    return replace(
        metadata,
        prompt=prompt,
        negative_prompt=negative_prompt,
        extra=tuple(extra)[:MAX_EXTRA],
    )


def format_resource(title: str, text: str) -> tuple[str, str]:
    """Return a resource as a pair: names of files without folder and suffix, then weights."""
    if title not in _NETWORKS:
        return title, text[:MAX_VALUE_LENGTH]
    name, *weights = text.split(":")
    numbers = (parse_number(weight) for weight in weights)
    texts = (
        weight if number is None else f"{number:g}"
        for weight, number in zip(weights, numbers, strict=True)
    )
    return title, ":".join([model_name(name), *texts])[:MAX_VALUE_LENGTH]


def merge_numbered_resources(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return pairs with one for each resource, of which savers of ComfyUI write several."""
    matches = [(_NUMBERED.fullmatch(key), key, value) for key, value in pairs]
    weights = {
        (match["kind"], match["number"]): value
        for match, _, value in matches
        if match and match["detail"].lower() == "strength model"
    }
    merged_pairs = []
    for match, key, value in matches:
        if match is None:
            merged_pairs.append((key, value))
        elif match["detail"].lower() in {"model name", "name"}:
            weight = weights.get((match["kind"], match["number"]))
            text = value if weight is None else f"{value}:{weight}"
            merged_pairs.append(format_resource(_TITLES[match["kind"].lower()], text))
    return merged_pairs


def _split_resources(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a prompt without its resources, and them."""
    prompt, sections = _split_sections(text)
    resources: list[tuple[str, str]] = []
    for _ in range(_MAX_DEPTH):
        resources += islice(_iter_resources(prompt), MAX_EXTRA)
        other_text = _without_resources(prompt)
        if other_text == prompt:
            break
        prompt = other_text
    return prompt, [*resources, *sections]


def _split_sections(prompt: str) -> tuple[str, list[tuple[str, str]]]:
    """Split off the prompts of parts of the image."""
    first = _SECTION.search(prompt)
    if first is None or not prompt[: first.start()].strip():
        return prompt, []
    _, *pieces = _SECTION.split(prompt[first.start() :], maxsplit=MAX_EXTRA)
    sections = []
    for kind, target, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
        parts = (_TAG_NUMBER.sub("", target or ""), text.strip())
        sections.append((kind.capitalize(), ": ".join(filter(None, parts))[:MAX_VALUE_LENGTH]))
    return prompt[: first.start()].rstrip(), sections


def _iter_resources(prompt: str) -> Iterator[tuple[str, str]]:
    for match in _TAG.finditer(prompt):
        text = _TAG_NUMBER.sub("", ": ".join(filter(None, (match[2], match[3]))))
        if match[1] and text:
            yield format_resource(_TITLES[match[1].lower()], text)
    for match in _EMBEDDING.finditer(prompt):
        yield format_resource("Embedding", ":".join(filter(None, match.groups())))


def _without_resources(prompt: str) -> str:
    text = _TAG.sub("", prompt)
    if _EMBEDDING.search(text):
        lines = (_without_embeddings(line) for line in text.split("\n"))
        text = "\n".join(line for line in lines if line is not None)
    return prompt if text == prompt else text.strip().removeprefix(",").strip()


def _without_embeddings(line: str) -> str | None:
    """Return a line without the embeddings that are items of it; `None` if nothing is left."""
    items = line.split(",")
    other_items: list[str] = []
    for are_embeddings, group in groupby(items, _is_embedding):
        run = list(group)
        # Brackets may be around several items, or around others, too.
        if not are_embeddings or not _has_balanced_brackets(",".join(run)):
            other_items += run
    is_empty = len(other_items) < len(items) and not any(item.strip() for item in other_items)
    return None if is_empty else ",".join(other_items)


def _is_embedding(item: str) -> bool:
    return _EMBEDDING_ITEM.fullmatch(item) is not None


def _has_balanced_brackets(text: str) -> bool:
    return text.count("(") == text.count(")") and text.count("[") == text.count("]")
