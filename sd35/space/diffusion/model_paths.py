"""The files of a repository that the pipeline needs."""

from collections.abc import Iterable
from typing import Final

from huggingface_hub import get_cached_repo_tree
from huggingface_hub.errors import CachedRepoTreeNotFoundError

from sd35.space.model_folder import WEIGHTED_PARTS, select_all_weight_files

__all__ = ["CONFIGURATION_PATHS", "find_cached_paths", "select_paths"]

_SMALL_FOLDERS: Final = ("scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")

# They say what a model is, and take some kilobytes.
CONFIGURATION_PATHS: Final = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    *(f"{part}/config.json" for part in WEIGHTED_PARTS),
)


def select_paths(paths: Iterable[str]) -> list[str]:
    """Return those of a repository's files that the pipeline needs.

    The repositories also hold the same weights in other formats: 30 GB more.

    Raises:
        EngineError: shards are missing.
    """
    all_paths = list(paths)
    weight_files = select_all_weight_files(all_paths).values()
    needed_paths = {*CONFIGURATION_PATHS, *(files.index_path for files in weight_files)}
    for files in weight_files:
        needed_paths.update(files.paths)
    return [
        path
        for path in all_paths
        if path in needed_paths or path.rpartition("/")[0] in _SMALL_FOLDERS
    ]


def find_cached_paths(repository: str, revision: str | None) -> list[str]:
    """Return the paths of the pipeline's files in a revision, as the cache knows them."""
    try:
        tree = get_cached_repo_tree(repository, revision=revision)
    except (CachedRepoTreeNotFoundError, OSError, ValueError):
        return []
    return select_paths(file.path for file in tree)
