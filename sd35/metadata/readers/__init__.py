"""Readers of other tools' metadata, one module per tool; `registry` explains how to add one."""

from sd35.metadata.readers.registry import read_tool_metadata

__all__ = ["read_tool_metadata"]
