"""Target `readers`: files from strangers, as they are dropped on the page and imported."""

import io
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from unittest.mock import patch

from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sd35.core.errors import PictureError
from sd35.library.picture_file import inspect_picture
from sd35.metadata import budget
from sd35.metadata.embedding import embed_metadata, read_metadata, read_texts
from sd35.metadata.model import GenerationMetadata
from sd35.metadata.parsing import MAX_TEXT_LENGTH
from sd35.metadata.sidecar import read_sidecar
from sd35.ui.create.dropped_file import parse_dropped_file
from tests.fuzz.meter import measure
from tests.fuzz.mutation import mutations
from tests.fuzz.target import Check, Target
from tests.test_comfyui import WORKFLOWS
from tests.test_containers import IMAGE_KINDS, encode_image
from tests.test_readers import IMAGES_BY_TOOL, encode_with_exif

_TOKENS = (
    *(b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"IHDR", b"IDAT", b"IEND", b"sd35", b"EXIF", b"XMP "),
    *(b"II*\0", b"MM\0*", b"UNICODE\0", b"Exif\0\0", b"\xff\xe1", b"\xff\xef", b"sd35-studio\0"),
    *(b"Steps: 1, ", b"Negative prompt:", b"Template:", b"<lora:a:1>", b'{"', b'["', b'"]', b'\\"'),
    *(b'" -s 5 -S 6 ', b"<segment:a>", b"embedding:a, ", b"Civitai resources: [", b'"loras":'),
    *(b'"class_type":', b'"inputs":', b"KSampler", b"Select", b'"text_1":["3",0],', b"\\ud800"),
)


def _encode_png(texts: dict[str, str]) -> bytes:
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _pack_text(text: bytes, keyword: bytes) -> bytes:
    """Return a PNG with a compressed text, which mutations of the file would only damage."""
    body = keyword + b"\0\0" + zlib.compress(text, 1)
    chunk = len(body).to_bytes(4, "big") + b"zTXt" + body + bytes(4)
    image = _encode_png({})
    return image[:33] + chunk + image[33:]


def _samples() -> list[bytes]:
    own = GenerationMetadata(id="x", prompt="a fox", seed=1, width=8, height=8, tags=("a",))
    files = [encode_image(kind, is_rich=True) for kind in IMAGE_KINDS]
    return [
        *files,
        *(embed_metadata(data, own) for data in files),
        *(_encode_png(texts) for texts, _ in IMAGES_BY_TOOL.values()),
        *(
            encode_with_exif(kind, {0x010F: f"prompt:{text}"}, {0x9286: text.encode()})
            for kind in ("JPEG", "WEBP")
            for texts, _ in IMAGES_BY_TOOL.values()
            for text in texts.values()
        ),
    ]


def _texts() -> list[bytes]:
    texts = [text.encode() for texts, _ in IMAGES_BY_TOOL.values() for text in texts.values()]
    texts.extend(json.dumps(workflow).encode() for workflow in WORKFLOWS.values())
    return [*texts, json.dumps({"format": 1, "prompt": "a fox", "others": [["a", "b"]]}).encode()]


_MAX_STEPS = 50_000
_MAX_CALLS = 4 * _MAX_STEPS  # besides one for each byte: a file may be full of tiny parts
_MAX_BYTES = 24 << 20  # besides copies of the file
_MAX_CHARACTERS = 3 * MAX_TEXT_LENGTH + 50_000

_KEYWORDS = (
    *("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "sd35", "Dream"),
    *("Comment", "UserComment", "generation_data", "XML:com.adobe.xmp", "Creation Time"),
)


def _character_count(metadata: GenerationMetadata) -> int:
    texts = [metadata.prompt, metadata.negative_prompt, metadata.model, metadata.tool]
    pairs = [*metadata.extra, *metadata.versions.items()]
    return sum(map(len, chain(texts, metadata.tags, *pairs)))


_TYPES = (
    *("KSampler", "KSamplerSelect", "SaveImage", "StringConcatenate", "ConditioningCombine"),
    *("CLIPTextEncode", "PrimitiveString", "Text Input Switch", "EmptyLatentImage", "Reroute"),
    *("ToBasicPipe", "ComfySwitchNode", "ModelMergeSimple"),
    "KSampler" * 99,
)
_ROLES = ("positive", "negative", "model", "latent_image", "guider", "sigmas", "seed", "cfg")
_INPUTS = (
    *_ROLES,
    *("images", "samples", "image", "noise", "steps", "text", "prompt_a", "value", "conditioning"),
    *("conditioning_2", "guidance", "input", "any_01", "on_true", "boolean", "select", "ckpt_name"),
    *("lora_name", "lora_01", "delimiter", "tidy_tags", "width", "basic_pipe", "detailer_pipe"),
    *("switch", "on_false", "model1", "model2", "stage_c"),
)


@st.composite
def _graphs(draw: st.DrawFn) -> bytes:
    """Return a graph of ComfyUI: samplers and savers, fed by a cycle of many nodes and a text."""
    size = draw(st.sampled_from([1, 3, 40, 400, 1000]))
    types = draw(st.lists(st.sampled_from(_TYPES), min_size=1, max_size=3))
    offsets = draw(
        st.dictionaries(
            st.sampled_from(_INPUTS), st.sampled_from([1, 2, 7, size - 1]), min_size=1, max_size=6
        )
    )
    text = draw(st.sampled_from(["x", " ", "\U0001f98a", "Steps: 1, ", "<lora:a:1>"]))
    parts = draw(st.sampled_from([0, 3, 900]))
    nodes: dict[str, tuple[str, dict[str, object]]] = {
        str(number): (
            types[number % len(types)],
            {name: [str((number + offset) % size), 0] for name, offset in offsets.items()},
        )
        for number in range(size)
    }
    if draw(st.booleans()):
        nodes[str(size - 1)] = ("KSampler", nodes[str(size - 1)][1])
    nodes["t"] = ("PrimitiveString", {"value": text * draw(st.sampled_from([1, 9000]))})
    nodes["j"] = (
        "StringJoin",
        {**{f"text_{at}": ["t", 0] for at in range(parts)}, "delimiter": text, "tidy_tags": "yes"},
    )
    nodes["e"] = ("CLIPTextEncode", {"text": ["j", 0]})
    targets = st.sampled_from(["0", "e", "t", "k"])
    # In front, as the first sampler counts if nothing saves an image.
    nodes = {"k": ("KSampler", {name: [draw(targets), 0] for name in _ROLES}), **nodes}
    saved = [draw(st.sampled_from(["0", "k"])), 0]
    nodes |= {f"s{at}": ("SaveImage", {"images": saved}) for at in range(draw(st.integers(0, 10)))}
    graph = {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    return json.dumps(graph).encode()


@contextmanager
def _open_check() -> Iterator[Check]:
    # Measuring makes each step dear, so there are fewer.
    with patch.object(budget, "MAX_STEPS", _MAX_STEPS):
        yield _check


def _check(data: bytes) -> None:
    """Read a file in every way in which the program does."""
    metadata = _check_cost(read_metadata, data)
    _check_cost(read_sidecar, data)
    embedded_texts = read_texts(data)
    payload = {"texts": dict(embedded_texts.texts), "size": embedded_texts.size}
    dropped = parse_dropped_file(payload)
    assert dropped is None or metadata is not None
    with suppress(PictureError):
        inspected = inspect_picture(data)
        embedded = embed_metadata(data, inspected.metadata)
        assert read_metadata(embedded) == inspected.metadata


def _check_cost(
    read: Callable[[bytes], GenerationMetadata | None], data: bytes
) -> GenerationMetadata | None:
    """Return what is read, within limits of time, memory and length."""
    cost = measure(lambda: read(data))
    assert cost.calls <= _MAX_CALLS + len(data), cost
    assert cost.peak_bytes <= _MAX_BYTES + 3 * len(data), cost
    metadata = read(data)
    assert metadata is None or _character_count(metadata) <= _MAX_CHARACTERS
    return metadata


TARGET = Target(
    inputs=st.one_of(
        mutations(_samples(), _TOKENS),
        st.builds(
            _pack_text,
            mutations(_texts(), _TOKENS),
            st.sampled_from(_KEYWORDS).map(str.encode),
        ),
        st.builds(_pack_text, _graphs(), st.just(b"prompt")),
        mutations(_texts(), _TOKENS),
    ),
    open_check=_open_check,
)
