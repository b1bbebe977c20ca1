"""What other programs wrote into a picture: a module for each whose way is its own. Pure."""

from sd35.metadata.readers.registry import read_foreign

__all__ = ["read_foreign"]
