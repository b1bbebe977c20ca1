"""The limit on open files, which connections count against."""

import resource

__all__ = ["raise_file_limit"]

MAX_FILES = 8192


def raise_file_limit() -> None:
    """Let this process open as many connections as hundreds of generations at once take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, target), hard))
