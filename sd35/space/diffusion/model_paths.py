"""The files of a repository that the pipeline needs."""

from fnmatch import fnmatch
from typing import Final

from huggingface_hub import get_cached_repo_tree

__all__ = ["FILE_PATTERNS", "IGNORED_PATTERNS", "cached_tree_paths"]

# The repositories also hold the same weights in other formats: 30 GB more.
FILE_PATTERNS: Final = (
    "model_index.json",
    *(f"{folder}/*" for folder in ("scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")),
    *(f"{folder}/*" for folder in ("text_encoder", "text_encoder_2", "text_encoder_3")),
    *(f"{folder}/*" for folder in ("transformer", "vae")),
)
# Variants of the same weights, as text_encoder/model.fp16.safetensors.
IGNORED_PATTERNS: Final = ("*.fp16.*", "*.fp16-*", "*.bin", "*.msgpack", "*.onnx*")


def cached_tree_paths(repository: str, revision: str) -> list[str]:
    """Return the paths of the pipeline's files in a revision, as the cache knows them."""
    return [
        file.path
        for file in get_cached_repo_tree(repository, revision=revision)
        if any(fnmatch(file.path, pattern) for pattern in FILE_PATTERNS)
        and not any(fnmatch(file.path, pattern) for pattern in IGNORED_PATTERNS)
    ]
